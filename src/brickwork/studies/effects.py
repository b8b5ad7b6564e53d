"""Numbers of a comparison: an effect has one number a seed, a table of measures has an effect for each arm and key."""

import math
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from brickwork.evaluation.significance import seed_interval

Number = float | int
Reduce = Callable[[Sequence[float]], float]
Outcome = Literal["met", "open", "missed"]


@dataclass(frozen=True)
class Effect:
    """One number for each seed, in the order of the seeds; arithmetic pairs the seeds. What is divided by 0 is NaN."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds; NaN if one is not finite."""
        return _mean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 for a single seed."""
        if not self.finite:
            return math.nan
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def finite(self) -> bool:
        """Whether every seed has a number, neither NaN nor infinite."""
        return all(map(math.isfinite, self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Student interval of the mean over seeds; ``None`` for a single seed, or one that is not finite."""
        if not self.finite:
            return None
        interval = seed_interval(self.values)
        if interval.low is None or interval.high is None:
            return None
        return interval.low, interval.high

    def __add__(self, other: "Effect | Number") -> "Effect":
        return self._paired(operator.add, other)

    def __sub__(self, other: "Effect | Number") -> "Effect":
        return self._paired(operator.sub, other)

    def __mul__(self, other: "Effect | Number") -> "Effect":
        return self._paired(operator.mul, other)

    def __truediv__(self, other: "Effect | Number") -> "Effect":
        return self._paired(lambda a, b: a / b if b else math.nan, other)

    def __rmul__(self, other: Number) -> "Effect":
        return self._paired(operator.mul, other)

    def __gt__(self, limit: Number) -> "Condition":
        return Condition(self, limit, "above", strict=True)

    def __ge__(self, limit: Number) -> "Condition":
        return Condition(self, limit, "above", strict=False)

    def __lt__(self, limit: Number) -> "Condition":
        return Condition(self, limit, "below", strict=True)

    def __le__(self, limit: Number) -> "Condition":
        return Condition(self, limit, "below", strict=False)

    def _paired(self, of: Callable[[float, float], float], other: "Effect | Number") -> "Effect":
        others = other.values if isinstance(other, Effect) else (other,) * len(self.values)
        return Effect(tuple(of(a, b) for a, b in zip(self.values, others, strict=True)))


@dataclass(frozen=True)
class Condition:
    """What a criterion asks of an effect: to be ``above`` or ``below`` a limit; made by comparing: ``gain >= 10``.

    The outcome follows from the 95 % interval of the effect over seeds: *met* if the whole of it is on the right side of
    the limit, *missed* if the whole of it is on the wrong side, else *open*, also where there is no interval. The limit
    itself is on the right side unless the condition is ``strict`` (``>``, ``<``).
    """

    effect: Effect
    limit: Number
    side: Literal["above", "below"]
    strict: bool

    @property
    def outcome(self) -> Outcome:
        """Met, open or missed, by the interval."""
        interval = self.effect.interval
        if interval is None:
            return "open"
        right = [self._right(bound) for bound in interval]
        return "met" if all(right) else "open" if any(right) else "missed"

    def __str__(self) -> str:
        signs = {"above": "≥>", "below": "≤<"}
        return f"{signs[self.side][self.strict]} {self.limit:g}"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a condition is met, open or missed, not true or false: give each condition of a criterion to the verdict "
            "by itself, and compare several effects through combined(min, …) or combined(max, …)"
        )

    def _right(self, value: float) -> bool:
        if value == self.limit:
            return not self.strict
        return (value > self.limit) == (self.side == "above")


@dataclass(frozen=True)
class Premise(Condition):
    """What must hold for a claim to be tested at all, such as that a task was learnt: missed, it refutes nothing."""

    def __str__(self) -> str:
        return f"{super().__str__()} (premise)"


def premise(condition: Condition) -> Premise:
    """The condition as what the claim presupposes, not what it says."""
    return Premise(condition.effect, condition.limit, condition.side, condition.strict)


@dataclass(frozen=True)
class Fact:
    """A condition without an interval, because nothing random decides it; ``why`` says so."""

    passed: bool
    why: str

    @property
    def outcome(self) -> Outcome:
        """Met or missed."""
        return "met" if self.passed else "missed"

    def __str__(self) -> str:
        return f"(no interval: {self.why})"


