"""Recording and ablation by name, on tiny random models of every shape, against weights that are edited by hand,
transformers' own attention maps and values, and loops over texts."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, models

from brickwork.core.errors import ConfigError
from brickwork.core.framing import Framing
from brickwork.core.types import TokenBatch
from brickwork.encoders.hub_causal import HubCausalLM
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.preprocessing import Preprocessing
from brickwork.modules.ablation import ablate
from brickwork.modules.adapters import inject_lora
from brickwork.modules.places import find_places
from brickwork.modules.recorder import Recorder, _Rows, overall_means, tap
from sample_transformers import (
    MODELS,
    PACKED,
    SIZES,
    T5,
    WORDS,
    blocks_of,
    decoder,
    inputs,
    ours,
    pretrained,
    run_ours,
    shaken,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_parts_add_up_to_what_the_halves_of_transformers_give(name):
    model, attention, feed_forward = pretrained(name)
    halves = [blocks_of(model)[1].get_submodule(path) for path in (attention, feed_forward)]
    with (
        Recorder(model, ["heads", "ffn", "residual"]) as record,
        tap(halves[0], output=True) as attended,
        tap(halves[1], output=True) as fed,
    ):
        out = model(**inputs(name), output_hidden_states=True)
    exists = record.mask
    heads, neurons = record["layers.1.heads"], record["layers.1.ffn"]
    places = record.places
    bias = places["layers.1.heads"].module.bias
    summed = heads.sum(2) + (0 if bias is None else bias)
    assert heads.shape[2] == 4
    assert neurons.shape[-1] == (64 if name == "dinov2" else 24)
    torch.testing.assert_close(summed[exists], attended[0][exists], rtol=0, atol=1e-5)
    bias = places["layers.1.ffn"].module.bias
    summed = neurons @ places["layers.1.ffn"].weight()[:, 0] + (0 if bias is None else bias)
    given = fed[0].view(*summed.shape[:2], -1)
    torch.testing.assert_close(summed[exists], given[exists], rtol=0, atol=1e-5)
    stream = record["layers.0.residual"]
    torch.testing.assert_close(stream[exists], out.hidden_states[1][exists], rtol=0, atol=1e-5)
    assert not heads[~exists].any()


@pytest.mark.parametrize("name", ["bert", "llama", "qwen3", "gpt2"])
@torch.no_grad()
def test_each_head_is_the_one_of_its_attention_map(name):
    """From transformers' own maps and values: Σ_j a_ij v_j through the head's rows of the output weights."""
    model, *_ = pretrained(name)
    block = blocks_of(model)[1]
    source = {"bert": "attention.self.value", "gpt2": "attn.c_attn"}.get(name, "self_attn.v_proj")
    with tap(block.get_submodule(source), output=True) as projected, Recorder(model) as record:
        out = model(**inputs(name), output_attentions=True)
    maps = out.attentions[1]
    values = projected[0][..., -16:]  # of one projection for all three, the last third
    values = values.unflatten(-1, (-1, record.places["layers.1.heads"].size))
    for head in range(4):
        mixed = torch.einsum("bts,bsd->btd", maps[:, head], values[:, :, head * values.shape[2] // 4])
        wanted = mixed @ record.places["layers.1.heads"].weight()[head]
        given = record.part("layers.1.heads", head)
        torch.testing.assert_close(given[record.mask], wanted[record.mask], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_ablation_by_zero_is_a_model_whose_output_weights_are_zero(name):
    model, *_ = pretrained(name)
    place = find_places(model)
    edited = copy.deepcopy(model)
    heads = find_places(edited)["layers.0.heads"]
    heads.weight()[2] = 0  # a view of the weights
    find_places(edited)["layers.1.ffn"].weight()[[3, 7]] = 0
    changes = {"layers.0.heads": {2: "zero"}, "layers.1.ffn": {(3, 7): "zero"}}
    with ablate(model, changes):
        given = model(**inputs(name)).last_hidden_state
    assert place["layers.0.heads"].parts == 4
    plain = model(**inputs(name)).last_hidden_state
    torch.testing.assert_close(given, edited(**inputs(name)).last_hidden_state, rtol=0, atol=1e-5)
    assert not torch.allclose(given, plain, atol=1e-4), "and nothing of it stays when the context ends"


@pytest.mark.parametrize("norm", ["post", "pre"])
@torch.no_grad()
def test_our_encoder_records_packed_texts_as_each_text_alone(norm):
    model = ours(norm)
    alone = [TokenBatch.from_lists([ids.tolist()]) for ids in PACKED.ids.split(PACKED.lengths.tolist())]
    for positions in ("all", "mean", "last", "overall"):
        with Recorder(model, ["heads", "ffn", "residual"], positions=positions) as record:
            model(PACKED, [2])
        with Recorder(model, ["heads", "ffn", "residual"], positions=positions) as apart:
            for text in alone:
                model(text, [2])
        for name in record.names():
            torch.testing.assert_close(record[name], apart[name], rtol=0, atol=1e-5)
    with tap(model.blocks[1].attention, output=True) as attended, Recorder(model) as record:
        model(PACKED, [2])
    summed = record["layers.1.heads"].sum(2) + model.blocks[1].attention.out.bias
    torch.testing.assert_close(summed[record.mask], attended[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_reductions_are_those_of_a_loop_over_texts():
    model = decoder()
    ids, mask = PACKED.padded(pad_id=0)
    mask = mask.bool()
    with Recorder(model, "ffn") as every:
        model(ids, mask)
    rows = [every["layers.1.ffn"][text, : int(n)] for text, n in enumerate(PACKED.lengths)]
    wanted = {
        "mean": torch.stack([row.mean(0) for row in rows]),
        "last": torch.stack([row[-1] for row in rows]),
        "overall": torch.cat(rows).mean(0),
    }
    for positions, value in wanted.items():
        with Recorder(model, "ffn", positions=positions) as record:
            model(ids[:1], mask[:1])
            model(ids[1:], mask[1:])
        torch.testing.assert_close(record["layers.1.ffn"], value, rtol=0, atol=1e-6)
    given = overall_means(model, "ffn", [(ids, mask)], lambda batch: model(*batch))
    torch.testing.assert_close(given["layers.1.ffn"][:, 0], wanted["overall"], rtol=0, atol=1e-6)


@torch.no_grad()
def test_padding_on_the_left_and_texts_without_tokens():
    model = decoder()
    ids = torch.tensor([[0, 0, 4, 5], [1, 2, 3, 4], [0, 0, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    with (
        Recorder(model, "residual", pad=mask) as every,
        Recorder(model, "residual", positions="last", pad=mask) as last,
        Recorder(model, "residual", positions="mean", pad=mask) as mean,
    ):
        model(ids)
    stream = every["layers.0.residual"]
    torch.testing.assert_close(last["layers.0.residual"][:2], stream[:2, -1])
    torch.testing.assert_close(mean["layers.0.residual"][0], stream[0, 2:].mean(0))
    assert not last["layers.0.residual"][2].any()
    assert not mean["layers.0.residual"][2].any()


@pytest.mark.parametrize("packed", [True, False])
@torch.no_grad()
def test_values_of_another_run_put_back_give_that_run(packed):
    """Activation patching: with the donor's stream after the last layer, the donor's states; with the own heads, the own."""
    model = ours()
    other = TokenBatch(PACKED.ids.flip(0), PACKED.lengths, PACKED.max_length)
    pad = None if packed else PACKED.padded(0)[1]
    with Recorder(model, ["heads", "ffn", "residual"], pad=pad) as donor:
        wanted = run_ours(model, other, packed)
    with Recorder(model, ["heads"], pad=pad) as record:
        plain = run_ours(model, PACKED, packed)
    with ablate(model, {"layers.1.residual": donor["layers.1.residual"]}, pad=pad):
        torch.testing.assert_close(run_ours(model, PACKED, packed), wanted, rtol=0, atol=1e-5)
    with ablate(model, {"layers.0.heads": {2: record.part("layers.0.heads", 2)}}, pad=pad):
        torch.testing.assert_close(run_ours(model, PACKED, packed), plain, rtol=0, atol=1e-5)
    before, after = donor.inputs("layers.0.heads"), donor["layers.0.heads"]
    results = []
    for values in (before, after):
        with ablate(model, {"layers.0.heads": {1: values[:, :, 1], (0, 3): values[:, :, [0, 3]]}}, pad=pad):
            results.append(run_ours(model, PACKED, packed))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-5)
    assert not torch.allclose(results[0], plain, atol=1e-3)


@torch.no_grad()
def test_ablation_by_mean_is_the_mean_in_the_bias():
    model = decoder()
    ids, mask = PACKED.padded(pad_id=0)
    means = overall_means(model, ["heads", "ffn"], [(ids, mask.bool())], lambda batch: model(*batch))
    edited = copy.deepcopy(model)
    places = find_places(edited)
    heads, neurons = places["layers.0.heads"], places["layers.1.ffn"]
    moved = means["layers.0.heads"][1] @ heads.weight()[1]
    heads.module.bias = torch.nn.Parameter(moved)
    heads.weight()[1] = 0
    neurons.module.bias.data += means["layers.1.ffn"][4] @ neurons.weight()[4]
    neurons.weight()[4] = 0
    with ablate(model, {"layers.0.heads": {1: "mean"}, "layers.1.ffn": {4: "mean"}}, means=means):
        given = model(ids).logits
    torch.testing.assert_close(given, edited(ids).logits, rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_around_a_model_may_be_given_as_well():
    """Our wrappers of transformers' models and the models inside, the same."""
    from transformers import AutoModelForCausalLM, GPT2Config, ViTConfig

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a"))
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=1)
    language = HubCausalLM.of(AutoModelForCausalLM.from_config(config), words)
    ids, mask = PACKED.padded(pad_id=0)
    with Recorder(language, positions="mean") as outer, Recorder(language.model, positions="mean") as inner:
        language(ids, mask.bool())
    torch.testing.assert_close(outer["layers.1.heads"], inner["layers.1.heads"])

    shape = ViTConfig(**SIZES, image_size=16, patch_size=8).to_dict()
    images = HubImageEncoder(config=shape, preprocessing=Preprocessing(framing=Framing(height=16, width=16)))
    pixels = torch.randn(2, 3, 16, 16)
    with Recorder(images, ["residual"]) as record:
        images(pixels)
    wanted = images.model(pixels, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(record["layers.0.residual"], wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_adapter_on_the_output_weights_counts():
    model = ours()
    inject_lora(model, rank=2, targets="out|down")
    shaken(model)
    with tap(model.blocks[1].attention, output=True) as attended, Recorder(model) as record:
        model(PACKED, [2])
    summed = record["layers.1.heads"].sum(2) + model.blocks[1].attention.out.bias
    torch.testing.assert_close(summed[record.mask], attended[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_mixture_has_no_neurons_of_its_own_and_says_so():
    model = decoder(mixture=True)
    with Recorder(model, ["heads", "ffn", "residual"], positions="mean") as record:
        model(torch.tensor([[1, 2, 3]]))
    assert "layers.0.ffn" in record.names()
    assert "layers.1.ffn" not in record.names()
    assert record["layers.1.residual"].shape == (1, 16)
    with pytest.raises(ConfigError, match=r"this model has no 'layers.1.ffn'"):
        Recorder(model, ["layers.1.ffn"])


def test_bad_names_and_values_are_refused():
    model = decoder()
    with pytest.raises(ConfigError, match=r"has no 'layers.7.heads'.*layers.1.heads"):
        Recorder(model, ["layers.7.heads"])
    with pytest.raises(ConfigError, match="Linear has no stack of layers"):
        Recorder(torch.nn.Linear(2, 2))
    record = Recorder(model, ["heads"])
    with pytest.raises(ConfigError, match="nothing is recorded"):
        record["layers.0.heads"]
    with pytest.raises(ConfigError, match=r"'layers.0.ffn' is not recorded"):
        record["layers.0.ffn"]
    ids = torch.tensor([[1, 2, 3]])
    cases = [
        ({"layers.0.heads": {4: "zero"}}, "has parts 0 to 3, and no 4"),
        ({"layers.0.heads": {1: "median"}}, "'median' is no replacement"),
        ({"layers.0.heads": {1: "mean"}}, "needs means"),
        ({"layers.0.heads": {1: "zero", (0, 1): "zero"}}, "part 1 is replaced twice"),
        ({"layers.0.heads": {1: torch.zeros(5)}}, r"\(1, 16\), what the heads add, or \(1, 4\)"),
        ({"layers.0.ffn": {(1, 2): torch.zeros(3)}}, "do not end in the 2 parts"),
        ({"layers.0.ffn": {1: torch.zeros(1, 7)}}, "do not fit"),
    ]
    for changes, message in cases:
        with pytest.raises(ConfigError, match=message), ablate(model, changes):
            model(ids)
    assert not any(module._forward_pre_hooks for module in model.modules()), "an error leaves no hooks"
    with pytest.raises(ConfigError, match="give pad"), Recorder(ours()) as record:
        record.places["layers.0.heads"].module(torch.zeros(4, 16))


def test_layers_that_run_more_than_once_are_refused():
    from transformers import AlbertConfig, AlbertModel

    model = AlbertModel(AlbertConfig(**WORDS, embedding_size=8))
    with pytest.raises(ConfigError, match="2 layers in 1 modules: it runs some of them more than once"):
        find_places(model)


def test_several_stacks_are_refused_and_one_of_them_is_taken():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**T5)).eval()
    with pytest.raises(ConfigError, match=r"several stacks of layers .encoder.block, decoder.block."):
        find_places(model)
    attention = model.encoder.block[1].layer[0].SelfAttention
    with (
        torch.no_grad(),
        Recorder(model.encoder, ["heads", "ffn"]) as record,
        tap(attention, output=True) as attended,
    ):
        model.encoder(input_ids=torch.tensor([[3, 4, 5]]))
    torch.testing.assert_close(record["layers.1.heads"].sum(2), attended[0], rtol=0, atol=1e-5)
    assert record["layers.1.ffn"].shape == (1, 3, 24)


def test_rows_that_come_a_few_at_a_time_are_kept_in_order_and_in_few_blocks():
    """Against one concatenation; by doubling, blocks are few, and none is larger than 1 MB."""
    sizes = [3, 1, 8, 2, 5, 1, 1, 70, 4] * 12
    rows = torch.randn(sum(sizes), 1000)
    kept = _Rows()
    for some in rows.split(sizes):
        kept.add(some)
    assert torch.equal(torch.cat(kept.blocks()), rows)
    assert len(kept.blocks()) < 20 < len(sizes)
    assert max(map(len, kept.blocks())) * 1000 <= 2**18
    assert _Rows().blocks() == []
