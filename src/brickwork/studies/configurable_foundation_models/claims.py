"""The claims of configurable foundation models: emergent bricks, which the paper measures, and operations on a library of
bricks, which it names. Criteria were written before the first run."""

import itertools
from typing import Any

import numpy as np

from brickwork.modules.merging import MergeConfig, Method
from brickwork.studies.bench import Trained
from brickwork.studies.configurable_foundation_models import emergent
from brickwork.studies.effects import Condition, Fact, combined
from brickwork.studies.study import ClaimResult, Lab, Scale, claim
from brickwork.systems.configurable_foundation_models.erasing import SHARES
from brickwork.systems.configurable_foundation_models.recipes import claims as full
from brickwork.systems.configurable_foundation_models.recipes import smoke
from brickwork.systems.configurable_foundation_models.routing import embed_texts, route
from brickwork.training.run import RunConfig

_LIBRARY = "library"
_MODEL = "language model"
_SCALES_OF_NEURONS: tuple[Scale, ...] = ("smoke", "small", "gpu")
_LARGE = "a language model of some size and its training; at scale gpu it is SmolLM2-135M"
_MANY = {"smoke": 40, "small": 200, "gpu": 200}
_DENSITIES = (0.2, 0.5, 0.9)
_SCALES = (0.3, 0.5, 0.7, 1.0, 1.5)


def _run(lab: Lab) -> RunConfig:
    return smoke() if lab.scale == "smoke" else full()


def _texts(trained: Trained, part: str = "test", many: int = 200) -> dict[str, list[str]]:
    """At most ``many`` texts of each domain of a part of the data."""
    columns = getattr(trained.data, part).columns
    texts: dict[str, list[str]] = {name: [] for name in trained.system.domains}
    for text, domain in zip(columns["input"], columns["domain"]):
        if len(texts[str(domain)]) < many:
            texts[str(domain)].append(text)
    return texts


def _nats(trained: Trained, texts: dict[str, list[str]]) -> dict[str, float]:
    """Nats per token of each domain with what is on the base now."""
    results = {}
    for name, some in texts.items():
        sums, counts = trained.system.text_nats(some)
        results[name] = float(sums.sum() / max(counts.sum(), 1))
    return results


def _mean_nats(trained: Trained, merging: MergeConfig, texts: dict[str, list[str]]) -> float:
    """Mean over domains with all bricks merged."""
    system = trained.system
    with system.on(system.configured("+".join(system.domains), merging=merging)):
        return float(np.mean(list(_nats(trained, texts).values())))


@claim(
    "R1",
    "A request finds its brick by the brick's own key",
    paper="an operation of the paper's section 3; no experiment",
    criterion="the right brick for at least 90 % of held-out texts, and at least 95 % of what the right bricks gain over "
    "the base (mean nats per token)",
)
def routing(lab: Lab) -> ClaimResult:
    arms = lab.arms(_run(lab), {_LIBRARY: {}})
    at = arms.measure(_routing, key="what")
    right, gained, kept = (
        at[_LIBRARY, what] for what in ("right", "gain of right bricks", "gain of routed bricks")
    )
    return lab.verdict(
        right,
        {"right brick": right >= 0.9, "gain kept": kept - 0.95 * gained >= 0.0},
        unit="share of held-out texts that get the right brick",
        table=at.rows("arm", digits=4),
    )


def _routing(trained: Trained) -> dict[str, float]:
    scores = trained.system.evaluate(trained.data.test)
    base = scores["nats_base"]
    return {
        "right": scores["routed_right"],
        "left to the base": scores["left_to_base"],
        "gain of right bricks": base - scores["nats_per_token"],
        "gain of routed bricks": base - scores["nats_routed"],
    }


