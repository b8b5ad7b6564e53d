"""Ten kinds of objects made of at most six boxes, ellipsoids and cylinders, each kind with random proportions.

None looks the same after a turn, so that a rotation can be seen. Up is +z; sizes are relative, an object is scaled to the
scene afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Shape = Literal["box", "ellipsoid", "cylinder"]
Scalars = Float[np.ndarray, " scalars"]
Triple = tuple[float | int, float | int, float | int]
SCALARS = 8
"""Numbers from 0 to 1 that make an object of a kind."""
RADIUS = 0.85
"""How far an object reaches from the origin."""


@dataclass(frozen=True)
class Part:
    """``half``: half sizes along its own axes (a cylinder stands along z). ``turn``: Euler angles in degrees about fixed x,
    y, z. ``tone``: which of the object's colours it has."""

    shape: Shape
    half: Triple
    centre: Triple
    turn: Triple = (0.0, 0.0, 0.0)
    tone: int = 0


def _between(low: float | int, high: float | int, u: float | int) -> float:
    return low + (high - low) * float(u)


def _mug(u: Scalars) -> list[Part]:
    r, h = _between(0.35, 0.55, u[0]), _between(0.35, 0.65, u[1])
    grip = _between(0.18, 0.3, u[2])
    return [
        Part("cylinder", (r, r, h), (0, 0, 0)),
        Part("box", (grip / 2, 0.06, 0.06), (r + grip / 2, 0, 0.55 * h), tone=1),
        Part("box", (grip / 2, 0.06, 0.06), (r + grip / 2, 0, -0.35 * h), tone=1),
        Part("box", (0.06, 0.06, 0.5 * h), (r + grip, 0, 0.1 * h), tone=1),
        Part("cylinder", (0.8 * r, 0.8 * r, 0.02), (0, 0, h), tone=2),
    ]


def _chair(u: Scalars) -> list[Part]:
    w, back, leg = _between(0.35, 0.5, u[0]), _between(0.4, 0.7, u[1]), _between(0.3, 0.5, u[2])
    seat = Part("box", (w, w, 0.06), (0, 0, 0))
    rest = Part("box", (w, 0.05, back / 2), (0, w, back / 2), tone=1)
    legs = [Part("box", (0.05, w, leg / 2), (side * (w - 0.05), 0, -leg / 2), tone=2) for side in (-1.0, 1.0)]
    arm = Part("box", (0.05, 0.7 * w, 0.05), (w, 0.1, _between(0.15, 0.3, u[3])), tone=1)
    return [seat, rest, *legs, arm]


def _table(u: Scalars) -> list[Part]:
    w, d, h = _between(0.5, 0.8, u[0]), _between(0.3, 0.5, u[1]), _between(0.3, 0.5, u[2])
    drawer = _between(0.15, 0.3, u[3])
    return [
        Part("box", (w, d, 0.05), (0, 0, h)),
        Part("box", (0.06, d, h / 2), (-w + 0.08, 0, h / 2), tone=1),
        Part("box", (0.06, d, h / 2), (w - 0.08, 0, h / 2), tone=1),
        Part("box", (drawer, 0.8 * d, 0.12), (w - drawer - 0.15, -0.15, h - 0.18), tone=2),
        Part("ellipsoid", (0.06, 0.06, 0.06), (w - drawer - 0.15, -0.85 * d - 0.15, h - 0.18), tone=1),
    ]


def _lamp(u: Scalars) -> list[Part]:
    h, r, tilt = _between(0.5, 0.9, u[0]), _between(0.2, 0.35, u[1]), _between(25, 60, u[2])
    return [
        Part("cylinder", (r, r, 0.05), (0, 0, 0)),
        Part("cylinder", (0.05, 0.05, h / 2), (0, 0, h / 2), tone=1),
        Part("cylinder", (0.04, 0.04, 0.25), (0.15, 0, h + 0.05), (0, 60, 0), tone=1),
        Part("cylinder", (0.8 * r, 0.8 * r, 0.14), (0.38, 0.05, h + 0.1), (tilt / 2, tilt, 0), tone=2),
        Part("ellipsoid", (0.09, 0.09, 0.09), (0.44, 0.1, h), tone=0),
    ]


def _airplane(u: Scalars) -> list[Part]:
    length, span = _between(0.6, 0.9, u[0]), _between(0.55, 0.9, u[1])
    sweep, tail = _between(5, 25, u[2]), _between(0.2, 0.35, u[3])
    return [
        Part("ellipsoid", (length, 0.13, 0.13), (0, 0, 0)),
        Part("box", (0.14, span / 2, 0.03), (-0.05, span / 2, 0), (0, 0, sweep), tone=1),
        Part("box", (0.14, span / 2, 0.03), (-0.05, -span / 2, 0), (0, 0, -sweep), tone=1),
        Part("box", (0.09, tail, 0.025), (-0.85 * length, 0, 0.04), tone=1),
        Part("box", (0.1, 0.025, tail / 2), (-0.85 * length, 0, tail / 2 + 0.05), tone=2),
    ]


