"""SIE: rendering against a z-buffer that draws triangle by triangle, and a training step against plain PyTorch loops.

Rendering: the same objects at 48 × 48. The z-buffer (NumPy) draws meshes of some two hundred triangles with one ray a pixel;
ours casts four.
Training: the same encoder, projectors and loss on the same views with AdamW, in turn (A B C A B C …) in one process; ours
with everything a training has (partners drawn, images made numbers, checks of loss and gradients, records, readouts), plain
loops from ready float tensors: one with Σ g_k (A_k z) as ours has it, one that makes W(g) for every pair.
Processor time, one thread: what else runs on the machine does not count.

    python benchmarks/sie.py [--rounds 3] [--steps 30]
"""

import argparse
import copy
import math
import statistics
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from common import begin, environment, save

SIDE, BATCH, SKIPPED, IMAGES = 48, 128, 5, 40


# ---- rendering -----------------------------------------------------------------------------------------------------


def mesh(thing: Any) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3, 3) of an object's parts, and the colour of each."""
    from brickwork.systems.sie.renderer import rotation

    triangles, colours = [], []
    for part in thing.parts:
        sides = {"box": (4, 1), "cylinder": (12, 1), "ellipsoid": (10, 5)}[part.shape]
        angles = 2 * np.pi * (np.arange(sides[0]) + 0.5) / sides[0]
        reach = math.sqrt(2) if part.shape == "box" else 1.0
        if part.shape == "ellipsoid":
            tilts = np.linspace(-np.pi / 2, np.pi / 2, sides[1] + 1)
            rings = [
                np.stack([np.cos(t) * np.cos(angles), np.cos(t) * np.sin(angles), 0 * angles + np.sin(t)], 1)
                for t in tilts
            ]
        else:
            ring = np.stack([reach * np.cos(angles), reach * np.sin(angles), 0 * angles], 1)
            rings = [ring * [1, 1, 0] + [0, 0, height] for height in (-1, 1)]
            rings = [rings[0] * [0, 0, 1], *rings, rings[1] * [0, 0, 1]]
        points = [
            ring * np.array(part.half) @ rotation(np.array([part.turn], float))[0].T + part.centre
            for ring in rings
        ]
        for low, high in pairwise(points):
            for a in range(sides[0]):
                b = (a + 1) % sides[0]
                triangles += [(low[a], low[b], high[b]), (low[a], high[b], high[a])]
        colours += [thing.colours[part.tone]] * (len(triangles) - len(colours))
    return np.array(triangles), np.array(colours)