@claim(
    "M1",
    "One merged brick: tuned task arithmetic or TIES is at least as good as the average",
    paper="an operation of the paper's section 3; no experiment",
    criterion="the better of task arithmetic and TIES, λ and density chosen on validation data, − average: at most 0 nats "
    "(mean over domains); DARE at density 0.5 within 0.01 nats of the task arithmetic that it thins",
)
def merging(lab: Lab) -> ClaimResult:
    many = _MANY[lab.scale]
    arms = lab.arms(_run(lab), {_LIBRARY: {}})
    at = arms.measure(_merging, many, key="how")
    average, best = at[_LIBRARY, "average"], at[_LIBRARY, "better of task arithmetic and TIES"]
    dare = at[_LIBRARY, "DARE"] - at[_LIBRARY, "task arithmetic"]
    return lab.verdict(
        average - best,
        {
            "average − the better one": average - best >= 0.0,
            "DARE − task arithmetic": dare <= 0.01,
            "task arithmetic − DARE": dare >= -0.01,
        },
        unit="nats per token, average − the better of task arithmetic and TIES, mean over domains",
        table=at.rows("arm", digits=4),
        note="The right brick alone and the base stand beside: a merged brick is not claimed to be better than it.",
    )


def _merging(trained: Trained, many: int) -> dict[str, float]:
    held, chosen_on = _texts(trained, "test", many), _texts(trained, "validation", many)

    def best(method: Method, densities: tuple[float | None, ...]) -> MergeConfig:
        options = [
            MergeConfig(method=method, scale=scale, density=density)
            for scale, density in itertools.product(_SCALES, densities)
        ]
        return min(options, key=lambda option: _mean_nats(trained, option, chosen_on))

    sums, ties = best("task-arithmetic", (None,)), best("ties", _DENSITIES)
    validated = {option: _mean_nats(trained, option, chosen_on) for option in (sums, ties)}
    system = trained.system
    own: dict[str, float] = {}
    for name, brick in system.own_bricks().items():
        with system.on(brick):
            own |= _nats(trained, {name: held[name]})
    return {
        "base": float(np.mean(list(_nats(trained, held).values()))),
        "right brick": float(np.mean(list(own.values()))),
        "average": _mean_nats(trained, MergeConfig(), held),
        "task arithmetic": _mean_nats(trained, sums, held),
        "TIES": _mean_nats(trained, ties, held),
        "better of task arithmetic and TIES": _mean_nats(
            trained, min(validated, key=lambda o: validated[o]), held
        ),
        "DARE": _mean_nats(trained, MergeConfig(method="dare", density=0.5, scale=sums.scale), held),
    }


@claim(
    "U1",
    "A domain is erased by subtracting its brick, and put back exactly",
    paper="an operation of the paper's section 3; no experiment",
    criterion="subtracting a domain's change from the base costs that domain more than others, mean over domains; taking "
    "bricks off leaves every weight of the base as it was, to the bit",
)
def erasing(lab: Lab) -> ClaimResult:
    arms = lab.arms(_run(lab), {_LIBRARY: {}})
    at = arms.measure(_erasing, _MANY[lab.scale], key="what")
    own, others = at[_LIBRARY, "cost to the erased domain"], at[_LIBRARY, "cost to the others"]
    same = at[_LIBRARY, "the same bits afterwards"]
    return lab.verdict(
        own - others,
        {
            "own − others": own - others > 0,
            "the same bits": Fact(
                all(value == 1 for value in same.values), "hash of the base, before and after"
            ),
        },
        unit="nats per token, cost to the erased domain − to the others",
        table=at.rows("arm", digits=4),
    )


def _erasing(trained: Trained, many: int) -> dict[str, float]:
    system, texts = trained.system, _texts(trained, "test", many)
    before, base = system.base_hash(), _nats(trained, texts)
    own, others = [], []
    for name in system.domains:
        with system.on(system.configured(f"-{name}")):
            cost = {domain: nats - base[domain] for domain, nats in _nats(trained, texts).items()}
        own.append(cost.pop(name))
        others += list(cost.values())
    return {
        "cost to the erased domain": float(np.mean(own)),
        "cost to the others": float(np.mean(others)),
        "the same bits afterwards": float(system.base_hash() == before),
    }


