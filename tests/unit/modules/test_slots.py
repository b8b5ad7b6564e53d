"""Slots: parts of a network that another network's part can stand in for."""

import copy

import pytest
import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.encoders.vit import ViT
from brickwork.modules.slots import Stitch, compose, cut, even_ranges, hybrid, transfer

RANGES = [(0, 1), (1, 3), (3, 4)]


class Read(nn.Module):
    """Logits of the class token."""

    def __init__(self, width: int, classes: int = 5):
        super().__init__()
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.norm(x[:, 0]))


def vit(width=16, layers=4, seed=0) -> ViT:
    torch.manual_seed(seed)
    return ViT(image_shape=(8, 8, 3), patch=4, width=width, num_layers=layers, num_heads=2)


@pytest.fixture
def images():
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_slots_composed_are_the_network_bit_by_bit(images):
    network, read = vit(), Read(16)
    slots = cut(network, RANGES, read)
    whole = read(network.blocks_from_to(0, 4)(network.embed(images)))
    assert torch.equal(compose(slots, images), whole)
    held = {id(p) for slot in slots for p in slot.parameters()}
    assert held == {id(p) for p in (*network.parameters(), *read.parameters())} - {
        id(p) for p in network.norm.parameters()
    }, "every parameter is in a slot, and in its own objects"
    counts = [sum(p.numel() for p in slot.parameters()) for slot in slots]
    assert sum(counts) == sum({id(p): p.numel() for slot in slots for p in slot.parameters()}.values())


@pytest.mark.parametrize("place", range(3))
def test_a_network_with_its_own_slot_in_place_is_itself(place, images):
    """Prefix, slot and suffix are the network exactly where S_i is M_i."""
    slots = cut(vit(), RANGES, Read(16))
    mixed = hybrid(slots, place, slots[place])
    assert torch.equal(mixed(images), compose(slots, images))
    assert torch.equal(mixed.suffix(mixed.prefix(images)), compose(slots, images))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("kind", ["linear", "norm_linear"])
def test_only_slot_and_stitch_learn_in_a_frozen_network(place, kind, images):
    meta = vit().requires_grad_(False)
    read = Read(16).requires_grad_(False)
    narrow = cut(vit(width=8, seed=1), RANGES, Read(8))
    stitch = Stitch(kind, outer=16, inner=8, first=place == 0, last=place == 2)
    hybrid(cut(meta, RANGES, read), place, narrow[place], stitch)(images).square().sum().backward()
    assert all(p.grad is None for p in (*meta.parameters(), *read.parameters()))
    learning = (*narrow[place].parameters(), *stitch.parameters())
    assert learning
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning if p.ndim > 1)


def test_stitches_have_the_size_of_the_widths_and_no_more():
    """(D + 1)·d and (d + 1)·D numbers, and 2·D and 2·d of the norms; by hand."""
    outer, inner = 16, 8
    linear = (outer + 1) * inner + (inner + 1) * outer
    count = {
        kind: sum(p.numel() for p in Stitch(kind, outer=outer, inner=inner).parameters())
        for kind in ("linear", "norm_linear")
    }
    assert count == {"linear": linear, "norm_linear": linear + 2 * (outer + inner)}
    first = Stitch("linear", outer=outer, inner=inner, first=True)
    last = Stitch("linear", outer=outer, inner=inner, last=True)
    assert first.into is None
    assert last.out is None


def test_even_ranges():
    assert even_ranges(6, 3) == [(0, 2), (2, 4), (4, 6)]
    assert even_ranges(32, 10)[:3] == [(0, 4), (4, 8), (8, 11)]
    with pytest.raises(ConfigError, match="3 blocks cannot be cut into 4 slots"):
        even_ranges(3, 4)


@pytest.mark.parametrize(
    ("ranges", "wrong"),
    [
        # The depths of the published command for one teacher hold fewer blocks than it has.
        ([(0, 1), (1, 3)], "hold 3 blocks, and the network has 4"),
        ([(0, 1), (2, 4)], "begin where the one before ends"),
        ([(0, 2), (2, 2), (2, 4)], "hold a block"),
    ],
)
def test_ranges_that_are_not_the_whole_network(ranges, wrong):
    with pytest.raises(ConfigError, match=wrong):
        cut(vit(), ranges, Read(16))


def test_transfer_says_what_it_copied():
    source, target = Read(16), Read(16, classes=7)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ConfigError, match=r"head\.weight: \(7, 16\) here, \(5, 16\) in the source"):
        transfer(source, target)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())
    report = transfer(source, target, may_lack=("head.*",))
    assert set(report.copied) == {"norm.weight", "norm.bias"}
    assert report.skipped["head.bias"] == "(7,) here, (5,) in the source"
    assert report.shapes["norm.weight"] == (16,)
    assert "2 tensors copied, 2 left" in str(report)


def test_transfer_by_other_names_and_with_some_left():
    source = nn.ModuleDict({"first": nn.Linear(3, 3), "spare": nn.Linear(2, 2)})
    target = nn.ModuleDict({"one": nn.Linear(3, 3)})
    names = {f"one.{end}": f"first.{end}" for end in ("weight", "bias")}
    with pytest.raises(ConfigError, match=r"spare\.weight: \(2, 2\) in the source, none here"):
        transfer(source, target, names)
    transfer(source, target, names, may_leave=("spare.*",))
    assert torch.equal(target["one"].weight, source["first"].weight)
