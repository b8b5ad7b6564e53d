"""Causal language models of transformers and ours, behind one contract; tiny random ones against transformers itself."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import CausalLM
from brickwork.encoders.causal_lm import HubCausalLM, load_causal_lm
from brickwork.modules.decoders import AttentionForm, DecoderBlock, DecoderLM, SharedHeads
from brickwork.modules.sampling import continue_text

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own

COMMON = {
    "vocab_size": 259,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "bos_token_id": 257,
    "eos_token_id": 258,
    "pad_token_id": 256,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 4}
MODELS = {
    "llama": {**COMMON, **GROUPED},
    "qwen3": {**COMMON, **GROUPED, "tie_word_embeddings": True},
    "gemma2": {**COMMON, **GROUPED, "sliding_window": 4, "final_logit_softcapping": 0.5},
    "phi": COMMON,
    "olmo2": {**COMMON, **GROUPED},
    "gpt2": {
        **{name: COMMON[name] for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")},
        **{"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64},
    },
    "opt": {**COMMON, "ffn_dim": 24, "word_embed_proj_dim": 16},
}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11]])


def byte_tokenizer() -> Tokenizer:
    """One token a byte, and padding, start and end."""
    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<start>", "<end>"])
    return tokenizer


def write_folder(folder, model_type, **options):
    """A random checkpoint as transformers writes it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **MODELS[model_type])).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # fresh norms are all the same
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, **options)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def language(folder):
    return load_causal_lm(folder)


@torch.no_grad()
def test_logits_and_hidden_states_are_those_of_transformers(folder, language):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()(IDS, output_hidden_states=True)
    ours = language(IDS, with_hidden=True)
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=1e-5)
    assert len(ours.hidden) == language.num_layers + 1
    for hidden, expected in zip(ours.hidden, theirs.hidden_states, strict=True):
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(language.head(ours.hidden[-1]), ours.logits, atol=1e-5, rtol=1e-5)
    assert language(IDS).hidden == ()
    assert isinstance(language, CausalLM)
    assert (language.width, language.num_layers, language.num_heads) == (16, 2, 4)
    assert language.num_kv_heads == MODELS[language.model.config.model_type].get("num_key_value_heads", 4)


@torch.no_grad()
def test_token_vectors_and_caches_give_what_ids_give(language):
    whole = language(IDS).logits
    torch.testing.assert_close(
        language(inputs_embeds=language.embed(IDS)).logits, whole, atol=1e-5, rtol=1e-5
    )
    before = language(IDS[:, :4])
    after = language(IDS[:, 4:], cache=before.cache).logits
    torch.testing.assert_close(after, whole[:, 4:], atol=1e-5, rtol=1e-5)
    step = language(IDS[:, 4:5], cache=before.cache).logits  # the cache is as it was
    torch.testing.assert_close(step, whole[:, 4:5], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing_at_either_end(language):
    whole = language(IDS).logits
    pads = torch.full((1, 3), 256)
    right = torch.cat([IDS, pads], 1)
    mask = right != 256
    torch.testing.assert_close(language(right, mask).logits[:, :7], whole, atol=1e-5, rtol=1e-5)
    left, mask = torch.cat([pads, IDS], 1), torch.cat([pads, IDS], 1) != 256
    torch.testing.assert_close(language(left, mask).logits[:, 3:], whole, atol=1e-5, rtol=1e-5)
    cache = language(left[:, :7], mask[:, :7]).cache
    torch.testing.assert_close(language(left[:, 7:], mask, cache).logits, whole[:, 4:], atol=1e-5, rtol=1e-5)


def test_greedy_continuations_are_those_of_transformers(language):
    how = {"max_tokens": 8, "top_k": 0, "generator": generator_for(0, 0, "x")}
    ours = continue_text(language, IDS[0].tolist(), temperature=0.0, stop=language.end_ids, **how)
    theirs = language.model.generate(IDS, max_new_tokens=8, do_sample=False)[0, 7:].tolist()
    assert ours == [token for token in theirs if token not in language.end_ids]


def test_draws_follow_the_seed(language):
    def draw(seed):
        how = {"max_tokens": 12, "temperature": 1.0, "top_k": 50}
        return continue_text(language, [5, 6], generator=generator_for(seed, 0, "x"), **how)

    assert draw(1) == draw(1) != draw(2)


@torch.no_grad()
def test_ours_has_the_same_contract():
    form = AttentionForm(hidden=8, num_heads=2)
    from brickwork.encoders.blocks.mlp import Mlp

    torch.manual_seed(0)
    blocks = [DecoderBlock(8, SharedHeads(8, form, 2), Mlp(8, 16)) for _ in range(2)]
    ours = DecoderLM(20, 8, blocks, byte_tokenizer()).eval()
    assert isinstance(ours, CausalLM)
    assert (ours.num_layers, ours.num_heads, ours.num_kv_heads, ours.width) == (2, 4, 2, 8)
    out = ours(IDS, with_hidden=True)
    assert len(out.hidden) == 3
    torch.testing.assert_close(ours.head(out.hidden[-1]), out.logits)
    torch.testing.assert_close(ours(inputs_embeds=ours.embed(IDS)).logits, out.logits)
    cached = ours(IDS[:, 4:], cache=ours(IDS[:, :4]).cache).logits
    torch.testing.assert_close(cached, out.logits[:, 4:])
    padded = torch.cat([IDS, torch.zeros(1, 2, dtype=torch.int64)], 1)
    torch.testing.assert_close(ours(padded, torch.arange(9)[None] < 7).logits[:, :7], out.logits)
    with pytest.raises(ConfigError, match="ids or inputs_embeds"):
        ours()


def test_a_description_makes_the_same_model(language):
    again = HubCausalLM(config=language.arguments["config"], tokenizer=byte_tokenizer())
    again.load_state_dict(language.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, language(IDS).logits)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("several"), "llama", max_shard_size="6KB")