@claim(
    "G1",
    "A brick is added to a library, and what the library knew is not forgotten",
    paper="an operation of the paper's section 3; no experiment",
    criterion="each domain's brick added last to those of the others: at most 0.02 nats per token more on the others' texts "
    "(routed by key, mean), and its own texts gain over the library without it",
)
def growing(lab: Lab) -> ClaimResult:
    arms = lab.arms(_run(lab), {_LIBRARY: {}})
    at = arms.measure(_growing, _MANY[lab.scale], key="what")
    forgotten, gained = at[_LIBRARY, "forgotten by the others"], at[_LIBRARY, "gained by the new domain"]
    return lab.verdict(
        forgotten,
        {"forgotten": forgotten <= 0.02, "gained": gained > 0},
        unit="nats per token more on the other domains once the brick is there",
        table=at.rows("arm", digits=4),
        note="No weight changes, so only requests that the new brick takes from others can be worse. The scale of the keys "
        "comes from the texts of all domains, those of the new one among them.",
    )


def _growing(trained: Trained, many: int) -> dict[str, float]:
    system = trained.system
    by_domain = _texts(trained, "test", many)
    texts = [text for some in by_domain.values() for text in some]
    domains = np.array([name for name, some in by_domain.items() for _ in some])
    table = system.by_brick(texts)
    bricks = system.own_bricks()
    columns = {name: 1 + place for place, name in enumerate(bricks)}
    requests = embed_texts(system.encoder, texts, system.depth)

    def routed(library: dict[str, Any]) -> np.ndarray:
        chosen, _ = route(requests, library)
        return table[np.arange(len(texts)), [columns.get(name, 0) for name in chosen]]

    after, forgotten, gained = routed(bricks), [], []
    for name in bricks:
        before = routed({other: one for other, one in bricks.items() if other != name})
        forgotten.append(float((after - before)[domains != name].mean()))
        gained.append(float((before - after)[domains == name].mean()))
    return {
        "forgotten by the others": float(np.mean(forgotten)),
        "gained by the new domain": float(np.mean(gained)),
        "worst forgotten": max(forgotten),
    }


# ---- emergent bricks ---------------------------------------------------------------------------------------------


@claim(
    "C1",
    "Few neurons carry the output for a token",
    paper="Figs. 6, 7: without the lowest 70 % by activation or 80 % by magnitude the loss hardly changes "
    "(Llama-3-8B-Instruct, Mistral-7B-Instruct-v0.3)",
    criterion="at most 0.05 nats more without 70 % by activation, and without 80 % by magnitude (asked at scale gpu); by "
    "magnitude no more than by activation at every share from 50 %; 70 % by chance at least 5 times the cost by activation",
    scales=_SCALES_OF_NEURONS,
    designed="gpu",
    needs=_LARGE,
)
def sparse(lab: Lab) -> ClaimResult:
    arms = lab.arms(emergent.run_of(lab), {_MODEL: {}})
    at = arms.measure(emergent.thinned, lab.scale, key=("left out by", "share"))
    activation, magnitude = at[_MODEL, "activation", 0.7], at[_MODEL, "magnitude", 0.8]
    worse = combined(
        max, [at[_MODEL, "magnitude", share] - at[_MODEL, "activation", share] for share in SHARES]
    )
    small: dict[str, Condition] = {
        "magnitude − activation, at worst": worse <= 0.0,
        "by chance − 5 × by activation": at[_MODEL, "random", 0.7] - 5 * activation >= 0.0,
    }
    asked = {"70 % by activation": activation <= 0.05, "80 % by magnitude": magnitude <= 0.05}
    return lab.verdict(
        magnitude,
        {**asked, **small} if lab.scale == "gpu" else small,
        unit="nats per token more without 80 % of each layer's neurons by magnitude",
        table=at.rows("share", digits=4),
    )


@claim(
    "C2",
    "Some neurons tell a domain from all others, and they are few",
    paper="Fig. 8: the best neuron of a layer far above chance for all seven functions, above .8 for coding, math and "
    "translation in most layers; the mean neuron at chance",
    criterion="best average precision at least 0.25 above the share of the domain for 5 of 7 domains; the best of a layer "
    "above the best with shuffled labels (mean); mean of every layer within 0.03 of shuffled labels; the best above the "
    "99.5 % quantile of its layer in 80 % of layers",
    scales=_SCALES_OF_NEURONS,
    designed="gpu",
    needs=_LARGE,
)
def specialised(lab: Lab) -> ClaimResult:
    arms = lab.arms(emergent.run_of(lab), {_MODEL: {}})
    at = arms.measure(emergent.specialists, lab.scale, key="what")
    above = at[_MODEL, "layers: best above chance"]
    return lab.verdict(
        above,
        {
            "domains with a specialist": at[_MODEL, "domains with a specialist"] >= 5 / 7,
            "best above shuffled labels": above > 0,
            "mean off shuffled labels": at[_MODEL, "layers: mean off chance"] <= 0.03,
            "best above the quantile": at[_MODEL, "layers: best above the quantile"] >= 0.8,
        },
        unit="average precision of the best neuron of a layer − the same with shuffled labels",
        table=at.rows("arm", digits=4),
    )


