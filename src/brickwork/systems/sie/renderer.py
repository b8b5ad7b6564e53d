"""Images of turned objects with exactly known rotation and light, by casting rays at boxes, ellipsoids and cylinders.

The scene is that of 3DIEBench (Garrido et al. 2023, section 3; its rendering code for the numbers): a camera at distance
2.5, 45° above the horizon, with a field of 39.6°, looks at the object at the origin; a floor at z = −1 of a hue of its own;
light from everywhere (its sun is all but without shadows), and a spot of another hue, 4 away, within 45° of the zenith,
whose cone of π/8 ends softly. What is left out: shadows, bounced light, textures.

All rays of many images are computed at once. Nothing depends on what else is in the batch: the same object and values give
the same bytes.
Shape legend: B images, S side, P = (2S)² rays, of which four make a pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from brickwork.systems.sie.objects import KINDS, RADIUS, SCALARS, Part

VALUES = ("rx", "ry", "rz", "floor_hue", "theta", "phi", "light_hue")
"""What differs between the images of an object: Euler angles about fixed x, y, z, and the spot's place, in degrees; hues
from 0 to 1."""
_FINER = 2  # rays along each side of a pixel
_CHUNK = 16  # images at a time: their rays stay in the cache
_DISTANCE, _FIELD, _SPOT = 2.5, 2 * math.atan(18 / 50), 4.0
_FLOOR = -1.0
_CONE, _SOFT = math.pi / 16, 0.15  # half of the angle, and the share of it at the edge over which it ends
_AMBIENT, _STRENGTH = 0.55, 0.75
_FAR = 1e6

Vector = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Thing:
    """An object: its kind, its parts in the scene's size, and the colours of its parts."""

    kind: str
    parts: tuple[Part, ...]
    colours: Float[np.ndarray, "tones 3"]


def make_thing(kind: str, rng: np.random.Generator) -> Thing:
    """An object with proportions and colours by chance, its bounding box centred, as large as the scene has room for."""
    parts = KINDS[kind](rng.random(SCALARS))
    hue = rng.random()
    hues = (hue + np.array([0.0, 0.12, 0.5]) * (0.5 + rng.random(3))) % 1.0
    colours = np.stack(
        [hsv(h, s, v) for h, s, v in zip(hues, 0.15 + 0.5 * rng.random(3), 0.5 + 0.45 * rng.random(3))]
    )
    corners = np.concatenate([_corners(part) for part in parts])
    centre = (corners.min(0) + corners.max(0)) / 2
    scale = RADIUS / np.linalg.norm(corners - centre, axis=1).max()
    placed = (
        Part(
            part.shape,
            _three(np.array(part.half) * scale),
            _three((np.array(part.centre) - centre) * scale),
            part.turn,
            part.tone,
        )
        for part in parts
    )
    return Thing(kind, tuple(placed), colours)


