"""Low-rank adapters against dense products written out by hand."""

import contextlib
import copy
import math

import pytest
import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.modules.adapters import find_targets, inject_lora


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(6, 6)
        self.key = nn.Linear(6, 6)
        self.value = nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.query(x)) * self.key(x) + self.value(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.layer = nn.ModuleList([Attention(), Attention()])
        self.out = nn.Linear(6, 5)
        self.scale = nn.Linear(8, 6)

    def forward(self, x):
        x = self.scale(self.conv(x).mean((2, 3)))
        for layer in self.layer:
            x = layer(x)
        return self.out(x)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().double()


X = torch.randn(7, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def adapted(net, **options):
    """Adapters on all layers, with random B, as if trained."""
    options = {"targets": ".*", "rank": 4, "alpha": 6.0, **options}
    adapters = inject_lora(net, **options)
    net.double()
    for row in adapters.segments.rows:
        nn.init.normal_(row)
    return adapters


def whole(adapters):
    """Name → A (r, …) and B (m, r), cut out of the rows by hand: A and the transpose of B of each layer in turn."""
    matrix, start, factors = torch.cat([row.detach() for row in adapters.segments.rows]), 0, {}
    for name, layer in adapters.layers.items():
        weight = layer.base.weight
        outputs, inputs = weight.shape[:2] if type(layer.base).__name__ != "Conv1D" else weight.shape[::-1]
        kernel = weight.shape[2:] if weight.ndim == 4 else ()
        middle = start + inputs * math.prod(kernel)
        end = middle + outputs
        factors[name] = matrix[:, start:middle].reshape(-1, inputs, *kernel), matrix[:, middle:end].T
        start = end
    assert start == matrix.shape[1]
    return factors


def dense(net, adapters, rank, scale):
    """The plain network whose weights are W0 + scale·B_b·A_b, the products taken entry by entry."""
    plain, factors = copy.deepcopy(net), whole(adapters)
    for name, layer in adapters.layers.items():
        down, up = factors[name]
        weight = layer.base.weight.detach().clone()
        for r in range(rank):
            weight += scale * torch.einsum("m,...->m...", up[:, r], down[r])
        base = copy.deepcopy(layer.base)
        base.weight = nn.Parameter(weight)
        parent, _, last = name.rpartition(".")
        setattr(plain.get_submodule(parent), last, base)
    return plain


@pytest.mark.parametrize(
    ("scaling", "scale"),
    [
        ("alpha/b", lambda b: 6 / b),
        ("alpha/r", lambda b: 6 / 4),
        ("alpha/sqrt(b)", lambda b: 6 / math.sqrt(b)),
    ],
)
@pytest.mark.parametrize("sizes", [(), (2, 4), (3, 4)])
def test_forward_at_every_rank_is_the_dense_product(net, scaling, scale, sizes):
    """W0·x + s·B_b·A_b·x, on linear layers and a strided convolution, in float64; also between the trained ranks."""
    adapters = adapted(net, scaling=scaling, sizes=sizes)
    assert set(adapters.layers) == {
        "conv", "out", "scale", *(f"layer.{i}.{part}" for i in (0, 1) for part in ("query", "key", "value"))
    }  # fmt: skip
    for b in range(1, 5):
        expected = dense(net, adapters, b, scale(b))(X)
        with adapters.rank(b):
            torch.testing.assert_close(net(X), expected, rtol=1e-12, atol=1e-12)


def test_without_training_nothing_changes(net):
    """B = 0: the output is that of the backbone, bit for bit, at every rank."""
    before = net(X)
    adapters = inject_lora(net, ".*", rank=4)
    for b in range(1, 5):
        with adapters.rank(b):
            assert torch.equal(net(X), before)


def test_rank_b_does_not_depend_on_later_rows(net):
    adapters = adapted(net)
    with adapters.rank(2):
        before = net(X)
        for row in adapters.segments.rows[2:]:
            nn.init.constant_(row, 1e6)
        assert torch.equal(net(X), before)
    with adapters.rank(3):
        assert not torch.allclose(net(X), before)


def _steps(net, adapters, optimiser, b, **how):
    """Three updates at rank b, after two at the full rank that fill the optimiser's moments."""
    for rank, options in [(4, {}), (4, {}), *[(b, how)] * 3]:
        optimiser.zero_grad()
        with adapters.rank(rank, **options):
            net(X).square().mean().backward()
        if rank == b:
            yield {n: p.detach().clone() for n, p in net.named_parameters()}
        optimiser.step()
    yield {n: p.detach().clone() for n, p in net.named_parameters()}


def _moved(before, after):
    """Which segments (0 … 3) moved."""
    return {
        int(name.rpartition(".")[2])
        for name in before
        if ".segments." in name and not torch.equal(before[name], after[name])
    }


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize(
    ("how", "expected"),
    [({}, {0, 1}), ({"last_only": True}, {1})],
    ids=["all", "frozen"],
)
def test_rows_without_part_in_a_step_stay_bit_for_bit(net, optimiser, how, expected):
    """With moments from earlier steps and weight decay, rows above b, and in frozen mode below b, do not move."""
    adapters = adapted(net)
    trained = [p for p in net.parameters() if p.requires_grad]
    extra = {"momentum": 0.9} if optimiser is torch.optim.SGD else {}
    states = list(_steps(net, adapters, optimiser(trained, lr=0.01, weight_decay=0.1, **extra), 2, **how))
    assert _moved(states[0], states[-1]) == expected
    frozen = [n for n in states[0] if ".segments." not in n]
    assert all(torch.equal(states[0][n], states[-1][n]) for n in frozen)


def test_gradients_of_zero_let_adam_move_what_should_stand_still(net):
    """What the released code does: the sheet's finding, and the reason for segments."""
    adapters = adapted(net)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    states = list(_steps(net, adapters, optimiser, 2, last_only=True, drift=True))
    assert _moved(states[0], states[-1]) == {0, 1, 2, 3}


def test_drift_changes_no_gradient_that_there_is(net):
    adapters = adapted(net)
    grads = []
    for drift in (False, True):
        net.zero_grad()
        with adapters.rank(3, last_only=True, drift=drift):
            net(X).square().mean().backward()
        grads.append({n: p.grad for n, p in net.named_parameters()})
    for name, gradient in grads[0].items():
        if gradient is not None:
            torch.testing.assert_close(grads[1][name], gradient)
        elif ".segments." in name:
            assert not grads[1][name].any()


def test_merging_is_the_adapter_and_unmerging_restores(net):
    adapters = adapted(net)
    original = {n: p.detach().clone() for n, p in net.named_parameters()}
    with adapters.rank(3):
        expected = net(X)
    adapters.merge_(3)
    torch.testing.assert_close(net(X), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ConfigError, match="merged at rank 3"), adapters.rank(2):
        pass
    with pytest.raises(ConfigError, match="already"):
        adapters.merge_(3)
    with pytest.raises(ConfigError, match="unmerge"):
        adapters.truncate_(2)
    adapters.unmerge_()
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), original[name], rtol=0, atol=1e-6)
    with adapters.rank(2):
        net(X)