@claim(
    "C3",
    "Erasing a domain's neurons costs that domain more than the others",
    paper="Fig. 9: without the 5 % of neurons with the highest score perplexity rises by 32 to 444 % on the function itself "
    "and mostly by 3 to 30 % on others (Llama-3-8B-Instruct)",
    criterion="its own perplexity rises more than that of the others on average, for 5 of 7 domains; with resident neurons "
    "and without; scored on one half of the texts, measured on the other",
    scales=_SCALES_OF_NEURONS,
    designed="gpu",
    needs=_LARGE,
)
def partitioned(lab: Lab) -> ClaimResult:
    arms = lab.arms(emergent.run_of(lab), {_MODEL: {}})
    at = arms.measure(emergent.erased, lab.scale, key="what")
    matrix = arms.measure(emergent.cells, lab.scale, key=("erased", "measured"))
    own, bare = at[_MODEL, "own_above_others"], at[_MODEL, "own_above_others/no_residents"]
    return lab.verdict(
        at[_MODEL, "erased_own/no_residents"] - at[_MODEL, "erased_others/no_residents"],
        {"domains": own >= 5 / 7, "domains, no residents": bare >= 5 / 7},
        unit="% of perplexity, own − others, mean over domains, without resident neurons",
        table=[*at.rows("arm", digits=3), *matrix.rows("erased", digits=2)],
    )


@claim(
    "C3b",
    "Domains have neurons of their own",
    paper="Fig. 10: the sets of two functions overlap by .00 to .04, linguistic and translation by .08; chance .05",
    criterion="the bricks of two domains overlap by at most chance for 15 of 21 pairs; control: labels shuffled for "
    "each domain within 0.01 of chance",
    scales=_SCALES_OF_NEURONS,
    designed="gpu",
    needs=_LARGE,
)
def apart(lab: Lab) -> ClaimResult:
    arms = lab.arms(emergent.run_of(lab), {_MODEL: {}})
    at = arms.measure(emergent.shared, lab.scale, key="what")
    pairs, off = (
        at[_MODEL, "pairs at most at chance"],
        at[_MODEL, "overlap of shuffled labels"] - at[_MODEL, "chance"],
    )
    return lab.verdict(
        at[_MODEL, "overlap"] - at[_MODEL, "chance"],
        {
            "pairs": pairs >= 15 / 21,
            "shuffled − chance": off <= 0.01,
            "chance − shuffled": off >= -0.01,
        },
        unit="overlap of two domains' neurons − chance, mean over pairs",
        table=at.rows("arm", digits=4),
        note="Labels that exclude each other make the overlap smaller by themselves: the column of labels shuffled together "
        "says how much.",
    )


@claim(
    "C3c",
    "A domain's best neurons lie together in groups of similar keys",
    paper="arXiv 2305.18390: functional experts in T5; the survey rests on it",
    criterion="the share of groups that are functional experts (p < .001, best 1 % of a layer, 16 groups) at least 5 times "
    "that of random groups, or of the .001 that chance allows, whichever is more",
    scales=_SCALES_OF_NEURONS,
    designed="gpu",
    needs=_LARGE,
)
def clustered(lab: Lab) -> ClaimResult:
    arms = lab.arms(emergent.run_of(lab), {_MODEL: {}})
    at = arms.measure(emergent.gathered, lab.scale, key="groups")
    own, chance = at[_MODEL, "similar keys"], at[_MODEL, "random groups"]
    floor = combined(lambda values: max(*values, 0.001), [chance])
    return lab.verdict(
        own,
        {"similar keys − 5 × chance": own - 5 * floor >= 0.0},
        unit="share of groups that are functional experts",
        table=at.rows("groups", digits=4),
    )