def draw_values(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 7"]:
    """Values as 3DIEBench draws them, columns :data:`VALUES`."""
    u = rng.random((count, len(VALUES)))
    low = np.array([-90.0, -90.0, -90.0, 0.0, 0.0, 0.0, 0.0])
    high = np.array([90.0, 90.0, 90.0, 1.0, 45.0, 360.0, 1.0])
    values: np.ndarray = low + (high - low) * u
    return values


def render(
    things: Sequence[Thing], values: Float[np.ndarray, "images 7"], side: int
) -> UInt8[np.ndarray, "images side side 3"]:
    """An image of each object with its values; objects of one kind are computed together, whatever their order."""
    turns = rotation(values[:, :3])
    return render_turned(things, turns, values[:, 3:], side)


def render_turned(
    things: Sequence[Thing],
    turns: Float[np.ndarray, "images 3 3"],
    lights: Float[np.ndarray, "images 4"],
    side: int,
) -> UInt8[np.ndarray, "images side side 3"]:
    """As :func:`render`, with rotations as matrices. ``lights``: the last four of :data:`VALUES`."""
    images = np.empty((len(things), side, side, 3), dtype=np.uint8)
    rays = _rays(side * _FINER)
    kinds = np.array([thing.kind for thing in things])
    for kind in dict.fromkeys(kinds.tolist()):
        rows = np.flatnonzero(kinds == kind)
        for start in range(0, len(rows), _CHUNK):
            chosen = rows[start : start + _CHUNK]
            group = [things[row] for row in chosen]
            images[chosen] = _group(group, turns[chosen], lights[chosen], rays, side)
    return images


def rotation(degrees: Float[np.ndarray, "images 3"]) -> Float[np.ndarray, "images 3 3"]:
    """R = R_z R_y R_x of Euler angles about fixed x, y, z."""
    x, y, z = np.moveaxis(np.deg2rad(degrees), -1, 0)
    sin, cos = (np.sin(x), np.sin(y), np.sin(z)), (np.cos(x), np.cos(y), np.cos(z))
    rows = [
        [
            cos[2] * cos[1],
            cos[2] * sin[1] * sin[0] - sin[2] * cos[0],
            cos[2] * sin[1] * cos[0] + sin[2] * sin[0],
        ],
        [
            sin[2] * cos[1],
            sin[2] * sin[1] * sin[0] + cos[2] * cos[0],
            sin[2] * sin[1] * cos[0] - cos[2] * sin[0],
        ],
        [-sin[1], cos[1] * sin[0], cos[1] * cos[0]],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def hsv(hue: float, saturation: float, value: float) -> Float[np.ndarray, " 3"]:
    """A colour from 0 to 1 a channel."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue) % 6
    colour: np.ndarray = value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return colour


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _corners(part: Part) -> Float[np.ndarray, "8 3"]:
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    turn = rotation(np.array([part.turn], dtype=np.float64))[0]
    return signs * np.array(part.half) @ turn.T + np.array(part.centre)


# ---- rays ----------------------------------------------------------------------------------------------------------


def _rays(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The camera's place, and the direction of the ray through each point of a grid, row by row from the top, (P, 3)."""
    eye = _DISTANCE * np.array([0.0, math.sqrt(0.5), math.sqrt(0.5)])
    ahead = -eye / np.linalg.norm(eye)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, ahead)
    steps = (2 * np.arange(side) + 1) / side - 1
    y, x = np.meshgrid(-steps, steps, indexing="ij")
    spread = math.tan(_FIELD / 2)
    rays = ahead + spread * (x.reshape(-1, 1) * right + y.reshape(-1, 1) * up)
    return eye, rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _group(
    things: list[Thing], turns: np.ndarray, lights: np.ndarray, rays: tuple[np.ndarray, np.ndarray], side: int
) -> UInt8[np.ndarray, "images side side 3"]:
    """Images of objects of one kind, whose parts have the same shapes."""
    eye = rays[0]
    x, y, z = (part.T for part in _columns(rays[1]))
    d = x, y, z
    count, points = len(things), d[0].shape[1]
    # The nearest surface on each ray so far: how far, its normal in the scene, its colour. At first the floor.
    t = torch.where(d[2] < 0, (_FLOOR - float(eye[2])) / d[2].clamp(max=-1e-6), torch.tensor(_FAR)).expand(
        count, points
    )
    n = (torch.zeros(1), torch.zeros(1), torch.ones(1))
    normal = [part.expand(count, points) for part in n]
    floors = np.stack([hsv(hue, 0.6, 0.6) for hue in lights[:, 0]]).astype(np.float32)
    colour = [torch.from_numpy(floors[:, channel, None]).expand(count, points) for channel in range(3)]
    for place, part in enumerate(things[0].parts):
        own = [thing.parts[place] for thing in things]
        # Scene → object → part: p' = A p + b with one matrix for each image, in float64 and then once to float32.
        inner = rotation(np.array([one.turn for one in own], dtype=np.float64))
        matrix = np.swapaxes(turns @ inner, 1, 2)
        centre = (turns @ np.array([one.centre for one in own])[:, :, None])[:, :, 0]
        origin = ((eye - centre)[:, None] @ np.swapaxes(matrix, 1, 2))[:, 0]
        half = np.array([one.half for one in own])
        a = torch.from_numpy(matrix.astype(np.float32))
        direction = _turned(a, d)
        o, h = _columns(origin), _columns(half)
        near, local = _HITS[part.shape](o, direction, h)
        hit = near < t
        t = torch.where(hit, near, t)
        for axis in range(3):
            turned = (
                a[:, 0, axis, None] * local[0]
                + a[:, 1, axis, None] * local[1]
                + a[:, 2, axis, None] * local[2]
            )
            normal[axis] = torch.where(hit, turned, normal[axis])
        tones = np.stack([thing.colours[one.tone] for thing, one in zip(things, own)]).astype(np.float32)
        for channel in range(3):
            colour[channel] = torch.where(hit, torch.from_numpy(tones[:, channel, None]), colour[channel])
    shaded = _shaded(t, d, eye, normal, colour, lights)
    small = shaded.reshape(count, side, _FINER, side, _FINER, 3)
    pixels = small[:, :, 0, :, 0] + small[:, :, 0, :, 1] + small[:, :, 1, :, 0] + small[:, :, 1, :, 1]
    return (pixels * (255 / _FINER**2) + 0.5).clamp(0, 255).to(torch.uint8).numpy()


def _shaded(
    t: Tensor,
    d: tuple[Tensor, ...],
    eye: np.ndarray,
    normal: list[Tensor],
    colour: list[Tensor],
    lights: np.ndarray,
) -> Float[Tensor, "images points 3"]:
    """Lambert's law for the spot, and light from everywhere, a little more of it from above."""
    theta, phi = np.deg2rad(lights[:, 1]), np.deg2rad(lights[:, 2])
    spot = _SPOT * np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    tint = np.stack([hsv(hue, 1.0, 0.8) for hue in lights[:, 3]])
    to = [
        torch.from_numpy((spot[:, axis] - eye[axis]).astype(np.float32))[:, None] - t * d[axis]
        for axis in range(3)
    ]
    length = (to[0] * to[0] + to[1] * to[1] + to[2] * to[2]).sqrt()
    axis = torch.from_numpy((spot / _SPOT).astype(np.float32))
    aligned = (to[0] * axis[:, 0, None] + to[1] * axis[:, 1, None] + to[2] * axis[:, 2, None]) / length
    inner, outer = math.cos(_CONE * (1 - _SOFT)), math.cos(_CONE)
    edge = ((aligned - outer) / (inner - outer)).clamp(0, 1)
    lambert = (to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2]).clamp(min=0) / length
    # In units of a spot that the origin gets from straight ahead.
    direct = lambert * edge * edge * (3 - 2 * edge) * (_SPOT / length) * (_SPOT / length) * _STRENGTH
    ambient = _AMBIENT * (0.75 + 0.25 * normal[2])
    channels = [
        colour[c] * (ambient + direct * torch.from_numpy(tint[:, c, None].astype(np.float32)))
        for c in range(3)
    ]
    seen = t < _FAR
    return torch.stack([torch.where(seen, channel, 0.0).clamp(0, 1) for channel in channels], dim=-1)