def z_buffer(triangles: np.ndarray, colours: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """An image, triangle by triangle: places on the image, which pixels are inside, how near."""
    turned = triangles @ turn.T
    eye, half = 2.5, 18 / 50
    forward = np.array([0, -math.sqrt(0.5), -math.sqrt(0.5)])
    right = np.array([-1.0, 0, 0])
    up = np.cross(right, forward)
    from_eye = turned + eye * forward
    depth = from_eye @ forward
    x = (turned @ right / depth / half + 1) * SIDE / 2
    y = (1 - turned @ up / depth / half) * SIDE / 2
    image, nearest = np.full((SIDE, SIDE, 3), 0.3), np.full((SIDE, SIDE), np.inf)
    for number in range(len(turned)):
        xs, ys, zs = x[number], y[number], depth[number]
        left, far = max(0, int(xs.min())), min(SIDE, int(xs.max()) + 2)
        top, low = max(0, int(ys.min())), min(SIDE, int(ys.max()) + 2)
        area = (xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0])
        if left >= far or top >= low or abs(area) < 1e-9:
            continue
        py, px = np.mgrid[top:low, left:far] + 0.5
        w1 = ((px - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (py - ys[0])) / area
        w2 = ((xs[1] - xs[0]) * (py - ys[0]) - (px - xs[0]) * (ys[1] - ys[0])) / area
        z = (1 - w1 - w2) * zs[0] + w1 * zs[1] + w2 * zs[2]
        seen = (w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1) & (z < nearest[top:low, left:far])
        normal = np.cross(turned[number, 1] - turned[number, 0], turned[number, 2] - turned[number, 0])
        shade = 0.4 + 0.6 * abs(normal[2]) / max(np.linalg.norm(normal), 1e-9)
        nearest[top:low, left:far][seen] = z[seen]
        image[top:low, left:far][seen] = shade * colours[number]
    return (255 * image).astype(np.uint8)


def rendering() -> dict[str, Any]:
    from brickwork.systems.sie.objects import KINDS
    from brickwork.systems.sie.renderer import draw_values, make_thing, render, rotation

    rng = np.random.default_rng(0)
    things = [make_thing(kind, rng) for kind in KINDS]
    rows = [thing for thing in things for _ in range(IMAGES)]
    values = draw_values(len(rows), rng)
    render(rows[:32], values[:32], SIDE)
    start = time.process_time()
    render(rows, values, SIDE)
    ours = (time.process_time() - start) / len(rows)
    meshes = {id(thing): mesh(thing) for thing in things}
    turns = rotation(values[:, :3])
    start = time.process_time()
    for row, turn in zip(rows, turns):
        z_buffer(*meshes[id(row)], turn)
    peer = (time.process_time() - start) / len(rows)
    return {
        "what": f"processor milliseconds an image at {SIDE} × {SIDE}; ours casts four rays a pixel, the z-buffer one",
        "brickwork": round(1000 * ours, 2),
        "z-buffer": round(1000 * peer, 2),
        "triangles": round(statistics.mean(len(triangles) for triangles, _ in meshes.values())),
        "faster": round(peer / ours, 1),
    }


# ---- training ------------------------------------------------------------------------------------------------------


def ours(run: Any, data: Any, steps: int) -> float:
    """Processor seconds a step, from the batches being asked for, without the first ones."""
    from brickwork.representation.contract import build_system
    from brickwork.training.loop import fit

    system = build_system("sie", run.model, data, seed=0)
    collate, marks = system.collate, []

    def timed(columns: Any) -> Any:
        marks.append(time.process_time())
        return collate(columns)

    system.collate = timed
    train = replace(
        run.train, steps=steps, batch_size=BATCH, save_every=0, validate_every=0, precision="fp32"
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(system, data.train, train, Path(folder) / "run", seed=0)
    return (marks[steps - 1] - marks[SKIPPED]) / (steps - 1 - SKIPPED)


def plain(run: Any, data: Any, steps: int, *, whole_matrices: bool) -> float:
    """Processor seconds a step of a loop that does nothing but learn; pairs are ready before it."""
    from brickwork.representation.contract import build_system

    system = build_system("sie", run.model, data, seed=0).train()
    encoder, inv, equi = system.encoder, system.project_invariant, copy.deepcopy(system.parted.projector)
    matrices = system.predictor.matrices
    parameters = [*encoder.parameters(), *inv.parameters(), *equi.parameters(), matrices]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-6)
    members = data.train.columns["member"]
    others = system.partners(members, np.random.default_rng(0).random(len(members)))
    first = torch.from_numpy(data.train.columns["input"]).permute(0, 3, 1, 2).float() / 127.5 - 1
    second = torch.from_numpy(np.stack([m.of.images[o] for m, o in zip(members, others)]))
    second = second.permute(0, 3, 1, 2).float() / 127.5 - 1
    g = system.change(members, others)
    start = 0.0
    for step in range(steps):
        if step == SKIPPED:
            start = time.process_time()
        rows = torch.randint(len(first), (BATCH,))
        x, y = (
            encoder.network(views[rows].contiguous(memory_format=torch.channels_last))
            for views in (first, second)
        )
        half = x.shape[1] // 2
        z = [torch.cat([inv(r[:, :half]), equi(r[:, half:])], 1) for r in (x, y)]
        width = z[0].shape[1] // 2
        if whole_matrices:
            w = torch.einsum("bk,kij->bij", g[rows], matrices)
            moved = torch.bmm(w, z[0][:, width:, None])[:, :, 0]
        else:
            moved = torch.einsum(
                "bk,bki->bi", g[rows], torch.einsum("kij,bj->bki", matrices, z[0][:, width:])
            )
        loss = 10 * F.mse_loss(z[0][:, :width], z[1][:, :width]) + 4.5 * F.mse_loss(moved, z[1][:, width:])
        for share, one in ((5, z[0]), (5, z[1]), (5, moved)):
            loss = loss + share * F.relu(1 - (one.var(0) + 1e-4).sqrt()).mean()
        for one in z:
            centred = one - one.mean(0)
            c = centred.T @ centred / (BATCH - 1)
            loss = loss + (c.square().sum() - c.diagonal().square().sum()) / c.shape[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (time.process_time() - start) / (steps - SKIPPED)


def training(rounds: int, steps: int) -> dict[str, Any]:
    from brickwork.systems.sie.recipes import small
    from brickwork.systems.sie.system import load_data

    run = small()
    data = load_data(replace(run.data, objects=10), 0)
    seconds: dict[str, list[float]] = {
        "brickwork": [],
        "plain loop": [],
        "plain loop, W(g) for every pair": [],
    }
    for _ in range(rounds):
        seconds["brickwork"].append(ours(run, data, steps))
        seconds["plain loop"].append(plain(run, data, steps, whole_matrices=False))
        seconds["plain loop, W(g) for every pair"].append(plain(run, data, steps, whole_matrices=True))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "what": f"pairs per processor second of one thread, {BATCH} pairs a batch, rendered objects at {SIDE} × {SIDE}",
        "pairs_per_second": {name: round(BATCH / value) for name, value in median.items()},
        "ours_over": {
            name: round(value / median["brickwork"], 3)
            for name, value in median.items()
            if name != "brickwork"
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    save(
        "sie",
        {"rendering": rendering(), "training": training(arguments.rounds, arguments.steps), **environment()},
    )


if __name__ == "__main__":
    main()
