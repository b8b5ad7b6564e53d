"""ModuleFormer against its authors' code, which was run once on the same weights; the file of results names the commit.

All weights are a closed form of their number and place, so that both sides had them without a file: the parameter with
number n (in the authors' order) is 0.8 sin(0.37 i² + n) over its elements i = 1, 2, …, and 1 more for the scale of a norm.
Both ran in float64. The authors' repository has no training code, no pruning and no added modules to compare with.
"""

import json
from pathlib import Path

import pytest
import torch

from brickwork.encoders.blocks.causal import visible_keys
from brickwork.encoders.blocks.stick_breaking import stick_breaking_attention, stick_breaking_weights
from brickwork.modules.decoders import DecoderLM
from brickwork.modules.routers import TopKRouter, mutual_information_loss, switch_loss, z_loss
from brickwork.systems.moduleformer.architecture import ModuleFormerConfig, build_block

AUTHORS = json.loads((Path(__file__).parents[1] / "golden" / "moduleformer-authors.json").read_text())
HALVES = [f"layer {layer} {half}" for layer in (1, 2) for half in ("attention", "feed_forward")]
# Part of a name in the authors' model → in ours.
NAMES = {
    "transformer.wte": "embedding",
    "transformer.ln_f": "norm",
    "lm_head": "head",
    "transformer.h.": "blocks.",
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
    "attn.q_proj.experts": "attention.query",
    "attn.q_proj.output_experts": "attention.out",
    "attn.q_proj.gate": "attention.router",
    "attn.k_proj": "attention.key",
    "attn.v_proj": "attention.value",
    "mlpf.experts": "feed_forward.experts.up",
    "mlpf.output_experts": "feed_forward.experts.down",
    "mlpf.gate": "feed_forward.router",
    "w_gate.0": "scorer.inner",
    "w_gate.3.weight": "scorer.modules_embedding",
}


def closed(number, shape):
    i = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    return torch.sin(0.37 * i**2 + number).reshape(shape)


def ours(name):
    for theirs, replacement in NAMES.items():
        name = name.replace(theirs, replacement)
    return name


def theirs(key):
    return torch.tensor(AUTHORS[key], dtype=torch.float64)


def same(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def model():
    config = ModuleFormerConfig(
        context=8, width=8, num_layers=2, attention_modules=4, attention_hidden=6, feed_forward_modules=5, hidden=5,
        router_hidden=6,
    )  # fmt: skip
    decoder = DecoderLM(11, 8, [build_block(config, 4, 5) for _ in range(2)]).double()
    parameters = dict(decoder.named_parameters())
    assert sorted(parameters) == sorted(ours(name) for name, _ in AUTHORS["parameters"])
    with torch.no_grad():
        for number, (name, shape) in enumerate(AUTHORS["parameters"]):
            scale = "ln_" in name and name.endswith("weight")
            parameters[ours(name)].copy_(0.8 * closed(number, shape) + float(scale))
    return decoder.eval()


@pytest.fixture(scope="module")
def ran(model):
    """The run on their tokens: what each half gave, and everything else."""
    outputs = {}
    for layer, block in enumerate(model.blocks, start=1):
        for half in ("attention", "feed_forward"):
            key = f"layer {layer} {half}"
            getattr(block, half).register_forward_hook(
                lambda module, args, out, key=key: outputs.__setitem__(key, out[0])
            )
    return model(torch.tensor(AUTHORS["ids"])), outputs


def test_logits_of_the_whole_model(ran):
    same(ran[0].logits, theirs("logits"))


@pytest.mark.parametrize("number", range(4), ids=HALVES)
def test_routing_and_output_of_each_half(ran, number):
    """p over all modules, the chosen ones and their weights, the mixture's output, and the mutual information loss."""
    decoded, outputs = ran
    routed, key = decoded.routings[number], HALVES[number]
    same(routed.logits.softmax(-1), theirs(f"{key} p"))
    assert routed.index.tolist() == AUTHORS[f"{key} index"]
    same(routed.weights, theirs(f"{key} gates"))
    same(outputs[key], theirs(f"{key} output"))
    # Theirs has log(p̄ + 1e-8), which ours does not need.
    same(routed.aux["mutual_information"], theirs(f"{key} mi"), 1e-7)


def test_loss_and_gradients(model, ran):
    """Their backward pass is written by hand, as ours is: the norm of each gradient, and its product with a given vector."""
    decoded, _ = ran
    ids = torch.tensor(AUTHORS["ids"])
    language = torch.nn.functional.cross_entropy(decoded.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    same(language, theirs("language"))
    balance = sum(routed.aux["mutual_information"] for routed in decoded.routings)
    same(balance, theirs("aux"), 1e-7)
    names = [name for name, _ in AUTHORS["parameters"]]
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(language + 0.1 * balance, [parameters[ours(name)] for name in names])
    for name, gradient in zip(names, gradients):
        numbers = torch.stack([gradient.norm(), (gradient * closed(0, gradient.shape)).sum()])
        same(numbers, torch.tensor(AUTHORS["gradients"][name], dtype=torch.float64), 1e-6)


def test_stick_breaking():
    """Weights and output of their function on queries that share keys."""
    q, k, v = 2 * closed(1, (1, 5, 2, 2, 3)), closed(2, (1, 5, 2, 3)), closed(3, (1, 5, 2, 3))
    visible = visible_keys(5, 5, attend_current=True, device=torch.device("cpu"))
    queries, keys, values = q.permute(0, 3, 2, 1, 4), k.transpose(1, 2), v.transpose(1, 2)
    out = stick_breaking_attention(queries, keys, values, visible)
    same(out.permute(0, 3, 2, 1, 4), torch.tensor(AUTHORS["stick"]["y"], dtype=torch.float64))
    scores = torch.einsum("bhrts,bhus->brhtu", queries, keys) / 3**0.5
    weights, _ = stick_breaking_weights(scores, visible[:, None, None])
    same(weights, torch.tensor(AUTHORS["stick"]["att"], dtype=torch.float64))


@pytest.mark.parametrize("kind", ["mlp", "linear", "gmm"])
def test_routers_and_losses_of_each_kind(kind):
    """Their three scorers, each with their mutual information loss and with their Switch loss + 0.1 z loss."""
    scorer = "cosine" if kind == "gmm" else kind
    router = TopKRouter(8, 5, 2, scorer=scorer, hidden=6, losses=()).double()
    order = {
        "mlp": ("inner.weight", "inner.bias", "modules_embedding"),
        "linear": ("modules_embedding",),
        "gmm": ("modules_embedding", "log_scale", "inner.weight"),
    }[kind]
    parameters = dict(router.scorer.named_parameters())
    assert sorted(parameters) == sorted(order)
    with torch.no_grad():
        for number, name in enumerate(order):
            parameters[name].copy_(
                closed(number + 5, parameters[name].shape or (1,)).reshape_as(parameters[name])
            )
    routed = router(closed(4, (9, 8)))
    for name in ("mi", "switch"):
        expected = AUTHORS["gates"][f"{kind} {name}"]
        same(routed.logits.softmax(-1), torch.tensor(expected["p"], dtype=torch.float64))
        assert routed.index.tolist() == expected["index"]
    information = mutual_information_loss(routed.logits)
    assert information.item() == pytest.approx(AUTHORS["gates"][f"{kind} mi"]["loss"], abs=1e-7)
    switch = switch_loss(routed.logits, routed.index) + 0.1 * z_loss(routed.logits)
    assert switch.item() == pytest.approx(AUTHORS["gates"][f"{kind} switch"]["loss"], rel=1e-6)