# ---- shapes: how far along each ray, and the normal there; the ray starts outside ------------------------------------


def _slab(o: Tensor, d: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where a ray is between two planes at ± half."""
    safe = torch.where(d.abs() < 1e-9, torch.tensor(1e-9), d)
    a, b = (-half - o) / safe, (half - o) / safe
    return torch.minimum(a, b), torch.maximum(a, b)


def _box(o: Vector, d: Vector, half: Vector) -> tuple[Tensor, Vector]:
    (x0, x1), (y0, y1), (z0, z1) = (_slab(o[axis], d[axis], half[axis]) for axis in range(3))
    near, far = torch.maximum(torch.maximum(x0, y0), z0), torch.minimum(torch.minimum(x1, y1), z1)
    hit = (near < far) & (near > 0)
    on = (x0 == near, (y0 == near) & (x0 != near), (z0 == near) & (x0 != near) & (y0 != near))
    nx, ny, nz = (torch.where(face, -torch.sign(part), 0.0) for face, part in zip(on, d))
    return torch.where(hit, near, _FAR), (nx, ny, nz)


def _ellipsoid(o: Vector, d: Vector, half: Vector) -> tuple[Tensor, Vector]:
    o, d = _divided(o, half), _divided(d, half)  # to a sphere of radius 1; lengths along the ray stay
    a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
    root = b * b - a * c
    near = (-b - root.clamp(min=0).sqrt()) / a
    hit = (root > 0) & (near > 0)
    x, y, z = ((o[axis] + near * d[axis]) / half[axis] for axis in range(3))
    length = (x * x + y * y + z * z).sqrt()
    return torch.where(hit, near, _FAR), (x / length, y / length, z / length)


def _cylinder(o: Vector, d: Vector, half: Vector) -> tuple[Tensor, Vector]:
    """Round (the first half size), along z, closed."""
    a = (d[0] * d[0] + d[1] * d[1]).clamp(min=1e-12)
    b, c = o[0] * d[0] + o[1] * d[1], o[0] * o[0] + o[1] * o[1] - half[0] * half[0]
    root = b * b - a * c
    spread = root.clamp(min=0).sqrt()
    side, beyond = (-b - spread) / a, (-b + spread) / a
    z0, z1 = _slab(o[2], d[2], half[2])
    near, far = torch.maximum(side, z0), torch.minimum(beyond, z1)
    hit = (root > 0) & (near < far) & (near > 0)
    on_side = side >= z0
    nx, ny = (torch.where(on_side, (o[axis] + near * d[axis]) / half[0], 0.0) for axis in range(2))
    return torch.where(hit, near, _FAR), (nx, ny, torch.where(on_side, 0.0, -torch.sign(d[2])))


_HITS = {"box": _box, "ellipsoid": _ellipsoid, "cylinder": _cylinder}


def _turned(a: Tensor, d: Vector) -> Vector:
    """A (B, 3, 3) times the directions that all images share."""
    x, y, z = (
        a[:, row, 0, None] * d[0] + a[:, row, 1, None] * d[1] + a[:, row, 2, None] * d[2] for row in range(3)
    )
    return x, y, z


def _columns(values: np.ndarray) -> Vector:
    """(B, 3) as three of (B, 1)."""
    x, y, z = (torch.from_numpy(values[:, axis, None].astype(np.float32)) for axis in range(3))
    return x, y, z


def _divided(v: Vector, by: Vector) -> Vector:
    return v[0] / by[0], v[1] / by[1], v[2] / by[2]


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
