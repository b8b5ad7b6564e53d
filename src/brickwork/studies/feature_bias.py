"""The study of feature bias: networks with features of known equal importance, and what differs between the features.

A seed is a run of several networks, each with weights and bits of its own; a number of a seed is the mean over them. Every
claim about shares asks first that all features are learnt: accuracy at least .99, else a share says nothing. "Last" is the
last hidden layer, "before" the one before it. Smoke: 8 bits, two small layers, hundreds of steps. Small: 32 bits and four
layers as in the sheet's measurements. No setting here is known to be the paper's: its full text was not to be had.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brickwork.core.shares import Property
from brickwork.evaluation.explained import explain
from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Measured, average, combined
from brickwork.studies.study import Arms, ClaimResult, Lab, claim
from brickwork.systems.feature_bias.recipes import small, smoke
from brickwork.systems.feature_bias.system import LEARNT
from brickwork.training.config import Stage

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

_NEEDS = "networks of four layers on 32 bits, trained until every feature is learnt"
_PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))

# ---- the claims -------------------------------------------------------------------------------------------------


@claim(
    "C1",
    "Simple features are represented more strongly than complex ones that are learnt as well",
    paper="easy about 55 %, hard about 5 % of the variance of the penultimate layer (an author's summary)",
    criterion="both accuracies ≥ .99; easy − hard ≥ .15 at the last layer and the one before, and above what two equal "
    "features differ by; plain SGD, two pairs of features",
    needs=_NEEDS,
)
def simple_is_stronger(lab: Lab) -> ClaimResult:
    at = _plain(lab).measure(_shares, key="what")
    arms = at.labels("arm")
    gap = {layer: average(_gap(at, arm, layer) for arm in arms) for layer in ("before", "last")}
    apart = average(at[arm, "equal last"] for arm in arms)
    return lab.verdict(
        gap["last"],
        {
            "accuracy": combined(min, [at[arm, "accuracy"] for arm in arms]) >= LEARNT,
            "last": gap["last"] >= 0.15,
            "before": gap["before"] >= 0.15,
            "beyond equal": gap["last"] - apart > 0,
        },
        unit="share of variance, easy − hard, last layer, mean over pairs of features",
        table=at.rows("arm", digits=3),
        note=f"Two equal features differ by {apart.mean:.3f}. The paper's 55 and 5 % are of settings that are not known.",
    )


@claim(
    "C2",
    "The variance of the easy feature keeps growing after it is mastered",
    paper="grows while the hard feature is being learnt",
    criterion="variance that the easy feature explains at the end over that when it was first right in 99 %, above 1",
    needs=_NEEDS,
)
def keeps_growing(lab: Lab) -> ClaimResult:
    at = _plain(lab).measure(_growth, key="what")
    arms = at.labels("arm")
    ratio = average(at[arm, "variance"] for arm in arms)
    share = average(at[arm, "share"] for arm in arms)
    return lab.verdict(
        ratio,
        {"variance": ratio > 1},
        unit="times: variance explained at the end over that at mastery, last layer, not divided by the total",
        table=at.rows("arm", digits=3),
        note=f"Its share of the total changes by a factor of {share.mean:.2f} meanwhile: a share hides the growth.",
    )


@claim(
    "C3",
    "Learning order matters and does not explain all: with the hard feature first, the easy one still dominates",
    paper="pre-training the hard feature narrows the gap; the easy one still dominates",
    criterion="hard feature alone for the first third: both accuracies ≥ .99 and easy − hard at the last layer above 0",
    needs=_NEEDS,
)
def hard_first(lab: Lab) -> ClaimResult:
    run = _run(lab)
    arms = lab.arms({"together": run, "hard first": _alone_first(run, 1)})
    at = arms.measure(_shares, key="what")
    gap = {arm: _gap(at, arm) for arm in arms}
    narrowed = gap["together"] - gap["hard first"]
    equal = replace(run, model=replace(run.model, features=("xor2", "xor2"), control=False))
    first = lab.arms({"equal, second first": _alone_first(equal, 1)}).measure(_shares, key="what")
    order = first["equal, second first", "hard last"] - first["equal, second first", "easy last"]
    return lab.verdict(
        gap["hard first"],
        {"accuracy": at["hard first", "accuracy"] >= LEARNT, "gap": gap["hard first"] > 0},
        unit="share of variance, easy − hard, last layer, hard feature first",
        table=[*at.rows("arm", digits=3), *first.rows("arm", digits=3)],
        note=f"The gap narrows by {narrowed.mean:+.3f}. Of equal features the one learnt first has {order.mean:+.3f} more.",
    )


@claim(
    "C4",
    "A hard feature is represented by its parts as well",
    paper="adding the inner XORs raises the variance that is accounted for",
    criterion="parity of four bits learnt (≥ .99); summed shares of the XORs of its pairs of bits − of pairs without a role "
    "≥ .02, at the layer where it is larger",
    needs=_NEEDS,
)
def parts_of_hard(lab: Lab) -> ClaimResult:
    run = _run(lab, ("copy", "parity4"))
    run = replace(run, model=replace(run.model, control=False, watch=0), train=_adam(run.train))
    at = lab.arms({"copy + parity4": run}).measure(_parts, key="what")
    arm = "copy + parity4"
    gain = combined(max, [at[arm, f"pairs {n}"] - at[arm, f"others {n}"] for n in ("before", "last")])
    return lab.verdict(
        gain,
        {"accuracy": at[arm, "accuracy"] >= LEARNT, "parts": gain >= 0.02},
        unit="share of variance, six pairs of the feature's bits − six pairs of others",
        table=at.rows("arm", digits=3),
        note="A parity is the XOR of any two halves, so all six pairs are its parts. AdamW: SGD does not learn it in time.",
    )


@claim(
    "C5",
    "Features that are there more often are represented more",
    paper="features present more often are represented more",
    criterion="two XORs, one counting in a tenth of the inputs: both ≥ .99; common over rare share ≥ 2, by both definitions "
    "(label masked; bits set to 0 as well)",
    needs=_NEEDS,
)
def common_is_stronger(lab: Lab) -> ClaimResult:
    run = _run(lab, ("xor2", "xor2"))
    run = replace(run, model=replace(run.model, control=False, watch=0), train=_longer(run.train, 2))
    arms = lab.arms(
        run,
        equal={},
        label={"prevalence": (1.0, 0.1), "prevalence_of": "label"},
        input={"prevalence": (1.0, 0.1), "prevalence_of": "input"},
    )
    at = arms.measure(_shares, key="what")
    ratio = {arm: at[arm, "easy last"] / at[arm, "hard last"] for arm in ("label", "input")}
    learnt = combined(min, [at[arm, "accuracy"] for arm in ratio])
    return lab.verdict(
        ratio["label"],
        {"accuracy": learnt >= LEARNT} | {arm: effect >= 2 for arm, effect in ratio.items()},
        unit="times the share, common over rare, last layer, labels masked",
        table=at.rows("arm", digits=3),
        note=f"With the bits set to 0 as well: {ratio['input'].mean:.2f} times.",
    )


@claim(
    "C6",
    "Features that are written earlier are represented more",
    paper="features decoded earlier in the output are represented more",
    criterion="four XORs written one after the other by a transformer: all ≥ .99; rank correlation of place and share < 0",
    needs="a transformer that learns four XORs",
)
def earlier_is_stronger(lab: Lab) -> ClaimResult:
    at = lab.arms({"in order": _in_order(lab)}).measure(_by_place, key="what")
    rho = at["in order", "correlation"]
    return lab.verdict(
        rho,
        {"accuracy": at["in order", "accuracy"] >= LEARNT, "correlation": rho < 0},
        unit="Spearman's correlation of place and share, mean over the residual stream's last block of all networks",
        table=at.rows("arm", digits=3),
        note="The representation is the mean over the prefix, which cannot see what is written.",
    )


@claim(
    "C7",
    "Deeper networks are more biased; Adam with dropout can turn the bias round",
    paper="deeper: larger gap; width: little; Adam and moderate dropout: a slight preference for the hard feature",
    criterion="all ≥ .99; gap with 6 layers − with 2 above 0 (SGD); hard − easy at the last layer above 0 with Adam and "
    "dropout .3",
    needs=_NEEDS,
)
def depth_and_dropout(lab: Lab) -> ClaimResult:
    run = _run(lab)
    run = replace(run, model=replace(run.model, control=False, watch=0))
    width = 16 if lab.smoke else 64
    deep = {f"{n} layers": replace(run, model=replace(run.model, widths=(width,) * n)) for n in (2, 4, 6)}
    adam = replace(run, train=_adam(run.train))
    dropped = {f"Adam, dropout {p}": replace(adam, model=replace(adam.model, dropout=p)) for p in (0.0, 0.3)}
    at = lab.arms(deep | dropped).measure(_shares, key="what")
    gap = {arm: _gap(at, arm) for arm in at.labels("arm")}
    deeper = gap["6 layers"] - gap["2 layers"]
    turned = gap["Adam, dropout 0.3"] * -1.0
    return lab.verdict(
        deeper,
        {
            "accuracy": combined(min, [at[arm, "accuracy"] for arm in gap]) >= LEARNT,
            "depth": deeper > 0,
            "dropout": turned > 0,
        },
        unit="share of variance, gap with 6 layers − gap with 2, last layer",
        table=at.rows("arm", digits=3),
        note=f"Hard − easy with Adam: {-gap['Adam, dropout 0.0'].mean:+.3f} without dropout, {turned.mean:+.3f} with. "
        "Convolutional and residual networks on images: not run.",
    )


@claim(
    "C8",
    "Components and classifiers follow the easy feature",
    paper="few principal components show mostly the easy feature; linear classifiers rely on it",
    criterion="components for 95 % of hard − of easy above 0; reliance on easy ≥ .70 where both predict; both ≥ .99",
    needs=_NEEDS,
)
def downstream(lab: Lab) -> ClaimResult:
    at = _plain(lab).measure(_downstream, key="what")
    arms = at.labels("arm")
    more = average(at[arm, "components hard"] - at[arm, "components easy"] for arm in arms)
    reliance = average(at[arm, "reliance"] for arm in arms)
    return lab.verdict(
        more,
        {
            "accuracy": combined(min, [at[arm, "accuracy"] for arm in arms]) >= LEARNT,
            "components": more > 0,
            "reliance": reliance >= 0.7,
        },
        unit="principal components for 95 % accuracy, hard − easy, last layer",
        table=at.rows("arm", digits=3),
        note=f"A classifier for which both features predict follows the easy one in {100 * reliance.mean:.0f} % of "
        "conflicts. Similarity of representations across networks: not run.",
    )


@claim(
    "C9",
    "Adding the difference of class means flips the intended feature alone, and the hard one with a smaller push",
    paper="flips the intended label only; the hard feature needs a smaller push",
    criterion="other label unchanged in ≥ 95 % for both; α of easy − α of hard above 0 (smallest that flips 90 %)",
    needs=_NEEDS,
)
def steering(lab: Lab) -> ClaimResult:
    at = _plain(lab).measure(_steering, key="what")
    arms = at.labels("arm")
    push = average(at[arm, "push easy"] - at[arm, "push hard"] for arm in arms)
    kept = combined(min, [at[arm, f"kept {name}"] for arm in arms for name in ("easy", "hard")])
    size = average(at[arm, "size hard"] / at[arm, "size easy"] for arm in arms)
    return lab.verdict(
        push,
        {"specific": kept >= 0.95, "push": push > 0},
        unit="α easy − α hard, in units of the difference of the feature's own class means",
        table=at.rows("arm", digits=3),
        note=f"In absolute length the push for the hard feature is {size.mean:.2f} times that for the easy one.",
    )


# ---- set-ups ----------------------------------------------------------------------------------------------------


def _run(lab: Lab, features: tuple[str, ...] = ("majority5", "xor2")) -> "RunConfig":
    """Plain SGD on a pair of features."""
    if lab.smoke:
        run = smoke()
        train = replace(run.train, steps=lab.bench.steps(600))
        run = replace(run, train=train)
    else:
        run = small()
    rates = {"parity3": 0.2, "parity4": 0.2}
    rate = rates.get(features[-1], run.train.learning_rate)
    watch = max(1, run.train.steps // 40)
    return replace(
        run,
        model=replace(run.model, features=features, replicas=2, watch=watch),
        train=replace(run.train, learning_rate=rate),
    )


def _plain(lab: Lab) -> Arms:
    """The pairs of C1, C2, C8 and C9."""
    second = ("copy", "xor2") if lab.smoke else ("copy", "parity3")
    pairs = (("majority5", "xor2"), second)
    return lab.arms({" + ".join(pair): _run(lab, pair) for pair in pairs})


def _adam(train: Any) -> Any:
    """AdamW without decay, as Adam."""
    return replace(train, optimizer="adamw", momentum=0.9, learning_rate=1e-3)


def _longer(train: Any, times: int) -> Any:
    return replace(train, steps=train.steps * times)


def _alone_first(run: "RunConfig", place: int) -> "RunConfig":
    """The feature at ``place`` alone for a third of the steps, then all."""
    stages = (Stage(name="first", steps=max(1, run.train.steps // 3)), Stage(name="all"))
    return replace(run, model=replace(run.model, first=place, watch=0), stages=stages)


def _in_order(lab: Lab) -> "RunConfig":
    run = _run(lab, ("xor2",) * 4)
    model = replace(
        run.model, network="transformer", widths=None, replicas=2 if lab.smoke else 6, control=False, watch=0
    )
    bits = replace(run.data, bits=8 if lab.smoke else 12)
    train = replace(_adam(run.train), steps=run.train.steps if lab.smoke else 3000, batch_size=64)
    return replace(run, model=model, data=bits, train=train)


def _gap(at: Measured, arm: str, layer: str = "last") -> Effect:
    return at[arm, f"easy {layer}"] - at[arm, f"hard {layer}"]


# ---- measures ---------------------------------------------------------------------------------------------------


def _shares(trained: Trained) -> dict[str, float]:
    """Shares of the first ("easy") and last ("hard") feature at the last two layers, and how far equal ones are apart."""
    system, held = trained.system, trained.data.test
    table = system.table(held)
    result = {"accuracy": float(system.accuracy(held).mean(0).min())}
    for name, layer in (("before", -2), ("last", -1)):
        result[f"easy {name}"] = float(table[layer, :, 0].mean())
        result[f"hard {name}"] = float(table[layer, :, -1].mean())
    if system.config.control:
        control = system.table(held, "control")[-1]
        result["equal last"] = float(np.abs(control[:, 0] - control[:, 1]).mean())
    return result


def _growth(trained: Trained) -> dict[str, float]:
    """Of the first feature at the last layer: the end over the time of mastery, of its variance and of its share of what the
    two features explain."""
    watched = trained.system.watched.cpu().numpy()
    watched = watched[~np.isnan(watched).any(axis=(1, 2, 3))]
    ratios, shares = [], []
    for replica in range(watched.shape[1]):
        variance, accuracy = watched[:, replica, -2], watched[:, replica, -1, 0]
        mastered = int(np.argmax(accuracy >= LEARNT)) if (accuracy >= LEARNT).any() else len(accuracy) - 1
        ratios.append(variance[-1, 0] / variance[mastered, 0])
        part = variance[:, 0] / variance.sum(1)
        shares.append(part[-1] / part[mastered])
    return {"variance": float(np.mean(ratios)), "share": float(np.mean(shares))}


def _parts(trained: Trained) -> dict[str, float]:
    """Summed shares of XORs of pairs of the last feature's four bits, and of four bits without a role; both layers."""
    system, held = trained.system, trained.data.test
    _, _, hidden = system.responses(held)
    bits = torch.from_numpy(np.ascontiguousarray(held.columns["bits"])).bool()
    own = system.banks["task"].read(bits).numpy()
    result = {"accuracy": float(system.accuracy(held).mean(0).min())}
    for name, layer in (("before", -2), ("last", -1)):
        sums = {"pairs": [], "others": []}  # type: dict[str, list[float]]
        for phi, read in zip(hidden[layer], own):
            # copy reads bit 0, parity4 bits 1 to 4; the last three and one more have no role.
            sums["pairs"].append(_pair_shares(phi, read[:, 1:5]))
            idle = read[:, [-1, -2, -3, -1 if read.shape[1] < 9 else -4]]
            sums["others"].append(_pair_shares(phi, idle))
        result |= {f"{what} {name}": float(np.mean(values)) for what, values in sums.items()}
    return result


