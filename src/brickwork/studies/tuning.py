"""A learning rate for every arm of a comparison, chosen for each in the same way and for the same price."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from brickwork.studies.old import Trained, Workbench

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

FACTORS = (1.0, 0.5, 2.0)
PILOT_SEED = 0


def tuned(bench: Workbench, run: "RunConfig", score: Callable[[Trained], float]) -> "RunConfig":
    """``run`` with the learning rate, of :data:`FACTORS` times its own, whose model scores best on validation data.

    Each rate is tried once, with :data:`PILOT_SEED`, whatever the seed of ``run``; at a tie the first factor stands.
    """
    from brickwork.core.config import fingerprint

    def at(factor: float) -> "RunConfig":
        return replace(run, train=replace(run.train, learning_rate=factor * run.train.learning_rate))

    def choose() -> float:
        pilots = {factor: replace(at(factor), seed=PILOT_SEED) for factor in FACTORS}
        scores = {factor: score(bench.train(pilot)) for factor, pilot in pilots.items()}
        best = max(FACTORS, key=scores.__getitem__)
        for factor in FACTORS:
            if factor != best:
                bench.forget(pilots[factor])
        return best

    return at(bench.memo(("rate", fingerprint(replace(run, seed=PILOT_SEED))), choose))
