"""What is measured of a run of feature bias: numbers, each the mean over its networks."""

import numpy as np
import torch

from brickwork.core.shares import Property
from brickwork.evaluation.explained import explain
from brickwork.studies.bench import Trained
from brickwork.systems.feature_bias.system import LEARNT

_PAIRS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def layer_shares(trained: Trained) -> dict[str, float]:
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


def growth(trained: Trained) -> dict[str, float]:
    """Of the first feature at the last layer, from mastery to the end: doublings of the variance that it explains, and the
    factor of its share of what the two features explain."""
    watched = trained.system.watched.cpu().numpy()
    watched = watched[(watched[:, :, -1] >= 0).all(axis=(1, 2))]
    doublings, shares = [], []
    for replica in range(watched.shape[1]):
        variance, accuracy = watched[:, replica, -2], watched[:, replica, -1, 0]
        mastered = int(np.argmax(accuracy >= LEARNT)) if (accuracy >= LEARNT).any() else len(accuracy) - 1
        doublings.append(np.log2(variance[-1, 0] / max(variance[mastered, 0], 1e-9)))
        part = variance[:, 0] / variance.sum(1)
        shares.append(part[-1] / part[mastered])
    return {"doublings": float(np.mean(doublings)), "share": float(np.mean(shares))}


def parts(trained: Trained) -> dict[str, float]:
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


def by_place(trained: Trained) -> dict[str, float]:
    from scipy.stats import spearmanr

    system, held = trained.system, trained.data.test
    table = system.table(held)[-1]
    places = range(table.shape[1])
    result = {"accuracy": float(system.accuracy(held).mean(0).min())}
    result["correlation"] = float(np.mean([spearmanr(places, own).statistic for own in table]))
    return result | {f"place {place + 1}": float(table[:, place].mean()) for place in places}


def downstream_uses(trained: Trained) -> dict[str, float]:
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


def pushes(trained: Trained) -> dict[str, float]:
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
