"""Made-up images with texts: one coloured shape somewhere on a ground, and what somebody might write below it.

Drawn with Pillow; the same seed draws the same scenes on every machine. The texts come from a small grammar with synonyms
and dropped words, and can be spoilt as texts of the web are: pairs that do not belong together, boilerplate, rare
tokens, texts of the wrong length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from brickwork.data.generators.drawing import smooth_image

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "star", "bar")
COLOURS = {
    "red": (214, 48, 49),
    "green": (39, 160, 73),
    "blue": (33, 97, 214),
    "yellow": (240, 201, 41),
    "purple": (130, 62, 190),
    "orange": (238, 128, 31),
    "black": (24, 24, 28),
    "white": (248, 248, 248),
}
PLACES = ("top left", "top right", "bottom left", "bottom right", "middle")
SIZES = ("small", "large")
GROUNDS = {"grey": (148, 148, 152), "sand": (214, 190, 150), "mint": (168, 214, 190), "sky": (165, 205, 240)}
_SYNONYMS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
    "middle": ("middle", "centre"),
    "purple": ("purple", "violet"),
}
_BOILERPLATE = (
    "image 1920x1080",
    "click here to see more",
    "photo of the day",
    "alt img",
    "stock picture free download",
)
_FILLING = frozenset(("a", "picture", "of", "there", "is", "at", "the", "on", "ground"))
"""Words that say nothing about a scene; a rare text keeps them and loses the others."""
SIDE = 32


@dataclass(frozen=True)
class Scene:
    """What is to be seen."""

    shape: str
    colour: str
    size: str
    place: str
    ground: str


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Shares of the pairs that are spoilt, each in one way: texts of another image (``mismatched``), boilerplate that many
    images share, a ``rare`` token put in, and texts that are too short or too long (``length``)."""

    mismatched: float = 0.0
    boilerplate: float = 0.0
    rare: float = 0.0
    length: float = 0.0

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = [f"{n}={share} must not be negative" for n, share in vars(self).items() if share < 0]
        if sum(vars(self).values()) > 1:
            problems.append("the shares of noise must add up to at most 1")
        return problems


def make_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes drawn evenly, a ground never of the shape's own colour."""
    rng = np.random.default_rng([seed, 1])

    def choose(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    return [
        Scene(choose(SHAPES), choose(list(COLOURS)), choose(SIZES), choose(PLACES), choose(list(GROUNDS)))
        for _ in range(count)
    ]


def draw(scene: Scene, jitter: tuple[int, int] = (0, 0)) -> UInt8[np.ndarray, "32 32 3"]:
    """The image of a scene, moved by ``jitter`` pixels; drawn at four times the size, so that edges are smooth."""
    scale = 4
    x, y = {"middle": (16, 16)}.get(scene.place) or (
        10 if "left" in scene.place else 22,
        10 if "top" in scene.place else 22,
    )
    x, y = (x + jitter[0]) * scale, (y + jitter[1]) * scale
    r = (9 if scene.size == "large" else 5) * scale
    colour = COLOURS[scene.colour]

    def paint(pen: "ImageDraw") -> None:
        box = (x - r, y - r, x + r, y + r)
        if scene.shape == "circle":
            pen.ellipse(box, fill=colour)
        elif scene.shape == "ring":
            pen.ellipse(box, outline=colour, width=max(3, r // 3))
        elif scene.shape == "square":
            pen.rectangle((x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), fill=colour)
        elif scene.shape == "bar":
            pen.rectangle((x - r, y - r // 3, x + r, y + r // 3), fill=colour)
        elif scene.shape == "cross":
            pen.rectangle((x - r, y - r // 4, x + r, y + r // 4), fill=colour)
            pen.rectangle((x - r // 4, y - r, x + r // 4, y + r), fill=colour)
        else:
            pen.polygon([(x + dx * r, y + dy * r) for dx, dy in _corners(scene.shape)], fill=colour)

    return smooth_image(SIDE, paint, scale=scale, ground=GROUNDS[scene.ground])


def _corners(shape: str) -> list[tuple[float, float]]:
    if shape == "triangle":
        return [(0.0, -1.0), (0.95, 0.8), (-0.95, 0.8)]
    if shape == "diamond":
        return [(0.0, -1.0), (0.8, 0.0), (0.0, 1.0), (-0.8, 0.0)]
    turns = np.arange(10) * np.pi / 5 - np.pi / 2  # star
    radii = np.where(np.arange(10) % 2, 0.42, 1.0)
    return [(float(r * np.cos(t)), float(r * np.sin(t))) for r, t in zip(radii, turns)]


def describe(scene: Scene, rng: np.random.Generator, missing: float = 0.2) -> str:
    """A text about a scene: synonyms by chance; each attribute but the shape is left out with probability ``missing``."""

    def say(word: str) -> str:
        options = _SYNONYMS.get(word, (word,))
        return options[int(rng.integers(len(options)))]

    def kept() -> bool:
        return rng.random() >= missing

    what = [
        *([say(scene.size)] if kept() else []),
        *([say(scene.colour)] if kept() else []),
        say(scene.shape),
    ]
    where = f"at the {scene.place.replace('middle', say('middle'))}" if kept() else ""
    ground = f"on {scene.ground} ground" if kept() else ""
    start = ("a", "picture of a", "there is a")[int(rng.integers(3))]
    parts = [start, *what, where, ground] if rng.random() < 0.7 else [start, *what, ground, where]
    return " ".join(part for part in parts if part)


def scene_pairs(
    count: int, seed: int, noise: Noise | None = None, missing: float = 0.2
) -> tuple[UInt8[np.ndarray, "n 32 32 3"], list[str], list[Scene], list[str]]:
    """Images, texts, what was drawn, and for each pair ``good`` or the way in which it is spoilt."""
    noise = noise or Noise()
    scenes = make_scenes(count, seed)
    rng = np.random.default_rng([seed, 2])
    jitter = rng.integers(-2, 3, size=(count, 2))
    images = np.stack([draw(scene, (int(dx), int(dy))) for scene, (dx, dy) in zip(scenes, jitter)])
    texts = [describe(scene, rng, missing) for scene in scenes]
    kinds = rng.permutation(
        [
            name
            for name in ("mismatched", "boilerplate", "rare", "length")
            for _ in range(round(getattr(noise, name) * count))
        ][:count]
    ).tolist()
    spoilt = rng.permutation(count)[: len(kinds)]
    fate = ["good"] * count
    for row, kind in zip(spoilt.tolist(), kinds):
        fate[row] = kind
    others = [row for row in range(count) if fate[row] == "mismatched"]
    for row, other in zip(others, np.roll(others, 1)):
        texts[row] = describe(scenes[int(other)], rng, missing)
    for row, kind in enumerate(fate):
        if kind == "boilerplate":
            texts[row] = _BOILERPLATE[int(rng.integers(len(_BOILERPLATE)))]
        elif kind == "rare":
            texts[row] = " ".join(
                word if word in _FILLING else f"img{int(rng.integers(10**9)):09d}"
                for word in texts[row].split()
            )
        elif kind == "length":
            texts[row] = texts[row].split()[-1] if rng.random() < 0.5 else " ".join([texts[row]] * 4)
    return images, texts, scenes, fate