def test_merged_and_unloaded_it_is_a_plain_network(net):
    names = set(net.state_dict())
    adapters = adapted(net)
    with adapters.rank(2):
        expected = net(X)
    plain = adapters.merge_(2).unload_()
    assert set(plain.state_dict()) == names
    torch.testing.assert_close(plain(X), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scaling", ["alpha/b", "alpha/r", "alpha/sqrt(b)"])
@pytest.mark.parametrize("sizes", [(), (2, 4)])
def test_truncating_keeps_what_the_rank_does(net, scaling, sizes):
    adapters = adapted(net, scaling=scaling, sizes=sizes)
    with adapters.rank(3):
        expected = net(X)
    before = adapters.num_parameters(3)
    adapters.truncate_(3)
    assert torch.equal(net(X), expected)
    assert adapters.max_rank == 3
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == before
    with pytest.raises(ConfigError, match="1 … 3"), adapters.rank(4):
        pass


def test_transposed_linear_layers_of_gpt2():
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    net = nn.Sequential(Conv1D(9, 6)).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    adapters = adapted(net)
    with adapters.rank(3):
        out = net(x)
    layer = adapters.layers["0"]
    down, up = whole(adapters)["0"]
    expected = x @ layer.base.weight + layer.base.bias + 6 / 3 * (x @ down[:3].T) @ up[:, :3].T
    torch.testing.assert_close(out, expected)
    adapters.merge_(3)
    torch.testing.assert_close(net(x), expected)


def test_targets_are_the_ends_of_names(net):
    assert set(find_targets(net, "query|value")) == {
        f"layer.{i}.{part}" for i in (0, 1) for part in ("query", "value")
    }
    assert set(find_targets(net, None)) == set(find_targets(net, "query|value"))
    assert set(find_targets(net, r"layer\.1\.key")) == {"layer.1.key"}
    plain = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    assert set(find_targets(plain, None)) == {"0", "2"}


def test_a_backbone_without_the_name_is_told_the_nearest(net):
    with pytest.raises(ConfigError, match=r"'querry' matches no layer.* it has layer\.\*\.query"):
        inject_lora(net, "querry")
    with pytest.raises(ConfigError, match="no linear layers"):
        inject_lora(nn.ReLU(), "query")
    with pytest.raises(ConfigError, match="not a regular expression"):
        inject_lora(net, "(query")


def test_a_rank_larger_than_the_layer_is_refused_with_its_name(net):
    with pytest.raises(
        ConfigError, match=r"rank=6 is larger than 1 of the 9 layers.*out \(at most 5\).*at most 5"
    ):
        inject_lora(net, ".*", rank=6)


def test_attention_of_torch_reads_its_projection_and_is_left_alone():
    net = nn.TransformerEncoderLayer(4, 2, 8)
    assert "self_attn.out_proj" not in find_targets(net, None)
    assert set(find_targets(net, None)) == {"linear1", "linear2"}


def test_a_copy_has_a_rank_of_its_own(net):
    adapters = adapted(net)
    other_net, other = copy.deepcopy((net, adapters))
    with adapters.rank(1):
        assert other.state.rank == 4
        assert not torch.allclose(net(X), other_net(X))
    assert other.layers["out"] is other_net.out


def test_the_parameters_are_as_many_as_the_ranks(net):
    adapters = inject_lora(net, ".*", rank=4)
    trained = {n: p.shape for n, p in net.named_parameters() if p.requires_grad}
    width = sum(a[0].numel() + b.shape[0] for a, b in whole(adapters).values())
    assert list(trained.values()) == [(1, width)] * 4
    assert len({id(p) for p in net.parameters()}) == len(list(net.state_dict()))  # none is stored twice


@pytest.mark.parametrize(
    "optimiser", [lambda p: torch.optim.AdamW(p, lr=0.01, fused=True), lambda p: torch.optim.SGD(p, 0.1)]
)
@pytest.mark.parametrize("entered", [True, False])
def test_a_forward_pass_after_an_update_has_the_new_weights(net, optimiser, entered):
    """Also without gradients, before and after; and of a layer alone."""
    adapters = adapted(net)
    update = optimiser([p for p in net.parameters() if p.requires_grad])
    with adapters.rank(4) if entered else contextlib.nullcontext():
        for _ in range(2):
            with torch.no_grad():
                before = net(X)
            net(X).square().mean().backward()
            with torch.no_grad():
                assert torch.equal(net(X), before)
            nn.utils.clip_grad_norm_(adapters.segments.parameters(), 1.0)
            update.step()
            with torch.no_grad():
                after = net(X)
                torch.testing.assert_close(after, dense(net, adapters, 4, 6 / 4)(X), rtol=1e-12, atol=1e-12)
            assert not torch.allclose(after, before)


def test_loaded_weights_are_used_at_once(net):
    adapters = adapted(net)
    other = adapted(Net().double())
    with torch.no_grad():
        net(X)
        net.load_state_dict({**net.state_dict(), **{
            n: p for n, p in other.model.state_dict().items() if ".segments." in n
        }})  # fmt: skip
        torch.testing.assert_close(net(X), dense(net, adapters, 4, 6 / 4)(X), rtol=1e-12, atol=1e-12)
    for name, pair in whole(other).items():
        assert all(torch.equal(a, b) for a, b in zip(pair, whole(adapters)[name]))
