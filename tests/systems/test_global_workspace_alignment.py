"""The alignment losses against shimmer's own code (run once on these weights, numbers stored) and in closed form.

shimmer: github.com/ruflab/shimmer at d729e5e, ``shimmer/modules/losses.py``, with squared errors, tanh and equal shares.
"""

import pytest
import torch
from torch import nn

from brickwork.systems.global_workspace.modules import DomainWorkspace
from brickwork.systems.global_workspace.objective import (
    broadcast,
    contrastive,
    cycle,
    demi_cycle,
    mean_of,
    squared_error,
    translation,
)

DIMS = {"v": 5, "t": 3}
WIDTH, ROWS = 4, 6
LOSSES = {"demi_cycle": demi_cycle, "cycle": cycle, "translation": translation, "broadcast": broadcast}


def grid(rows, cols, phase):
    return torch.sin(torch.arange(rows * cols, dtype=torch.float64).reshape(rows, cols) * 0.7 + phase)


def linear(rows, cols, phase):
    layer = nn.Linear(cols, rows, bias=False, dtype=torch.float64)
    layer.weight.data = grid(rows, cols, phase)
    return layer


@pytest.fixture
def space():
    encoders = {d: linear(WIDTH, n, i) for i, (d, n) in enumerate(DIMS.items())}
    decoders = {d: linear(n, WIDTH, 10 + i) for i, (d, n) in enumerate(DIMS.items())}
    return DomainWorkspace(encoders, decoders)


@pytest.fixture
def x():
    return {d: grid(ROWS, n, 20 + i) for i, (d, n) in enumerate(DIMS.items())}


SHIMMER = {
    "demi_cycle": {"v": 0.6289365003818408, "t": 0.5944200055001816},
    "cycle": {"v through t": 0.5077051859691906, "t through v": 0.48844510712365974},
    "translation": {"t to v": 0.5794407311078239, "v to t": 0.6450216707972436},
    "broadcast": {
        "t to v": 0.5794407311078239,
        "t to t": 0.5944200055001816,
        "v to v": 0.6289365003818408,
        "v to t": 0.6450216707972436,
        "v+t to v": 0.6384133050473851,
        "v+t to t": 0.6274769219291517,
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_members_are_shimmers(name, space, x):
    members = LOSSES[name](space, x)
    assert {member: value.item() for member, value in members.items()} == pytest.approx(
        SHIMMER[name], rel=1e-12
    )


def test_means_are_shimmers(space, x):
    assert mean_of(demi_cycle(space, x)).item() == pytest.approx(0.6116782529410112, rel=1e-12)
    assert mean_of(cycle(space, x)).item() == pytest.approx(0.49807514654642515, rel=1e-12)
    assert mean_of(translation(space, x)).item() == pytest.approx(0.6122312009525337, rel=1e-12)


def test_contrastive_is_shimmers(space, x):
    """shimmer's logit scale 2.0 is the temperature exp(−2)."""
    members = contrastive(space, x, temperature=torch.tensor(-2.0, dtype=torch.float64).exp())
    assert members["v and t"].item() == pytest.approx(5.967608364795845, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_missing_rows_are_as_if_they_were_not_there(name, space, x):
    """Rows that lack a domain hold zeros; each member must be that of the rows that have all of its domains."""
    there = {
        "v": torch.tensor([True] * 4 + [False, True]),
        "t": torch.tensor([True, False, True, True, True, True]),
    }
    holed = {d: torch.where(there[d][:, None], values, 0.0) for d, values in x.items()}
    members = LOSSES[name](space, holed, there)
    for member, value in members.items():
        needed = [
            d
            for d in DIMS
            if d in member.replace("through", "").split(" through ")[0].replace("+", " ").split()
        ]
        if name == "cycle":
            needed = [member.split(" through ")[0]]
        rows = torch.stack([there[d] for d in needed]).all(0)
        expected = LOSSES[name](space, {d: values[rows] for d, values in x.items()})[member]
        torch.testing.assert_close(value, expected)


def test_contrastive_is_of_the_pairs_only(space, x):
    there = {
        "v": torch.tensor([True, True, True, False, True, True]),
        "t": torch.tensor([True] * 5 + [False]),
    }
    rows = [0, 1, 2, 4]
    expected = contrastive(space, {d: values[rows] for d, values in x.items()})["v and t"]
    torch.testing.assert_close(contrastive(space, x, there)["v and t"], expected)


def test_no_pair_gives_zero_and_no_gradient_to_what_needs_one(space, x):
    there = {"v": torch.tensor([True] * 3 + [False] * 3), "t": torch.tensor([False] * 3 + [True] * 3)}
    total = sum(mean_of(loss(space, x, there)) for loss in (translation, contrastive))
    assert total.item() == 0
    total.backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in space.parameters())
    assert mean_of(demi_cycle(space, x, there)) > 0


def test_broadcast_takes_weights(space, x):
    """All weight on one domain makes the fusion of both that domain alone."""
    members = broadcast(
        space,
        x,
        weights=lambda there: {d: v.double() * (d == "v" or len(there) == 1) for d, v in there.items()},
    )
    assert members["v+t to t"].item() == pytest.approx(SHIMMER["translation"]["v to t"], rel=1e-12)


def test_an_own_distance(space, x):
    members = demi_cycle(space, x, distance=lambda a, b: 2 * squared_error(a, b))
    assert members["v"].item() == pytest.approx(2 * SHIMMER["demi_cycle"]["v"], rel=1e-12)


def test_perfect_space_loses_nothing(x):
    """Identity in one domain of the workspace's own width: decoding gives back what was fused."""
    space = DomainWorkspace({"v": lambda v: v}, {"v": lambda w: w}, fusion=lambda z: z)
    assert mean_of(demi_cycle(space, {"v": x["v"]})).item() == 0
