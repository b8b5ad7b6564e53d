"""Models of transformers that are not BERT: early exit against a model built with fewer layers."""

import json

import pytest
import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import load_tensors, save_tensors
from brickwork.core.types import TokenBatch
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.text_folder import load_text_folder

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own

SIZES = {"vocab_size": 400, "max_position_embeddings": 40}
COMMON = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
MODELS = {
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
    "roberta": COMMON,
    "modernbert": {**COMMON, "pad_token_id": 0},  # a norm after the last layer only
    "qwen3": {**COMMON, "num_key_value_heads": 1, "head_dim": 8},  # causal, and such a norm
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 3,
        "num_heads": 2,
    },  # the encoder of an encoder-decoder
}
NORMS = {"modernbert": "final_norm", "qwen3": "norm", "t5": "encoder.final_layer_norm"}


def make(model_type: str, **changes) -> HubTransformer:
    torch.manual_seed(0)
    encoder = HubTransformer(
        config={"model_type": model_type, **SIZES, **MODELS[model_type], **changes}
    ).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():  # fresh norms are all the same
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


@pytest.fixture
def tokens():
    return TokenBatch.from_lists([[5, 6, 7], [8, 9, 10, 11, 12], [13]])


@pytest.mark.parametrize("model_type", MODELS)
def test_early_exit_is_a_model_with_fewer_layers(model_type, tokens):
    encoder = make(model_type)
    ids, mask = tokens.padded(0)
    depth = {"distilbert": "n_layers", "t5": "num_layers"}.get(model_type, "num_hidden_layers")
    exits = encoder(tokens, [0, 1, 2, 3])
    for layers in (1, 2, 3):
        shallow = make(model_type, **{depth: layers})
        result = shallow.load_state_dict(encoder.state_dict(), strict=False)
        assert not result.missing_keys
        with torch.no_grad():
            expected = shallow.model(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
        torch.testing.assert_close(exits[layers], expected)
        torch.testing.assert_close(encoder(tokens, [layers])[layers], expected)
        torch.testing.assert_close(encoder.forward_padded(ids, mask, layers)[mask.bool()], expected)
    with torch.no_grad():
        full = encoder.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        norm = encoder.model.get_submodule(NORMS[model_type]) if model_type in NORMS else torch.nn.Identity()
        expected = norm(full.hidden_states[0])[mask.bool()]
    torch.testing.assert_close(exits[0], expected)
    torch.testing.assert_close(encoder(tokens, [0])[0], expected)
    shallow = make(model_type, **{depth: 1})
    shallow.load_state_dict(encoder.state_dict(), strict=False)
    torch.testing.assert_close(shallow(tokens, [0, 1])[0], expected)


def test_the_shallow_view_shares_every_weight(tokens):
    encoder = make("modernbert")
    encoder(tokens, [1])[1].square().sum().backward()
    with_gradient = {n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("layers.0." in n for n in with_gradient)
    assert not any("layers.1." in n for n in with_gradient)
    assert encoder.num_layers == 3


def test_texts_do_not_disturb_each_other(tokens):
    encoder = make("roberta")
    rows = encoder(tokens, [3])[3].split(tokens.lengths.tolist())
    torch.testing.assert_close(encoder(tokens.slice(2, 3), [3])[3], rows[2])


def test_flops_count_the_matrices_of_the_layers():
    encoder = make("roberta")
    per_layer = 4 * 16 * 16 + 2 * 16 * 24
    assert encoder.flops([3, 5], 2) == 2 * (2 * 8 * per_layer + 4 * (9 + 25) * 16)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bart"}, "'bart' is an encoder-decoder, and .* no class for its encoder alone"),
        (
            {"model_type": "vit", "image_size": 16, "patch_size": 4, **SIZES},
            "'vit' reads pixel_values, not texts",
        ),
        ({"model_type": "resnet", "hidden_sizes": [4, 8], "depths": [1, 1]}, "'resnet' reads pixel_values"),
        (
            {"model_type": "clip", "text_config": SIZES, "vision_config": SIZES},
            "'clip' has no hidden_size and no num_hidden_layers but parts of its own .*choose an encoder of texts",
        ),
        ({"model_type": "made_up"}, "'made_up' is not known"),
        ({"model_type": "albert", "embedding_size": 8, **SIZES, **COMMON}, "layers of a 'albert'"),
    ],
)
def test_models_that_cannot_be_used(config, message):
    with pytest.raises(ArtifactError, match=message):
        HubTransformer(config=config)


@pytest.fixture
def folder(tmp_path, small_encoder):
    """A Hugging Face folder of a DistilBERT with a tokenizer."""
    model = make("distilbert")
    model.model.save_pretrained(tmp_path)
    small_encoder.tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_loaded_from_a_folder_and_rebuilt(folder, tokens):
    encoder = build_text_encoder(TextEncoderConfig(backbone=str(folder), max_tokens=20)).eval()
    torch.testing.assert_close(encoder.body(tokens, [2])[2], make("distilbert")(tokens, [2])[2])
    rebuilt = TextEncoder.from_architecture(encoder.architecture(), encoder.tokenizer.to_str()).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    assert torch.equal(rebuilt(tokens, [3])[3], encoder(tokens, [3])[3])


def test_first_layers_of_a_folder(folder, tokens):
    encoder = build_text_encoder(TextEncoderConfig(backbone=str(folder), max_tokens=20, num_layers=2)).eval()
    assert encoder.num_layers == 2
    torch.testing.assert_close(encoder.body(tokens, [2])[2], make("distilbert")(tokens, [2])[2])
    rebuilt = TextEncoder.from_architecture(encoder.architecture(), encoder.tokenizer.to_str())
    rebuilt.load_state_dict(encoder.state_dict())


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_named(folder, change):
    state = load_tensors(folder / "model.safetensors")
    name = next(n for n in state if n.endswith("layer.1.ffn.lin1.bias"))
    tensor = state.pop(name)
    if change == "unexpected":
        state[name] = tensor
        name = "transformer.adapter.weight"
        state[name] = torch.zeros(2)
    save_tensors(folder / "model.safetensors", state, {"format": "pt"})
    with pytest.raises(ArtifactError, match=rf"{change} \['{name}'\]"):
        load_text_folder(folder)


def test_a_pickled_checkpoint_is_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"only safetensors are read"):
        load_text_folder(folder)


def test_dropout_of_a_hub_model_is_its_own(folder):
    with pytest.raises(ConfigError, match="dropout has no effect"):
        build_text_encoder(TextEncoderConfig(backbone=str(folder), max_tokens=20, dropout=0.1))


def test_a_tokenizer_with_code_of_its_own_is_read_without_it(folder):
    settings = {"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": ["odd.OddTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "[SEP]"}))
    (folder / "odd.py").write_text("raise SystemExit('ran')")
    encoder = load_text_folder(folder)
    assert encoder.tokenizer.get_vocab_size() <= 400
    assert encoder.marks["eos_token"] == "[SEP]"
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not a tokenizer"):
        load_text_folder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"no tokenizer\.json and none could be made"):
        load_text_folder(folder)
