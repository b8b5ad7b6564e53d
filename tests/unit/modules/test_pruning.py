"""A pruned model does what the model does with the same parts ablated; how many weights are left is counted by hand."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.modules.ablation import ablate
from brickwork.modules.decoders import AttentionForm, DecoderBlock, DecoderLM, SharedHeads
from brickwork.modules.pruning import prune, prune_as
from brickwork.modules.recorder import overall_means
from sample_transformers import MODELS, PACKED, WORDS, decoder, inputs, ours, pretrained, run_ours, shaken

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own

CHANGES = {
    "layers.0.heads": {1: "mean", (2, 3): "zero"},
    "layers.1.heads": {0: "mean"},
    "layers.0.ffn": {(0, 5, 7): "mean", 9: 0.3},
    "layers.1.ffn": {tuple(range(20)): "zero"},
}
UNKNOWN = (
    "modernbert",
    "gpt_neox",
)  # one matrix for two halves of a gate; queries, keys and values interleaved


def size(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", [name for name in MODELS if name not in UNKNOWN])
@torch.no_grad()
def test_pruned_is_ablated(name):
    model, *_ = pretrained(name)
    means = overall_means(model, ["heads", "ffn"], [inputs(name)], lambda batch: model(**batch))
    with ablate(model, CHANGES, means=means):
        wanted = model(**inputs(name)).last_hidden_state
    before = size(model)
    removed = prune(model, CHANGES, means=means)
    assert removed == {
        "layers.0.heads": [1, 2, 3],
        "layers.1.heads": [0],
        "layers.0.ffn": [0, 5, 7, 9],
        "layers.1.ffn": list(range(20)),
    }
    given = model(**inputs(name)).last_hidden_state
    mask = inputs(name).get("attention_mask", torch.ones(given.shape[:2])).bool()
    torch.testing.assert_close(given[mask], wanted[mask], rtol=0, atol=1e-5)
    assert size(model) < before
    fresh, *_ = pretrained(name)
    prune_as(fresh, removed)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(**inputs(name)).last_hidden_state, given, rtol=0, atol=1e-6)


@torch.no_grad()
def test_our_encoder_and_our_decoder():
    model = ours()
    means = overall_means(model, ["heads", "ffn"], [PACKED], lambda tokens: model(tokens, [2]))
    with ablate(model, CHANGES, means=means):
        wanted = run_ours(model, PACKED)
    prune(model, CHANGES, means=means)
    torch.testing.assert_close(run_ours(model, PACKED), wanted, rtol=0, atol=1e-5)
    assert model.blocks[0].attention.qkv.weight.shape == (3 * 4, 16), "one head of 4 dimensions"
    assert model.blocks[0].mlp.up.weight.shape == (20, 16)

    language = decoder()
    ids, mask = PACKED.padded(pad_id=0)
    means = overall_means(language, ["heads", "ffn"], [ids], lambda batch: language(batch, mask.bool()))
    with ablate(language, CHANGES, means=means):
        wanted = language(ids).logits
    prune(language, CHANGES, means=means)
    torch.testing.assert_close(language(ids).logits, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_heads_that_share_keys_stay_in_groups_of_one_size():
    """Two key heads with two query heads each. Of head 0's group both go: one key head of two queries is left. One of each
    group: two key heads of one. One of one group alone: nothing can be smaller, and its output weights are zero."""
    for gone, queries, shared in (((0, 1), 2, 1), ((1, 2), 2, 2), ((1,), 4, 2), ((0, 1, 2, 3), 1, 1)):
        model, *_ = pretrained("llama")
        changes = {"layers.1.heads": {gone: "zero"}}
        with ablate(model, changes):
            wanted = model(**inputs("llama")).last_hidden_state
        prune(model, changes)
        attention = model.layers[1].self_attn
        assert attention.q_proj.weight.shape[0] == 8 * queries
        assert attention.k_proj.weight.shape[0] == attention.v_proj.weight.shape[0] == 8 * shared
        mask = inputs("llama")["attention_mask"].bool()
        given = model(**inputs("llama")).last_hidden_state
        torch.testing.assert_close(given[mask], wanted[mask], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_sink_goes_with_its_head():
    torch.manual_seed(0)
    form = AttentionForm(hidden=12, num_heads=3, remainder="sink")
    model = shaken(DecoderLM(50, 16, [DecoderBlock(16, SharedHeads(16, form, 2), Mlp(16, 24))]))
    ids = torch.tensor([[3, 4, 5, 6]])
    changes = {"layers.0.heads": {(1, 4): "zero"}}  # both query heads of the second key head
    with ablate(model, changes):
        wanted = model(ids).logits
    prune(model, changes)
    assert model.blocks[0].attention.sink.shape == (8,)
    torch.testing.assert_close(model(ids).logits, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_cannot_be_pruned_is_refused_before_anything_changes():
    model = decoder()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cases = [
        ({"layers.0.ffn": {1: "zero"}, "layers.0.residual": {1: "zero"}}, "is the residual stream"),
        ({"layers.0.ffn": {1: "zero"}, "layers.1.ffn": {1: torch.zeros(3, 5)}}, "differ from token to token"),
        ({"layers.0.ffn": {1: "zero"}, "layers.0.heads": {9: "zero"}}, "no 9"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message):
            prune(model, changes)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    from transformers import GptOssConfig, GptOssModel, Olmo2Config, Olmo2Model

    for model, message in (
        (GptOssModel(GptOssConfig(**WORDS, num_key_value_heads=2, num_local_experts=2)), "not known .sinks."),
        (Olmo2Model(Olmo2Config(**WORDS)), "a norm over all heads"),
    ):
        with pytest.raises(ConfigError, match=message):
            prune(model, {"layers.0.heads": {1: "zero"}})
    for name, place in (("modernbert", "ffn"), ("gpt_neox", "heads")):
        with pytest.raises(ConfigError, match="matrices that make its parts are not known"):
            prune(pretrained(name)[0], {f"layers.0.{place}": {1: "zero"}})
