"""From what a user asks for to the plan that is carried out."""

from collections.abc import Sequence

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.core.values import whole_number
from brickwork.index.contract import Backend
from brickwork.index.planning import pick
from brickwork.index.search import default_funnel, shortlist_dim
from brickwork.index.types import Plan, Stage

# What an index with a first stage other than the scan finds where nothing else was asked for.
DEFAULT_RECALL = 0.99


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