def _pair_shares(phi: np.ndarray, bits: np.ndarray) -> float:
    shares = 0.0
    for a, b in _PAIRS:
        value = bits[:, a] ^ bits[:, b]
        if value.any():
            known = Property(
                name="pair",
                kind="truth value",
                columns=value[:, None].astype(float),
                classes=value.astype(np.int64),
            )
            shares += explain(phi, [known], shuffles=0).alone["pair"].value
    return shares


def _by_place(trained: Trained) -> dict[str, float]:
    from scipy.stats import spearmanr

    system, held = trained.system, trained.data.test
    table = system.table(held)[-1]
    places = range(table.shape[1])
    result = {"accuracy": float(system.accuracy(held).mean(0).min())}
    result["correlation"] = float(np.mean([spearmanr(places, own).statistic for own in table]))
    return result | {f"place {place + 1}": float(table[:, place].mean()) for place in places}


def _downstream(trained: Trained) -> dict[str, float]:
    """Principal components that keep 95 % accuracy, and which feature a classifier follows that learnt from both."""
    from sklearn.linear_model import LogisticRegression

    system, held = trained.system, trained.data.test
    _, truth, hidden = system.responses(held)
    result: dict[str, list[float]] = {"components easy": [], "components hard": [], "reliance": []}
    for phi, labels in zip(hidden[-1], truth):
        half = len(phi) // 2
        centred = phi - phi[:half].mean(0)
        basis = np.linalg.svd(centred[:half], full_matrices=False)[2]
        for name, place in (("easy", 0), ("hard", -1)):
            result[f"components {name}"].append(_components(centred @ basis.T, labels[:, place], half))
        same = labels[:half, 0] == labels[:half, -1]
        model = LogisticRegression(max_iter=1000).fit(phi[:half][same], labels[:half, 0][same])
        conflict = labels[half:, 0] != labels[half:, -1]
        follows = model.predict(phi[half:][conflict]) == labels[half:, 0][conflict]
        result["reliance"].append(float(follows.mean()))
    means = {name: float(np.mean(values)) for name, values in result.items()}
    return {"accuracy": float(system.accuracy(held).mean(0).min()), **means}


