"""Known changes between two views as numbers g, of which the predictor's matrix is a linear function.

Every change is a point on a circle or sphere, so that "nothing changed" is a vector as long as any other (a zero would make
the matrix zero) and no coordinate is constant (a constant one could carry a matrix that ignores the change):

| kind     | columns       | g                                                                         |
|----------|---------------|---------------------------------------------------------------------------|
| circle   | one           | (cos Δ, sin Δ), Δ the difference in turns of its ``size``, as 360 degrees   |
| line     | one           | the same on a half circle: a difference of ± ``size`` is a quarter turn    |
| rotation | three, degrees| quaternion (x, y, z, w) of R₁⁻¹R₂, of Euler angles about fixed x, y, z,     |
|          |               | each taken between −180 and 180 (its quaternion has a sign, 270 is −90)     |

Shape legend: B pairs of views, M columns of values, K numbers of g.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError

Kind = Literal["circle", "line", "rotation"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What may differ between two views. ``columns``: where its values stand. ``size``: of a circle, the values of a whole
    turn; of a line, the largest difference; of a rotation, 360."""

    name: str
    columns: tuple[str, ...]
    kind: Kind
    size: float = 360.0

    @property
    def width(self) -> int:
        """How many numbers of g it has."""
        return 4 if self.kind == "rotation" else 2

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Change":
        """From plain values, as JSON has them."""
        return cls(**{**values, "columns": tuple(values["columns"])})

    def describe(self) -> str:
        """In words, for notes and errors."""
        if self.kind == "rotation":
            return f"{self.name} (a rotation: {', '.join(self.columns)} in degrees)"
        what = (
            f"on a circle of {self.size:g}" if self.kind == "circle" else f"differences up to {self.size:g}"
        )
        return f"{self.name} ({what})"


def columns_of(changes: Sequence[Change]) -> list[str]:
    """The names of all columns, in their order."""
    return [column for change in changes for column in change.columns]


def width(changes: Sequence[Change]) -> int:
    """K, the numbers of g."""
    return sum(change.width for change in changes)


def places(changes: Sequence[Change]) -> dict[str, slice]:
    """Where in g each change stands."""
    ends = np.cumsum([change.width for change in changes]).tolist()
    return {change.name: slice(end - change.width, end) for change, end in zip(changes, ends)}


def between(
    changes: Sequence[Change],
    first: Float[np.ndarray, "pairs columns"],
    second: Float[np.ndarray, "pairs columns"],
) -> Float[np.ndarray, "pairs k"]:
    """g of each pair of views, from the values of both."""
    parts, start = [], 0
    for change in changes:
        own = slice(start, start := start + len(change.columns))
        if change.kind == "rotation":
            inverse = _quaternion(first[:, own]) * np.array([-1.0, -1.0, -1.0, 1.0])
            parts.append(_product(inverse, _quaternion(second[:, own])))
        else:
            parts.append(_on_circle(change, (second[:, own] - first[:, own])[:, 0]))
    return np.concatenate(parts, axis=1)


def of(changes: Sequence[Change], differences: Mapping[str, float | int]) -> Float[np.ndarray, " k"]:
    """g of differences by column, in the columns' own units; what is not named stays as it is.

    Raises:
        ConfigError: a name that is none, a number that is not finite, or one beyond the largest difference of a line.
    """
    known = columns_of(changes)
    largest = {change.name: change.size for change in changes if change.kind == "line"}
    for name, value in differences.items():
        if name not in known:
            raise ConfigError(f"this model knows no change '{name}': {nearest(name, known)}")
        if not math.isfinite(value):
            raise ConfigError(f"{name}={value}: a change must be a finite number")
        if abs(value) > largest.get(name, math.inf) * (1 + 1e-6):
            raise ConfigError(
                f"{name}={value:g}: the model has learnt differences of up to {largest[name]:g} either way; ask for less"
            )
    zero = np.zeros((1, len(known)))
    return between(changes, zero, np.array([[float(differences.get(name, 0.0)) for name in known]]))[0]


def parse(text: str) -> dict[str, float]:
    """``angle=30, hue=-20`` as a mapping.

    Raises:
        ConfigError: not of this form.
    """
    differences = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ConfigError(
                f"{part.strip()!r} is no change; write a column and by how much: angle=30, or angle=30,hue=-20"
            )
        if name.strip() in differences:
            raise ConfigError(f"{name.strip()} is given twice in '{text}'; say once by how much")
        differences[name.strip()] = number
    return differences


def readable(
    changes: Sequence[Change], g: Float[np.ndarray, "pairs k"]
) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Differences by column from g, which need not lie on its circle or sphere."""
    columns: dict[str, np.ndarray] = {}
    for change, place in zip(changes, places(changes).values()):
        own = g[:, place]
        if change.kind == "rotation":
            columns |= dict(zip(change.columns, _euler(own).T))
        else:
            turn = np.arctan2(own[:, 1], own[:, 0]) / (2 * math.pi)
            columns[change.name] = turn * change.size * (1 if change.kind == "circle" else 4)
    return columns


def _on_circle(change: Change, difference: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, "pairs 2"]:
    turns = (
        difference / change.size if change.kind == "circle" else np.clip(difference / change.size, -1, 1) / 4
    )
    return np.stack([np.cos(2 * math.pi * turns), np.sin(2 * math.pi * turns)], axis=1)


def _quaternion(degrees: Float[np.ndarray, "pairs 3"]) -> Float[np.ndarray, "pairs 4"]:
    """Of Euler angles about fixed axes, x first: q = q_z q_y q_x. A whole turn more would be −q: 350 is taken as −10."""
    half = np.deg2rad(degrees - 360 * np.round(degrees / 360)) / 2
    result = None
    for axis in range(3):
        one = np.zeros((len(degrees), 4))
        one[:, axis], one[:, 3] = np.sin(half[:, axis]), np.cos(half[:, axis])
        result = one if result is None else _product(one, result)
    assert result is not None
    return result


def _product(
    p: Float[np.ndarray, "pairs 4"], q: Float[np.ndarray, "pairs 4"]
) -> Float[np.ndarray, "pairs 4"]:
    """Hamilton's product of (x, y, z, w); signs are kept as they come, the predictor is odd in them."""
    vector = p[:, 3:] * q[:, :3] + q[:, 3:] * p[:, :3] + np.cross(p[:, :3], q[:, :3])
    scalar = p[:, 3:] * q[:, 3:] - (p[:, :3] * q[:, :3]).sum(1, keepdims=True)
    return np.concatenate([vector, scalar], axis=1)


def _euler(q: Float[np.ndarray, "pairs 4"]) -> Float[np.ndarray, "pairs 3"]:
    """Euler angles about fixed x, y, z in degrees, of quaternions of any length."""
    x, y, z, w = (q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)).T
    about_x = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    about_y = np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))
    about_z = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.rad2deg(np.stack([about_x, about_y, about_z], axis=1))
