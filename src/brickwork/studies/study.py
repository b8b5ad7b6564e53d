"""The frame of a study: a claim is the comparison and nothing else.

.. code-block:: python

    @claim("C6", "A contrastive dual encoder keeps its quality on prefixes", paper="…", criterion="…")
    def text_pairs(lab: Lab) -> ClaimResult:
        arms = lab.arms(text(lab.scale), MRL={}, ordinary={"dims": LAST}, tuned_by=validation_score)
        at = arms.measure(recall_by_dim, key="dim")     # arm × dim -> one number a seed
        gain = at["MRL", SMALL] - at["ordinary", SMALL]
        return lab.verdict(gain, {"gain": gain >= 10}, unit="points of recall@10, MRL − ordinary", table=at.rows("dim"))

A study is a module ``studies/<slug>.py`` or a folder with a module ``claims``; :mod:`brickwork.studies.records` runs its
claims, stores and reads the results.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from brickwork.core.errors import DataError, MissingExtraError
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.effects import AnyOf, Condition, Effect, Fact, Measured, Outcome, Premise

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

Scale = Literal["smoke", "small", "gpu"]
_SIZES: tuple[Scale, ...] = get_args(Scale)
Criterion = Condition | AnyOf | Fact
Verdict = Literal["supported", "undecided", "refuted", "not at this scale", "not run"]


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What one arm of a comparison cost, over all seeds: the budgets are equal or seen to differ.

    ``rates``: the learning rates among which its own was chosen; none where it was given.
    """

    name: str
    trainings: int = 0
    examples: int = 0
    seconds: float = 0.0
    learning_rate: float | None = None
    rates: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One condition of a criterion as a record keeps it: ``asked`` is like "≥ 10", ``effect`` the mean over seeds."""

    name: str
    asked: str
    outcome: Outcome
    effect: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """The result of a claim.

    ``effect`` is in ``unit``; ``effects`` has it for every seed, in the order of the seeds; ``conditions`` are those of the
    criterion, which :func:`verdict_of` judged; ``table`` holds all numbers behind it, each row one JSON object; ``note``
    says what the reader must know.
    """

    verdict: Verdict
    effect: float | None = None
    interval: tuple[float, float] | None = None
    conditions: tuple[Judged, ...] = ()
    unit: str = ""
    effects: tuple[float, ...] = ()
    arms: tuple[ArmCost, ...] = ()
    table: tuple[dict[str, Any], ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One headline claim.

    ``paper`` is the paper's own figure in words, ``criterion`` what makes our verdict "supported", written before the run.
    ``check`` does the work; a scale not in ``scales`` is "not run". ``designed`` is the scale for which set-up and criterion
    were made; ``needs`` says what the claim needs that smaller scales lack, which turns *refuted* into *not at this scale*
    there, and nowhere else.
    """

    id: str
    statement: str
    paper: str
    criterion: str
    check: "Callable[[Lab], ClaimResult]"
    scales: tuple[Scale, ...] = ("smoke", "small")
    designed: Scale = "small"
    needs: str = ""

    def run(self, scale: Scale, seeds: Sequence[int], bench: Bench) -> ClaimResult:
        """The result at a scale; absent data or an absent optional package gives *not run*, other errors are raised."""
        if scale not in self.scales:
            return ClaimResult(verdict="not run", note=f"not defined at scale {scale}")
        try:
            return self.check(Lab(scale, tuple(seeds), bench, excuse=self.excuse(scale)))
        except (DataError, MissingExtraError) as error:
            return ClaimResult(verdict="not run", note=str(error))

    def excuse(self, scale: Scale) -> str:
        """What a scale lacks that the claim needs; nothing at the scale that it is designed for, or above."""
        return self.needs if _SIZES.index(scale) < _SIZES.index(self.designed) else ""


def claim(
    id: str,
    statement: str,
    *,
    paper: str,
    criterion: str,
    scales: tuple[Scale, ...] = ("smoke", "small"),
    designed: Scale = "small",
    needs: str = "",
) -> "Callable[[Callable[[Lab], ClaimResult]], Claim]":
    """Makes a function of a :class:`Lab` a claim of its module; the other fields are those of :class:`Claim`."""

    def register(check: "Callable[[Lab], ClaimResult]") -> Claim:
        return Claim(
            id=id,
            statement=statement,
            paper=paper,
            criterion=criterion,
            check=check,
            scales=scales,
            designed=designed,
            needs=needs,
        )

    return register


