"""A verdict from a criterion that was written down before the run."""

from collections.abc import Sequence
from typing import Any

from brickwork.evaluation.significance import seed_interval
from brickwork.studies.old import ArmCost, ClaimResult, Verdict


def decide(
    effects: Sequence[float],
    passed: bool,
    *,
    unit: str,
    arms: Sequence[ArmCost] = (),
    table: Sequence[dict[str, Any]] = (),
    note: str = "",
    needs: str = "",
) -> ClaimResult:
    """*supported* if the criterion is met, else *refuted*; mean and Student interval of one effect a seed beside it.

    ``needs``: what the spec sheet says that the claim needs and this scale lacks; with it, a criterion that is not
    met gives *not at this scale*. :func:`brickwork.studies.bench.judge` is stricter: it decides by the interval.
    """
    interval = seed_interval(effects)
    bounds = None
    if interval.low is not None and interval.high is not None:
        bounds = (interval.low, interval.high)
    verdict: Verdict = "supported" if passed else "not at this scale" if needs else "refuted"
    remarks = [note] if note else []
    if not passed and needs:
        remarks.append(f"Needs {needs}.")
    return ClaimResult(
        verdict=verdict,
        effect=interval.mean,
        interval=bounds,
        unit=unit,
        effects=tuple(float(e) for e in effects),
        arms=tuple(arms),
        table=tuple(table),
        note=" ".join(remarks),
    )