@dataclass(frozen=True)
class AnyOf:
    """Several conditions of which one is enough: met if one is met, missed if all are missed, else open."""

    conditions: tuple[Condition, ...]

    @property
    def outcome(self) -> Outcome:
        """Met, open or missed."""
        outcomes = {condition.outcome for condition in self.conditions}
        return "met" if "met" in outcomes else "missed" if outcomes == {"missed"} else "open"

    def __str__(self) -> str:
        asked = ", ".join(f"{c} ({c.outcome}, {c.effect.mean:+.3g})" for c in self.conditions)
        return f"(one is enough: {asked})"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if all(map(math.isfinite, values)) else math.nan


def combined(reduce: Reduce, effects: Iterable[Effect]) -> Effect:
    """Several effects made one, seed by seed: ``combined(max, …)`` is the best of each seed."""
    return Effect(tuple(float(reduce(values)) for values in zip(*(e.values for e in effects), strict=True)))


def average(effects: Iterable[Effect]) -> Effect:
    """The mean of several effects, seed by seed."""
    return combined(_mean, effects)


class Measured:
    """A table of effects. ``at["MRL", 8]`` is the effect of arm MRL at key 8; a key of several parts is given part by part.

    ``names`` says what the parts of a place are: ``("arm", "layers", "dim")``.
    """

    def __init__(self, seeds: Sequence[int], names: Sequence[str], effects: Mapping[tuple[Any, ...], Effect]):
        self.seeds = tuple(seeds)
        self.names = tuple(names)
        self.effects = dict(effects)

    def __getitem__(self, place: Any) -> Effect:
        return self.effects[place if isinstance(place, tuple) else (place,)]

    def __contains__(self, place: Any) -> bool:
        return (place if isinstance(place, tuple) else (place,)) in self.effects

    def __or__(self, other: "Measured") -> "Measured":
        return Measured(self.seeds, self.names, self.effects | other.effects)

    def named(self, arm: str) -> "Measured":
        """The measures of one arm, under another name."""
        return Measured(self.seeds, self.names, {(arm, *p[1:]): e for p, e in self.effects.items()})

    def labels(self, name: str) -> tuple[Any, ...]:
        """The different values of one part of the places, in the order in which they were measured."""
        return tuple(dict.fromkeys(place[self.names.index(name)] for place in self.effects))

    def where(self, **labels: Any) -> "Measured":
        """Only the places whose parts are (or, for a tuple, range or set, are among) the given labels."""

        def kept(place: tuple[Any, ...]) -> bool:
            parts = dict(zip(self.names, place))
            return all(
                parts[name] in wanted if isinstance(wanted, tuple | range | set) else parts[name] == wanted
                for name, wanted in labels.items()
            )

        return Measured(self.seeds, self.names, {p: e for p, e in self.effects.items() if kept(p)})

    def over(self, **labels: Any) -> Effect:
        """The mean over all places of :meth:`where`, seed by seed.

        Raises:
            KeyError: there is no such place.
        """
        effects = self.where(**labels).effects
        if not effects:
            raise KeyError(f"nothing was measured at {labels}; the places are {list(self.effects)}")
        return average(effects.values())

    def rows(self, *index: str, digits: int = 2, sd: bool = False) -> list[dict[str, Any]]:
        """Rows of a record: one for each combination of the parts in ``index``, which may hold ``"seed"``; the other parts
        name the columns. Without the seed a value is the mean over seeds, with ``sd`` followed by their standard deviation.
        """
        orders = {name: _ordered(self.seeds if name == "seed" else self.labels(name)) for name in index}
        # What is the same everywhere needs no place in the name of a column, unless nothing else is there to name it.
        others = [n for n in self.names if n not in index]
        others = [n for n in others if len(self.labels(n)) > 1] or others[-1:]
        cells: dict[tuple[Any, ...], dict[str, list[float]]] = {}
        for place, effect in self.effects.items():
            for seed, value in zip(self.seeds, effect.values):
                parts = dict(zip(self.names, place)) | {"seed": seed}
                column = " ".join(str(parts[name]) for name in others) or "value"
                row = cells.setdefault(tuple(parts[name] for name in index), {})
                row.setdefault(column, []).append(value)
        table = []
        for place in sorted(cells, key=lambda p: [orders[name].index(part) for name, part in zip(index, p)]):
            row_: dict[str, Any] = dict(zip(index, place))
            for column, values in cells[place].items():
                row_[column] = round(_mean(values), digits)
                if sd:
                    row_[f"{column} sd"] = round(Effect(tuple(values)).spread, digits)
            table.append(row_)
        return table


def _ordered(labels: Sequence[Any]) -> list[Any]:
    """Numbers by size, names as they come."""
    return sorted(labels) if all(isinstance(label, int | float) for label in labels) else list(labels)