def claims_in(module: ModuleType) -> tuple[Claim, ...]:
    """The claims of a module, in the order in which they stand there."""
    return tuple(value for value in vars(module).values() if isinstance(value, Claim))


def verdict_of(criterion: Mapping[str, Criterion], excuse: str = "") -> Verdict:
    """The one way to a verdict: it follows from the outcomes of the conditions of a criterion, so from their intervals.

    1. *supported*: every condition is met;
    2. *not at this scale*: some condition or premise is missed, and there is an ``excuse``: what the claim needs and this
       scale lacks. :meth:`Claim.run` has one only below the scale that the claim is designed for, and it stood there before
       the run;
    3. *refuted*: some condition is missed, and every premise is met;
    4. *undecided*: a premise is not met, so what is missed may not have been tested, or some limit lies inside its interval
       (or there is none: a single seed, or a seed whose effect is NaN or infinite). Other seeds could turn it.
    """
    missed = [condition for condition in criterion.values() if condition.outcome == "missed"]
    if missed and excuse:
        return "not at this scale"
    unmet = [condition for condition in criterion.values() if condition.outcome != "met"]
    if missed and not any(isinstance(condition, Premise) for condition in unmet):
        return "refuted"
    return "undecided" if unmet else "supported"


def cost_of(name: str, trained: Sequence[Trained], rates: Sequence[float] = ()) -> ArmCost:
    """The summed cost of the trainings of one arm (a model shared with another claim counts in both)."""
    return ArmCost(
        name=name,
        trainings=sum(t.trainings for t in trained),
        examples=sum(t.examples for t in trained),
        seconds=round(sum(t.seconds for t in trained), 2),
        learning_rate=trained[0].learning_rate,
        rates=tuple(rates) or trained[0].rates,
    )


class Arms(Mapping[str, tuple[Trained, ...]]):
    """The trained systems of a comparison: name of the arm → one a seed."""

    def __init__(self, seeds: Sequence[int], trained: Mapping[str, Sequence[Trained]]):
        self.seeds = tuple(seeds)
        self._trained = {name: tuple(several) for name, several in trained.items()}

    def __getitem__(self, name: str) -> tuple[Trained, ...]:
        return self._trained[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trained)

    def __len__(self) -> int:
        return len(self._trained)

    def __or__(self, other: "Arms") -> "Arms":
        return Arms(self.seeds, {**self._trained, **other._trained})

    def only(self, *names: str) -> "Arms":
        """Some of the arms."""
        return Arms(self.seeds, {name: self[name] for name in names})

    def measure(
        self, measure: Callable[..., Any], *args: Any, key: str | tuple[str, ...] = (), arm: str = "arm"
    ) -> Measured:
        """``measure(trained, *args)`` of every model: a number, or a dictionary of key → number.

        ``key`` names the parts of the keys, ``arm`` the arms, as columns of tables. A measure is computed once for a model,
        in whichever claim it is asked for, if ``measure`` is a function of a module.
        """
        names = (arm, *((key,) if isinstance(key, str) else key))
        values = {name: [t.measured(measure, *args) for t in several] for name, several in self.items()}
        return _table(self.seeds, names, values)

    def each(self, measure: Callable[..., Any], *args: Any, key: str | tuple[str, ...] = ()) -> Measured:
        """``measure({arm: trained}, *args)`` for each seed: what looks at several arms at once."""
        values = [
            measure({name: several[place] for name, several in self.items()}, *args)
            for place in range(len(self.seeds))
        ]
        return _table(self.seeds, (key,) if isinstance(key, str) else key, {None: values})


def _table(seeds: Sequence[int], names: tuple[str, ...], values: Mapping[Any, list[Any]]) -> Measured:
    effects: dict[tuple[Any, ...], Effect] = {}
    for arm, several in values.items():
        first = () if arm is None else (arm,)
        by_key = [value if isinstance(value, dict) else {(): value} for value in several]
        for seed, others in zip(seeds, by_key):
            if odd := by_key[0].keys() ^ others.keys():
                which = "" if arm is None else f" of arm '{arm}'"
                raise ValueError(
                    f"the keys {sorted(odd, key=str)}{which} are measured with only one of the seeds {seeds[0]} and {seed}; "
                    "give every seed the same keys"
                )
        for key in by_key[0]:
            rest = key if isinstance(key, tuple) else (key,)
            effects[(*first, *rest)] = Effect(tuple(float(values[key]) for values in by_key))
    return Measured(seeds, names, effects)


