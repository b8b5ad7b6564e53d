"""A laboratory that trains nothing: what a study's measures say of each arm is known, and so is the verdict that follows.

The measures of a study are replaced by :func:`known` numbers; everything between them and the verdict, arms, differences,
conditions, is the study's own. So a claim that takes the wrong arm, sign, key or limit gives another verdict.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from brickwork.studies.bench import Bench, Trained
from brickwork.studies.records import claims_of
from brickwork.studies.study import Arms, Claim, ClaimResult, Lab, Scale

DISTURBANCES = (0.0, 1.0, -1.0)
"""By seed; mean 0, standard deviation 1: the 95 % interval reaches 4.303/√3 = 2.48 to each side."""


class KnownBench(Bench):
    """Chooses the first of several choices, leaves rates as they are, and reads no data."""

    def data(self, run):
        return SimpleNamespace(train=range(84))

    def tuned(self, run, score):
        return run

    def best(self, key, choices, score):
        return choices[0]

    def best_factor(self, key, score):
        return 1.0, (1.0,)


class KnownLab(Lab):
    """Its arms are names, ``trained.system.arm``, of a ``trained.system.run``; ``parts``: what else a claim asks of it."""

    parts: Mapping[str, Any] = {}

    def arms(self, run=None, arms=None, /, *, tuned_by=None, **more):
        if isinstance(run, Mapping):
            run, arms = None, run
        names = [*(arms or {}), *more]
        trained = {name: [self._known(name, run, seed) for seed in self.seeds] for name in names}
        for name, several in trained.items():
            self._costs[name] = several
        return Arms(self.seeds, trained)

    def _known(self, name: str, run: Any, seed: int) -> Trained:
        data = SimpleNamespace(train=(), validation=(), test=(), num_classes=10)
        return Trained(SimpleNamespace(arm=name, run=run, **self.parts), data, seed, 10, 1.0, 0.1)


def known(
    values: Mapping[str, Any],
    wobble: Mapping[str, float] | None = None,
    *,
    keys: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A measure that says of each arm what ``values`` say: a number, or a number by key.

    ``wobble``: arm → how far its numbers move with the seed. ``keys``: from the other arguments of the measure, the keys
    that it is asked for, where an arm has one number for all of them.
    """

    def measure(trained: Trained, *args: Any) -> Any:
        arm = trained.system.arm
        value = values[arm]
        moved = (wobble or {}).get(arm, 0.0) * DISTURBANCES[trained.seed]
        if isinstance(value, Mapping):
            return {key: number + moved for key, number in value.items()}
        return dict.fromkeys(keys(*args), value + moved) if keys else value + moved

    return measure


def verdict(slug: str, id: str, *, scale: Scale = "small", **parts: Any) -> ClaimResult:
    """The result of a claim in the laboratory, with three seeds."""
    (claim,) = (claim for claim in claims_of(slug) if claim.id == id)
    return result_of(claim, scale, **parts)


def result_of(claim: Claim, scale: Scale, seeds: Sequence[int] = (0, 1, 2), **parts: Any) -> ClaimResult:
    """The same of a claim that is at hand."""
    lab = KnownLab(scale, tuple(seeds), KnownBench(), excuse=claim.excuse(scale))
    lab.parts = parts
    return claim.check(lab)
