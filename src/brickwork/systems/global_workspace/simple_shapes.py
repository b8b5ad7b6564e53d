"""Made-up scenes of one turned shape, as image, as attributes and as a caption: three domains that say the same.

After the Simple Shapes of ruflab/shimmer-ssd (Devillers, Maytié, VanRullen, arXiv 2306.15711): a diamond, an egg or a
triangle of some size, place, rotation and colour on black. Scene ``index`` of a ``seed`` is the same
whatever else is drawn, byte for byte.
"""

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from brickwork.data.generators.drawing import smooth_image

SHAPES = ("diamond", "egg", "triangle")
SIDE = 32
SIZES = (7.0, 14.0)
"""Smallest and largest extent of a shape in pixels."""
ATTRIBUTES = (*SHAPES, "x", "y", "size", "cos", "sin", "red", "green", "blue")
_LIGHTNESS = (0.3, 0.85)
_COLOURS = {
    "red": (255, 0, 0),
    "orange": (255, 140, 0),
    "yellow": (255, 255, 0),
    "green": (0, 190, 0),
    "cyan": (0, 255, 255),
    "blue": (0, 0, 255),
    "purple": (150, 0, 210),
    "pink": (255, 150, 200),
    "grey": (150, 150, 150),
}
_DIRECTIONS = ("east", "south", "west", "north")
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
_BIGNESS = ("small", "medium", "large")
WORDS = (*SHAPES, *_COLOURS, *_BIGNESS, *_ROWS, *_COLUMNS, *_DIRECTIONS)
"""Words of the captions that carry meaning, and so the dimensions of :func:`count_words`."""


@dataclass(frozen=True)
class Shape:
    """What is to be seen. ``x``, ``y``, ``size`` in pixels; ``angle`` in radians, clockwise from the right; RGB colour."""

    kind: str
    x: float
    y: float
    size: float
    angle: float
    colour: tuple[int, int, int]


def make_shape(seed: int, index: int) -> Shape:
    """Scene ``index`` of ``seed``: everything evenly drawn, the shape whole within the image."""
    rng = np.random.default_rng([seed, index])
    kind = SHAPES[int(rng.integers(len(SHAPES)))]
    size = float(rng.uniform(*SIZES))
    x, y = rng.uniform(size / 2 + 1, SIDE - size / 2 - 1, size=2)
    red, green, blue = colorsys.hls_to_rgb(rng.random(), rng.uniform(*_LIGHTNESS), rng.random())
    colour = (round(255 * red), round(255 * green), round(255 * blue))
    return Shape(kind, float(x), float(y), size, float(rng.uniform(0, 2 * math.pi)), colour)


def draw_shape(shape: Shape) -> UInt8[np.ndarray, "32 32 3"]:
    """The image; drawn at eight times the size, so that edges are smooth."""
    scale = 8
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    corners = [
        (
            scale * (shape.x + shape.size / 2 * (cos * u - sin * v)),
            scale * (shape.y + shape.size / 2 * (sin * u + cos * v)),
        )
        for u, v in _outline(shape.kind)
    ]
    return smooth_image(SIDE, lambda pen: pen.polygon(corners, fill=shape.colour), scale=scale)


def _outline(kind: str) -> list[tuple[float, float]]:
    """Corners within the unit circle, of a shape that points to the right."""
    if kind == "triangle":
        return [(1.0, 0.0), (-0.75, 0.6), (-0.75, -0.6)]
    if kind == "diamond":  # a kite, so that its direction can be seen
        return [(1.0, 0.0), (-0.3, 0.6), (-0.95, 0.0), (-0.3, -0.6)]
    turns = [2 * math.pi * i / 48 for i in range(48)]
    return [(0.98 * math.cos(t), (0.62 - 0.2 * math.cos(t)) * math.sin(t)) for t in turns]


def attributes(shape: Shape) -> Float[np.ndarray, " 11"]:
    """The shape as :data:`ATTRIBUTES`: one-hot kind; place and size in −1 … 1; the angle's cosine and sine; RGB in 0 … 1."""
    low, high = SIZES
    return np.array(
        [
            *(float(shape.kind == kind) for kind in SHAPES),
            2 * shape.x / SIDE - 1,
            2 * shape.y / SIDE - 1,
            2 * (shape.size - low) / (high - low) - 1,
            math.cos(shape.angle),
            math.sin(shape.angle),
            *(value / 255 for value in shape.colour),
        ],
        np.float32,
    )


def caption(shape: Shape) -> str:
    """What is to be seen, in words: ``a large blue egg at the top left, pointing south``. Coarser than the attributes."""
    low, high = SIZES
    bigness = _BIGNESS[min(2, int(3 * (shape.size - low) / (high - low)))]
    colour = min(_COLOURS, key=lambda name: math.dist(_COLOURS[name], shape.colour))
    row, column = (names[min(2, int(3 * at / SIDE))] for names, at in ((_ROWS, shape.y), (_COLUMNS, shape.x)))
    direction = _DIRECTIONS[round(shape.angle / (math.pi / 2)) % 4]
    return f"a {bigness} {colour} {shape.kind} at the {row} {column}, pointing {direction}"


def count_words(text: str) -> Float[np.ndarray, " words"]:
    """How often each of :data:`WORDS` is in a text."""
    words = text.replace(",", " ").split()
    return np.array([words.count(word) for word in WORDS], np.float32)


def simple_shapes(count: int, seed: int = 0) -> dict[str, Float[np.ndarray, "rows _dim"]]:
    """The first ``count`` scenes as domains: ``image`` (N, 768), ``attr`` (N, 11), ``text`` (N, words).

    ``image`` is in 0 … 1, the mean of each 2 × 2 pixels: enough to see where a shape points, and a quarter of the work.
    """
    shapes = [make_shape(seed, index) for index in range(count)]
    half = SIDE // 2
    images = np.stack([draw_shape(s) for s in shapes]).astype(np.float32) / 255
    return {
        "image": images.reshape(count, half, 2, half, 2, 3).mean((2, 4)).reshape(count, -1),
        "attr": np.stack([attributes(s) for s in shapes]),
        "text": np.stack([count_words(caption(s)) for s in shapes]),
    }