def _car(u: Scalars) -> list[Part]:
    length, w, cabin = _between(0.6, 0.8, u[0]), _between(0.28, 0.38, u[1]), _between(0.25, 0.4, u[2])
    back, wheel = _between(-0.3, -0.1, u[3]), _between(0.12, 0.17, u[4])
    return [
        Part("box", (length, w, 0.13), (0, 0, 0)),
        Part("box", (cabin, 0.9 * w, 0.13), (back, 0, 0.25), tone=1),
        Part("cylinder", (wheel, wheel, w + 0.04), (0.55 * length, 0, -0.13), (90, 0, 0), tone=2),
        Part("cylinder", (wheel, wheel, w + 0.04), (-0.55 * length, 0, -0.13), (90, 0, 0), tone=2),
        Part("box", (0.03, 0.7 * w, 0.05), (length, 0, 0.02), tone=1),
    ]


def _bracket(u: Scalars) -> list[Part]:
    a, b = _between(0.5, 0.8, u[0]), _between(0.25, 0.45, u[1])
    t, w = _between(0.08, 0.14, u[2]), _between(0.15, 0.3, u[3])
    return [
        Part("box", (a, w, t), (a, 0, 0)),
        Part("box", (t, w, b), (0, 0, b), tone=1),
        Part("cylinder", (0.4 * w, 0.4 * w, t + 0.06), (1.6 * a, 0.2 * w, 0), tone=2),
    ]


def _hammer(u: Scalars) -> list[Part]:
    length, head, r = _between(0.6, 0.9, u[0]), _between(0.25, 0.4, u[1]), _between(0.1, 0.16, u[2])
    return [
        Part("cylinder", (0.06, 0.06, length), (0, 0, 0)),
        Part("cylinder", (r, r, head / 2), (head / 2, 0, length), (0, 90, 0), tone=1),
        Part(
            "box",
            (head / 2, 0.8 * r, 0.04),
            (-head / 2, 0, length + 0.02),
            (0, _between(10, 30, u[3]), 0),
            tone=1,
        ),
        Part("cylinder", (0.08, 0.08, 0.3 * length), (0, 0, -0.7 * length), tone=2),
    ]


def _camera(u: Scalars) -> list[Part]:
    w, h, lens = _between(0.45, 0.6, u[0]), _between(0.28, 0.4, u[1]), _between(0.2, 0.4, u[2])
    r, side = _between(0.15, 0.24, u[3]), _between(-0.15, 0.15, u[4])
    return [
        Part("box", (w, 0.18, h), (0, 0, 0)),
        Part("cylinder", (r, r, lens / 2), (side, -0.18 - lens / 2, 0), (90, 0, 0), tone=1),
        Part("box", (0.14, 0.12, 0.07), (0.1, 0, h + 0.07), tone=1),
        Part("cylinder", (0.06, 0.06, 0.04), (-0.7 * w, 0, h + 0.03), tone=2),
        Part("box", (0.08, 0.05, 0.9 * h), (w + 0.02, -0.15, 0), tone=2),
    ]


def _guitar(u: Scalars) -> list[Part]:
    lower, upper = _between(0.38, 0.5, u[0]), _between(0.26, 0.36, u[1])
    neck, depth = _between(0.5, 0.7, u[2]), _between(0.08, 0.14, u[3])
    return [
        Part("cylinder", (lower, lower, depth), (-0.45, 0, 0)),
        Part("cylinder", (upper, upper, depth), (0.05, 0.03, 0)),
        Part("box", (neck, 0.06, 0.04), (0.2 + neck, 0, depth), tone=1),
        Part("box", (0.12, 0.1, 0.03), (0.3 + 2 * neck, 0.04, depth + 0.03), tone=2),
        Part("cylinder", (0.12, 0.12, 0.02), (0, 0, depth), tone=2),
    ]


KINDS: dict[str, Callable[[Scalars], list[Part]]] = {
    "mug": _mug, "chair": _chair, "table": _table, "lamp": _lamp, "airplane": _airplane, "car": _car,
    "bracket": _bracket, "hammer": _hammer, "camera": _camera, "guitar": _guitar,
}  # fmt: skip
"""Kind → its parts from eight numbers between 0 and 1; the number of parts and their shapes are those of the kind."""
