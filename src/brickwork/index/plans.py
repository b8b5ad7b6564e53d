"""From what a user asks for to the plan that is carried out."""

from collections.abc import Mapping, Sequence
from typing import Any

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.core.values import whole_number
from brickwork.index.contract import Backend
from brickwork.index.fusion import Fusion
from brickwork.index.planning import pick
from brickwork.index.search import default_funnel, shortlist_dim
from brickwork.index.types import SEARCH_MODES, Plan, SearchMode, Stage

# What an index with a first stage other than the scan finds where nothing else was asked for.
DEFAULT_RECALL = 0.99


def choose_mode(
    backend: Backend,
    mode: str | None,
    dense_weight: float | None,
    fusion: str | None,
    of_vectors: Mapping[str, Any],
) -> tuple[SearchMode, Fusion | None, list[str]]:
    """What is compared, how a hybrid search puts both together, and notes for the user.

    Without a wish it is hybrid where the backend can compare words. ``of_vectors`` are the options that say how vectors
    are compared.

    Raises:
        ConfigError: an unknown mode, or an option that has no effect in it.
    """
    if mode is not None and mode not in SEARCH_MODES:
        raise ConfigError(f"mode '{mode}' is unknown; use {', '.join(SEARCH_MODES)}")
    wanted = mode or ("hybrid" if backend.lexical == "there" else "dense")
    (chosen,) = (known for known in SEARCH_MODES if known == wanted)
    if chosen == "lexical" and (
        idle := [name for name, value in of_vectors.items() if value is not None and value is not False]
    ):
        raise ConfigError(
            f"{' and '.join(idle)} {'say' if len(idle) > 1 else 'says'} how vectors are compared, which mode='lexical' does "
            "not do; leave "
            f"{'them' if len(idle) > 1 else 'it'} out"
        )
    ways = {"dense_weight": dense_weight, "fusion": fusion}
    if chosen != "hybrid":
        if given := [name for name, value in ways.items() if value is not None]:
            raise ConfigError(
                f"{' and '.join(given)} can be given with mode='hybrid' only; this search is {chosen}"
            )
        old = mode is None and backend.lexical == "missing"
        note = "only vectors are compared: the index was written before words were; an update of it (--update) adds them"
        return chosen, None, [note] if old else []
    way = fusion or "scores"
    if dense_weight is None and way == "scores":  # a kept weight was learnt for sums of scores
        dense_weight = backend.current_manifest().dense_weight
    weight = {} if dense_weight is None else {"dense_weight": dense_weight}
    return "hybrid", Fusion(by=way, **weight), []


def choose_plan(
    backend: Backend,
    axes: ElasticAxes,
    top: int,
    dim: int | None,
    layers: int | None,
    *,
    shortlist: int | None,
    funnel: bool | Sequence[Stage],
    plan: Plan | None,
    recall: float | None,
    budget_ms: float | None,
) -> tuple[Plan, int, list[str]]:
    """The plan, its depth, and notes for the user. The ways to say it exclude each other.

    Raises:
        ConfigError: sizes that the index does not have, stages that keep too few, or two ways at once.
    """
    whole_number("top", top, least=1)
    if shortlist is not None:
        whole_number("shortlist", shortlist, least=1)
    ways = {
        "shortlist": shortlist is not None,
        "funnel": bool(funnel),
        "plan": plan is not None,
        "recall": recall is not None,
        "budget_ms": budget_ms is not None,
    }
    given = [name for name, used in ways.items() if used]
    if len(given) > 1 and given != ["recall", "budget_ms"]:
        raise ConfigError(f"{' and '.join(given)} exclude each other: each says how to search")
    if plan is not None:
        return _checked(axes, plan, top, dim, layers)
    if dim is not None and (recall is not None or budget_ms is not None):
        raise ConfigError("dim excludes recall and budget_ms: these choose the sizes themselves")
    if dim is None and not given and backend.has_shortlists:
        recall = DEFAULT_RECALL  # the index was given a faster first stage: without another wish it is used
    dim, layers, notes = axes.resolve(dim, layers)
    if recall is not None or budget_ms is not None:
        point = pick(backend.frontier(layers), recall=recall, budget_ms=budget_ms, top=top)
        return point.plan, layers, notes
    return Plan(stages=tuple(_stages(axes, top, dim, shortlist, funnel))), layers, notes


def _checked(
    axes: ElasticAxes, plan: Plan, top: int, dim: int | None, layers: int | None
) -> tuple[Plan, int, list[str]]:
    if dim is not None:
        raise ConfigError("plan and dim exclude each other: the plan's stages have their sizes")
    if not plan.stages:
        raise ConfigError("a plan needs at least one stage (dim, keep)")
    for size, keep in plan.stages:
        axes.resolve(size, None)
        if keep < top:
            raise ConfigError(
                f"plan stage ({size}, {keep}) keeps less than top={top}: keep at least that many"
            )
    last, layers, notes = axes.resolve(plan.stages[-1][0], layers)
    stages = (*plan.stages[:-1], (last, top))
    return Plan(stages=stages, kind=plan.kind, effort=plan.effort), layers, notes


def _stages(
    axes: ElasticAxes, top: int, dim: int, shortlist: int | None, funnel: bool | Sequence[Stage]
) -> list[Stage]:
    if shortlist is not None:
        if shortlist < top:
            raise ConfigError(f"shortlist={shortlist} is less than top={top}: keep at least that many")
        short = shortlist_dim(axes)
        return [(short, shortlist), (dim, top)] if short < dim else [(dim, top)]
    if funnel is True:
        return default_funnel(axes, dim, top)
    if not funnel:
        return [(dim, top)]
    stages = [(int(size), int(keep)) for size, keep in funnel]
    for size, keep in stages:
        axes.resolve(size, None)
        if keep < top:
            raise ConfigError(
                f"funnel stage ({size}, {keep}) keeps less than top={top}: keep at least that many"
            )
    return [*stages, (dim, top)]