def _components(scores: np.ndarray, label: np.ndarray, half: int) -> float:
    """The fewest first components of which a least-squares classifier is right in 95 % of the other half."""
    for count in range(1, scores.shape[1] + 1):
        x = np.column_stack([scores[:, :count], np.ones(len(scores))])
        weights = np.linalg.lstsq(x[:half], 2.0 * label[:half] - 1, rcond=None)[0]
        if ((x[half:] @ weights > 0) == label[half:]).mean() >= 0.95:
            return float(count)
    return float(scores.shape[1] + 1)


def _steering(trained: Trained) -> dict[str, float]:
    """The smallest α by which α·(μ₁ − μ₀), added to the last layer, turns 90 % of the zeros of a feature into ones; its
    length; and how often the other feature's answer stays."""
    system, held = trained.system, trained.data.test
    logits, truth, hidden = system.responses(held)
    weights = system.banks["task"].networks.weights
    out = weights["out/weight"].detach().cpu().numpy()
    result: dict[str, list[float]] = {}
    for replica, phi in enumerate(hidden[-1]):
        for name, place in (("easy", 0), ("hard", -1)):
            value = truth[replica, :, place]
            step = phi[value].mean(0) - phi[~value].mean(0)
            before = logits[replica][~value]
            moved = step @ out[replica].T  # what α = 1 adds to the logits
            # The α at which nine tenths are above 0; none where the push goes the wrong way.
            alpha = float(np.quantile(-before[:, place], 0.9) / moved[place]) if moved[place] > 0 else np.nan
            other = 0 if place else -1
            after = before + alpha * moved
            kept = ((after[:, other] > 0) == (before[:, other] > 0)).mean()
            for key, number in (("push", alpha), ("size", alpha * np.linalg.norm(step)), ("kept", kept)):
                result.setdefault(f"{key} {name}", []).append(float(number))
    return {name: float(np.mean(values)) for name, values in result.items()}
