"""The study of configurable foundation models: the operations on a library of bricks.

The paper measures none of them; the criteria were written before the first run. What the paper does measure, emergent
bricks in the neurons of published models, is not here yet.
"""

import itertools

import numpy as np

from brickwork.modules.merging import MergeConfig, Method
from brickwork.studies.bench import Trained
from brickwork.studies.effects import Fact
from brickwork.studies.study import ClaimResult, Lab, claim
from brickwork.systems.configurable_foundation_models.recipes import claims as full
from brickwork.systems.configurable_foundation_models.recipes import smoke
from brickwork.training.run import RunConfig

_LIBRARY = "library"
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