@dataclass
class Lab:
    """Where one claim runs: at a ``scale``, with ``seeds``, on a ``bench`` that it shares with the study's other claims.

    ``excuse``: what the claim needs and the scale lacks, if it is below the scale that the claim is designed for.
    """

    scale: Scale
    seeds: tuple[int, ...]
    bench: Bench
    excuse: str = ""
    _costs: dict[str, list[Trained]] = field(default_factory=dict)
    _rates: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def smoke(self) -> bool:
        """Whether this is the smallest scale."""
        return self.scale == "smoke"

    def arms(
        self,
        run: "RunConfig | Mapping[str, Any] | None" = None,
        arms: Mapping[str, Any] | None = None,
        /,
        *,
        tuned_by: Callable[[Trained], float] | None = None,
        **more: Any,
    ) -> Arms:
        """Trains every arm with every seed; the arms in turn, so that what slows the machine for a while slows all.

        An arm is a dictionary of what differs in the model of ``run``, or a whole run, or a function from a seed to what
        it trained; where no arm needs a ``run``, the arms come first. ``tuned_by``: the learning rate of each arm is the
        one of a grid whose model scores best by it (:meth:`Bench.tuned`). Arms of one name in several calls are
        counted as one, each training once.
        """
        if isinstance(run, Mapping):
            run, arms = None, run
        arms = {**(arms or {}), **more}
        makers = {name: self._maker(name, run, arm, tuned_by) for name, arm in arms.items()}
        trained: dict[str, list[Trained]] = {name: [] for name in arms}
        for seed in self.seeds:
            for name, make in makers.items():
                trained[name].append(make(seed))
        for name, several in trained.items():
            counted = self._costs.setdefault(name, [])
            counted += [one for one in several if one not in counted]
        return Arms(self.seeds, trained)

    def _maker(
        self, name: str, run: "RunConfig | None", arm: Any, tuned_by: Callable[[Trained], float] | None
    ) -> Callable[[int], Trained]:
        if callable(arm):
            return cast("Callable[[int], Trained]", arm)
        if isinstance(arm, Mapping):
            assert run is not None, "an arm that says what differs needs a run that it differs from"
            arm = replace(run, model=replace(run.model, **arm))
        chosen = self.bench.tuned(arm, tuned_by) if tuned_by else arm
        self._rates[name] = self.bench.rates(chosen) if tuned_by else ()
        return lambda seed: self.bench.train(replace(chosen, seed=seed))

    def verdict(
        self,
        effect: Effect,
        criterion: Mapping[str, Criterion],
        *,
        unit: str,
        note: str = "",
        table: Sequence[Mapping[str, Any]],
        costs: Mapping[str, Sequence[Trained]] | None = None,
    ) -> ClaimResult:
        """The result of a claim: its headline ``effect``, and the verdict of its criterion's named conditions by
        :func:`verdict_of`. ``costs``: the arms to count, if not all that were trained.
        """
        verdict = verdict_of(criterion, self.excuse)
        remarks = [note] if note else []
        if verdict == "not at this scale":
            remarks.append(f"Needs {self.excuse}.")
        elif any(isinstance(c, Premise) and c.outcome == "missed" for c in criterion.values()):
            remarks.append("What the claim presupposes does not hold here: it was not tested.")
        judged = [_judged(name, condition) for name, condition in criterion.items()]
        conditions = [c for c in criterion.values() if isinstance(c, Condition)]
        if not all(e.finite for e in (effect, *(c.effect for c in conditions))):
            remarks.append("The effect of some seed is not a finite number.")
        elif len(effect.values) == 1 and verdict == "undecided":
            remarks.append("One seed has no interval.")
        return ClaimResult(
            verdict=verdict,
            effect=effect.mean,
            interval=effect.interval,
            conditions=tuple(judged),
            unit=unit,
            effects=effect.values,
            arms=tuple(
                cost_of(name, several, self._rates.get(name, ()))
                for name, several in (costs or self._costs).items()
            ),
            table=tuple(dict(row) for row in table),
            note=" ".join(remarks),
        )


def _judged(name: str, condition: Criterion) -> Judged:
    judged = Judged(name=name, asked=str(condition), outcome=condition.outcome)
    if not isinstance(condition, Condition):
        return judged
    return replace(judged, effect=condition.effect.mean, interval=condition.effect.interval)