def test_weights_in_several_files(llama):
    assert len(list(llama.glob("*.safetensors"))) > 1
    assert load_causal_lm(llama).tokenizer.encode("hi").ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "reads in both directions|do not fit"),
        ({"model_type": "t5"}, "no causal language model"),
        ({"model_type": "vit"}, "no causal language model"),
        ({"model_type": "of-my-own"}, "not known to the installed transformers"),
        ({"hidden_size": 32}, "was refused"),
    ],
)
def test_what_is_no_causal_model_is_refused(llama, tmp_path, change, message):
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ArtifactError, match=message):
        load_causal_lm(tmp_path)


@pytest.fixture
def copy(llama, tmp_path):
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("named", ["index", "config"])
def test_a_pickle_that_another_file_names_is_never_opened(copy, named, monkeypatch):
    """transformers opens what the index of shards or config.json names, by its ending."""
    from safetensors.torch import load_file

    parts = sorted(copy.glob("*.safetensors"))
    torch.save({k: v for part in parts for k, v in load_file(part).items()}, copy / "pytorch_model.bin")
    if named == "index":
        index = copy / "model.safetensors.index.json"
        values = json.loads(index.read_text())
        values["weight_map"] = dict.fromkeys(values["weight_map"], "pytorch_model.bin")
        index.write_text(json.dumps(values))
    else:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, "transformers_weights": "pytorch_model.bin"}))

    def opened(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(torch, "load", opened)
    with pytest.raises(ArtifactError, match=r"names .*pytorch_model\.bin.*only .*are read"):
        load_causal_lm(copy)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/elsewhere.safetensors"])
def test_shards_lie_in_the_folder(copy, name):
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    with pytest.raises(ArtifactError, match="only safetensors in the same folder"):
        load_causal_lm(copy)


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_damaged_shard_is_named(copy, left):
    shard = min(copy.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:left])
    with pytest.raises(ArtifactError, match=f"{shard.name} was refused"):
        load_causal_lm(copy)


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 0}, {"num_attention_heads": "2"}, {"hidden_size": [16]}]
)
def test_a_description_with_wrong_values_is_one_clear_error(copy, change):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ArtifactError, match="was refused"):
        load_causal_lm(copy)


def test_a_tokenizer_of_another_model_is_refused(copy):
    words = {f"w{i}": i for i in range(1000)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(copy / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="tokenizer has 1,000 tokens and its weights"):
        load_causal_lm(copy)


def test_without_safetensors_or_as_encoder_it_is_refused(llama, tmp_path):
    (tmp_path / "config.json").write_bytes((llama / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin would have to be unpickled"):
        load_causal_lm(tmp_path)
    with pytest.raises(ArtifactError, match="no language model"):
        load_causal_lm("scratch")
    with pytest.raises(ArtifactError, match="not a folder"):
        load_causal_lm(tmp_path / "absent")
    from transformers import BertConfig, BertLMHeadModel

    small = {"vocab_size": 259, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertLMHeadModel(BertConfig(**small, intermediate_size=8)).save_pretrained(tmp_path)
    byte_tokenizer().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ArtifactError, match="reads in both directions"):
        load_causal_lm(tmp_path)
