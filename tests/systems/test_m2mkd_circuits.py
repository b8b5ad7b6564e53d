"""Neural Attentive Circuits: layers against loops written out, the ConvNeXt block against transformers', slots, noise."""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brickwork.modules.slots import Stitch, compose, hybrid
from brickwork.systems.m2mkd.circuit_graph import distances, log_kernel
from brickwork.systems.m2mkd.circuit_layers import (
    ConvNeXtBlock,
    GraphAttention,
    ModFC,
    ModFFN,
    Noise,
    Residual,
    TokenAttention,
)
from brickwork.systems.m2mkd.circuits import Circuit, drawing

ROWS = range(6)


def images(count=6, shape=(1, 8, 8), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def circuit():
    torch.manual_seed(0)
    model = Circuit(
        (8, 8, 1), 3, patch=2, seed=0, width=16, num_heads=2, latents=(4, 6, 3), propagators=2, signature_dim=6,
        place_dim=4,
    )  # fmt: skip
    return model


def shaken(module):
    """Every parameter away from where it begins (gains, norms and biases too)."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module.double()


def mod_fc(layer, x, c):
    """W((1 + g·LN(P c)) ⊙ x) + b of one vector and one code, without a batch."""
    p = layer.project.weight @ c
    p = (p - p.mean()) / torch.sqrt(p.var(unbiased=False) + layer.norm.eps)
    y = layer.linear.weight @ ((1 + layer.gain * p) * x)
    return y if layer.linear.bias is None else y + layer.linear.bias


def test_mod_fc_by_hand():
    layer = shaken(ModFC(5, 4, 3))
    x, codes = torch.randn(2, 7, 5).double(), torch.randn(7, 3).double()
    expected = torch.stack(
        [torch.stack([mod_fc(layer, x[b, u], codes[u]) for u in range(7)]) for b in range(2)]
    )
    assert torch.allclose(layer(x, codes), expected)
    assert torch.allclose(
        layer(x, codes[:1])[:, 3], torch.stack([mod_fc(layer, one[3], codes[0]) for one in x])
    )


@pytest.mark.parametrize("linked", [False, True])
def test_graph_attention_by_loops(linked):
    layer, heads, wide = shaken(GraphAttention(8, 5, 2)), 2, 4
    z, s = torch.randn(2, 3, 8).double(), torch.randn(2, 4, 8).double()
    cz, cs = torch.randn(3, 5).double(), torch.randn(4, 5).double()
    log_p = torch.randn(2, 3, 4).double() if linked else None
    if linked:
        log_p[:, 0, 2], log_p[0, 1] = -torch.inf, -torch.inf
    result = layer(z, cz, s, cs, log_p)
    for b in range(2):
        for u in range(3):
            q = mod_fc(layer.query, layer.norm(z[b, u]), cz[u])
            k = [mod_fc(layer.key, layer.norm(s[b, v]), cs[v]) for v in range(4)]
            v_ = [mod_fc(layer.value, layer.norm(s[b, v]), cs[v]) for v in range(4)]
            heard = []
            for h in range(heads):
                part = slice(h * wide, (h + 1) * wide)
                score = torch.stack([q[part] @ one[part] / wide**0.5 for one in k])
                weight = (score + (0 if log_p is None else log_p[b, u])).softmax(0)
                heard.append(sum(w * one[part] for w, one in zip(weight, v_)))
            expected = mod_fc(layer.out, torch.cat(heard), cz[u])
            if linked and (b, u) == (0, 1):  # cut off from all
                expected = torch.zeros(8).double()
            assert torch.allclose(result[b, u], expected)


def test_token_attention_is_that_of_a_key_and_value_for_each_pair():
    layer = shaken(TokenAttention(6, 8, 5, 2))
    z, tokens, codes = (
        torch.randn(2, 3, 8).double(),
        torch.randn(2, 9, 6).double(),
        torch.randn(3, 5).double(),
    )
    x = layer.token_norm(tokens)[:, :, None].expand(-1, -1, 3, -1)  # the tensor that the layer does not make
    k, v = (
        part.linear(part.modulation(codes) * x).unflatten(-1, (2, 4)) for part in (layer.key, layer.value)
    )
    q = layer.query(layer.norm(z), codes).unflatten(-1, (2, 4))
    weight = (torch.einsum("buhc,bvuhc->bhuv", q, k) / 2).softmax(-1)
    expected = layer.out(torch.einsum("bhuv,bvuhc->buhc", weight, v).flatten(2), codes)
    assert torch.allclose(layer(z, codes, tokens), expected)


# Printed by the authors' KernelModulatedLatentAttention, ReadInAttention and ModFFN (github.com/kamanphoebe/m2mKD, nacs,
# in evaluation), run aside on the weights and inputs of `sines`.
_GRAPH = [
    -0.5014232087764696, -0.08924857454928192, 1.925143060425439, -2.7073756529522965,
    -1.8195029887944134, -1.9223501291670146, 0.4800205859791312, -3.0995668758139074,
]  # fmt: skip
_TOKENS = [
    -2.9315156649364993, 3.4184001501192673, 0.5350344489807144, -0.9541765372517773,
    -3.0697647926389218, 0.3087303392967118, -0.7820374428165452, -0.09276569176793423,
]  # fmt: skip
_FFN = [
    -3.7082089060341366, -1.0233163833365746, 0.5585363729978675, -2.0378188559232995,
    -3.460314794862843, -4.702158582154752, -0.9489012207390134, 1.9663838985834325,
]  # fmt: skip


def sines(*shape, start):
    """sin(0.7·i + start), i counting the numbers of the tensor."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + start).reshape(shape)


def filled(module, names):
    """``names`` in the order in which the authors' names are sorted; a name of "" is a weight that ours has not."""
    parameters = dict(module.double().named_parameters())
    assert set(parameters) == set(filter(None, names))
    for start, name in enumerate(names):
        if name:
            parameters[name].data.copy_(sines(*parameters[name].shape, start=start))
    return module


def mod_names(name):
    return [f"{name}.linear.bias", f"{name}.linear.weight", f"{name}.project.weight", f"{name}.gain"]


def test_layers_give_what_the_authors_give():
    z, codes = sines(1, 2, 4, start=20), sines(2, 3, start=21)
    graph = nn.ModuleDict({"a": GraphAttention(4, 3, 2), "r": Residual(4, 0.0)})
    names = [*mod_names("a.out"), "", *mod_names("a.key"), "r.scale", *mod_names("a.query")]
    filled(graph, [*names, "a.norm.bias", "a.norm.weight", *mod_names("a.value")])
    places = (
        torch.tensor([[1.0, 0.0], [0.6, 0.8]]).double(),
        torch.tensor([[0.0, 1.0], [0.6, 0.8], [0.8, 0.6]]).double(),
    )
    log_p = log_kernel(distances(*places), torch.tensor(0.5).double())
    assert log_p.isinf().any()
    senders, sender_codes = sines(1, 3, 4, start=22), sines(3, 3, start=23)
    out = graph["r"](z, graph["a"](z, codes, senders, sender_codes, log_p[None]))
    assert out.flatten().tolist() == pytest.approx(_GRAPH, abs=1e-6)

    read = nn.ModuleDict({"a": TokenAttention(5, 4, 3, 2), "r": Residual(4, 0.0)})
    keys = ["", *mod_names("a.key")[1:]]
    norms = ["a.norm.bias", "a.norm.weight", "a.token_norm.bias", "a.token_norm.weight"]
    filled(
        read, [*mod_names("a.out"), *keys, "r.scale", *mod_names("a.query"), *norms, *mod_names("a.value")]
    )
    out = read["r"](z, read["a"](z, codes, sines(1, 3, 5, start=24)))
    assert out.flatten().tolist() == pytest.approx(_TOKENS, abs=1e-6)

    ffn = filled(
        ModFFN(4, 3, 0.0),
        [*mod_names("widen"), *mod_names("narrow"), "residual.scale", "norm.bias", "norm.weight"],
    )
    assert ffn(z, codes).flatten().tolist() == pytest.approx(_FFN, abs=1e-6)


def test_attention_has_the_gradients_of_finite_differences():
    graph, tokens = shaken(GraphAttention(4, 3, 2)), shaken(TokenAttention(5, 4, 3, 2))
    a = torch.randn(1, 2, 4).double().requires_grad_()
    b = torch.randn(1, 3, 4).double().requires_grad_()
    ca, cb = torch.randn(2, 3).double().requires_grad_(), torch.randn(3, 3).double().requires_grad_()
    log_p = torch.randn(1, 2, 3).double().requires_grad_()
    x = torch.randn(1, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(graph, (a, ca, b, cb, log_p))
    assert torch.autograd.gradcheck(tokens, (a, ca, x))


def test_convnext_block_is_transformers():
    from transformers import ConvNextConfig
    from transformers.models.convnext.modeling_convnext import ConvNextLayer

    ours, theirs = ConvNeXtBlock(8), ConvNextLayer(ConvNextConfig(), 8)
    with torch.no_grad():
        theirs.layer_scale_parameter.copy_(torch.randn(8))
    names = {
        "dwconv": "depthwise", "layernorm": "norm", "pwconv1": "widen", "pwconv2": "narrow",
        "layer_scale_parameter": "scale",
    }  # fmt: skip
    weights = theirs.state_dict()
    ours.load_state_dict({".".join([names[(p := n.split("."))[0]], *p[1:]]): w for n, w in weights.items()})
    x = torch.randn(2, 8, 6, 6)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_depth_is_left_out_by_row_with_the_same_mean():
    layer, noise = Residual(4, 0.25), Noise(0, 1, range(4000))
    old, new = torch.zeros(4000, 2, 4), torch.ones(4000, 2, 4)
    out = layer(old, new, noise, "a")
    assert set(out.unique().tolist()) == {0.0, out.max().item()}
    assert out.max().item() == pytest.approx(0.1 / 0.75)
    assert torch.equal(out[:, 0], out[:, 1])
    assert abs(out.mean().item() - 0.1) < 0.004  # four standard errors: 4·0.133·√(.25·.75/4000)


# ---- the whole circuit -----------------------------------------------------------------------------------------------


def test_evaluation_draws_nothing(circuit):
    circuit.eval()
    with torch.no_grad():
        plain = circuit(images())
        with drawing(circuit, Noise(0, 1, ROWS)):
            assert torch.equal(circuit(images()), plain)
        circuit.train()
        assert torch.equal(circuit(images()), plain)
        assert torch.allclose(circuit(images()[2:4]), plain[2:4], atol=1e-5)


def test_training_draws_for_each_row_by_itself(circuit):
    circuit.train()

    def seen(x, *of):
        with torch.no_grad(), drawing(circuit, Noise(*of)):
            return circuit(x)

    x = images()
    whole = seen(x, 0, 1, ROWS)
    assert torch.equal(whole, seen(x, 0, 1, ROWS))
    order = [4, 0, 2]
    assert torch.allclose(seen(x[order], 0, 1, order), whole[order], atol=1e-5)
    for other in ((0, 2, ROWS), (1, 1, ROWS), (0, 1, range(6, 12))):
        assert not torch.allclose(seen(x, *other), whole, atol=1e-3)
    assert circuit.noise is None


def test_every_parameter_learns(circuit):
    circuit.train().zero_grad()
    with drawing(circuit, Noise(0, 1, ROWS)):
        (F.cross_entropy(circuit(images()), torch.arange(6) % 3) + circuit.repulsion()).backward()
    still = [n for n, p in circuit.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still
    circuit.zero_grad()


def test_no_message_comes_from_mediators_that_are_cut_off(circuit):
    circuit.eval()
    first, _middle, _ = circuit.latents
    before = circuit.state_dict()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    with torch.no_grad():
        # All point one way but the second mediator, which points the other: nobody hears it, whatever its code.
        circuit.signatures[:] = torch.eye(6)[0]
        circuit.signatures[first + 1] = -torch.eye(6)[0]
        plain = circuit(images())
        circuit.codes[first + 1] += 5
        assert torch.equal(circuit(images()), plain)
        circuit.signatures[first + 1] = torch.eye(6)[0]
        assert not torch.allclose(circuit(images()), plain, atol=1e-4)
    circuit.load_state_dict(kept)


@pytest.mark.skipif(os.environ.get("BRICKWORK_LONG") != "1", reason="trains 150 steps: BRICKWORK_LONG=1")
def test_a_circuit_learns_digits():
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target)
    model = Circuit(
        (8, 8, 1),
        10,
        patch=4,
        seed=0,
        width=32,
        latents=(8, 12, 4),
        propagators=1,
        signature_dim=8,
        place_dim=8,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(150):
        rows = torch.randint(0, 1400, (32,), generator=torch.Generator().manual_seed(step))
        with drawing(model, Noise(0, step, rows.tolist())):
            loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = (model(x[1400:]).argmax(1) == y[1400:]).float().mean()
    assert right > 0.7  # chance: 0.1


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_slots_are_images_to_one_token_tokens_to_tokens_and_tokens_to_logits(circuit):
    first, *middle, last = circuit.slots()
    assert len(middle) == 2
    assert first(images()).shape == (6, 1, 16)
    x = torch.randn(6, 5, 16)
    for slot in middle:
        assert slot(x).shape == x.shape
        assert torch.allclose(slot(x.flip(1)), slot(x).flip(1), atol=1e-5)  # all to all: no places
    assert last(x).shape == (6, 3)
    assert compose(circuit.slots(), images()).shape == (6, 3)


def test_slots_fit_into_a_network_of_another_width_and_learn_alone(circuit):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(64, 20)

        def forward(self, x):
            return self.map(x.flatten(1))[:, None].expand(-1, 5, -1)

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(20, 3)

        def forward(self, x):
            return self.map(x[:, 0])

    meta = [First(), nn.Linear(20, 20), nn.Linear(20, 20), Last()]
    circuit.train()
    for place, slot in enumerate(circuit.slots()):
        circuit.zero_grad()
        stitch = Stitch("linear", outer=20, inner=16, first=place == 0, last=place == 3)
        hybrid(meta, place, slot, stitch)(images()).sum().backward()
        own = {id(p) for p in slot.parameters()}
        taught = {id(p) for p in circuit.parameters() if p.grad is not None}
        assert taught <= own
        assert taught
    circuit.zero_grad()


def test_what_slots_learn_is_in_the_circuit_and_the_rest_is_named(circuit):
    report = circuit.learnt_in_slots()
    names = dict(circuit.named_parameters())
    assert set(report.copied) | set(report.skipped) == set(names)
    assert not set(report.copied) & set(report.skipped)
    assert {"codes", "signatures", "bandwidths", "seed_mean.weight"} <= set(report.skipped)
    assert "propagators.1.attention.query.linear.weight" in report.copied
    assert "begins afresh" in str(report)
    slots = [{id(p) for p in slot.parameters()} for slot in circuit.slots()]
    assert len(set().union(*slots)) == sum(map(len, slots)) == len(report.copied)


def test_kept_stitches_stand_behind_each_slot_but_the_last():
    torch.manual_seed(1)
    model = Circuit(
        (8, 8, 1), 3, patch=2, seed=0, width=16, latents=(4, 6, 3), propagators=1, signature_dim=6, place_dim=4,
        joints=("linear", 20),
    )  # fmt: skip
    stitches = [Stitch("linear", outer=20, inner=16, first=place == 0, last=place == 2) for place in range(3)]
    model.assemble(stitches)
    h = torch.randn(2, 4, 16)
    joint = model.joints[1]
    expected = h + stitches[2].into(F.gelu(stitches[1].out(joint.norm(h))))
    assert torch.equal(joint(h), expected)
    assert "from the stitches" in model.learnt_in_slots().skipped["joints.0.maps.0.0.weight"]
    assert model(images()).shape == (6, 3)
