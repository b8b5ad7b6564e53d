"""Building from configurations and folders, and what each kind of damage is told."""

import json

import pytest
import torch
from sample_encoders import TEXTS, build_small

from brickwork.api.backbones import backbone_settings
from brickwork.api.train import recipe
from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.files import save_tensors
from brickwork.encoders.bert import bert_config, to_bert_state_dict
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
from brickwork.encoders.text_folder import load_text_folder


@pytest.fixture
def folder(tmp_path):
    """A SentenceTransformer folder of a small BERT, written by hand."""
    encoder = build_small()
    save_tensors(tmp_path / "model.safetensors", to_bert_state_dict(encoder))
    (tmp_path / "config.json").write_text(json.dumps(bert_config(encoder)))
    encoder.tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_modules(tmp_path)
    return tmp_path


def write_modules(folder, *kinds, pooling=None):
    kinds = kinds or ("Transformer", "Pooling", "Normalize")
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [{"type": f"sentence_transformers.models.{k}", "path": paths.get(k, k)} for k in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_cls_token": True}))


def write_dense(folder, weights="model.safetensors", **changes):
    write_modules(folder, "Transformer", "Pooling", "Dense", "Normalize")
    (folder / "Dense").mkdir()
    settings = {"in_features": 16, "out_features": 4, "bias": False}
    settings |= {"activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "Dense" / "config.json").write_text(json.dumps({**settings, **changes}))
    save_tensors(folder / "Dense" / weights, {"linear.weight": torch.ones(4, 16)})


def test_configuration_round_trip():
    config = TextEncoderConfig(backbone="scratch", width=64, norm="pre")
    assert from_dict(TextEncoderConfig, to_dict(config)) == config
    assert override(config, ["exit_norm=per_layer", "width=32"]).exit_norm == "per_layer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "minilm", "width": 64}, "width has no effect with backbone 'minilm'"),
        ({"backbone": "static", "num_layers": 2}, "num_layers has no effect with backbone 'static'"),
        ({"backbone": "scratch", "revision": "main"}, "revision has no effect"),
        ({"backbone": "scratch", "width": 10, "num_heads": 3}, "not a multiple"),
        ({"backbone": "scratch", "norm": "pre", "exit_norm": "none"}, "without a norm"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"max_tokens": 2}, "at least 3"),
        ({"backbone": "scratch", "vocab_size": 10}, "at least 300"),
    ],
)
def test_configurations_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(TextEncoderConfig, options)


def test_scratch_has_the_shape_asked_for():
    encoder = build_small(width=32, num_heads=4, mlp_width=48, num_layers=2, norm="pre", dropout=0.1)
    arguments = encoder.body.arguments
    expected = {"width": 32, "num_heads": 4, "mlp_width": 48, "num_layers": 2, "max_positions": 16}
    assert {name: arguments[name] for name in expected} == expected
    assert (arguments["norm"], arguments["exit_norm"], arguments["dropout"]) == ("pre", "shared", 0.1)
    assert arguments["vocab_size"] == encoder.tokenizer.get_vocab_size() <= 400


def test_same_seed_same_encoder():
    states = [build_small().state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_kept_tokenizer_is_used_again(tmp_path):
    config = TextEncoderConfig(backbone="scratch", vocab_size=400, width=32)
    first = build_text_encoder(config, TEXTS)
    first.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = build_text_encoder(config, None, assets=tmp_path)
    assert again.tokenizer.to_str() == first.tokenizer.to_str()
    with pytest.raises(DataError, match="needs texts"):
        build_text_encoder(config, None, assets=tmp_path / "empty")


def test_folder_with_its_pooling(folder):
    encoder, original = load_text_folder(folder).eval(), build_small(pooling="cls")
    assert (encoder.pooling, encoder.max_tokens, encoder.num_layers) == ("cls", 16, 3)
    expected = original(original.tokenize(TEXTS), [3])[3]
    torch.testing.assert_close(encoder(encoder.tokenize(TEXTS), [3])[3], expected)


def test_configuration_over_the_folders_own(folder):
    config = TextEncoderConfig(backbone=str(folder), pooling="mean", max_tokens=8, num_layers=2, dropout=0.3)
    encoder = build_text_encoder(config)
    assert (encoder.pooling, encoder.max_tokens, encoder.num_layers) == ("mean", 8, 2)
    assert encoder.body.dropout.p == 0.3


def test_new_style_pooling(folder):
    write_modules(folder, pooling={"pooling_mode": "mean", "embedding_dimension": 16})
    assert load_text_folder(folder).pooling == "mean"
    write_modules(
        folder, pooling={"pooling_mode_mean_sqrt_len_tokens": True, "pooling_mode_cls_token": False}
    )
    assert load_text_folder(folder).pooling == "mean_sqrt_len"


def test_lower_casing_of_the_folder(folder):
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 10, "do_lower_case": true}')
    encoder = load_text_folder(folder)
    assert encoder.max_tokens == 10
    assert torch.equal(encoder.tokenize(["ABC"]).ids, encoder.tokenize(["abc"]).ids)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: write_modules(f, "Transformer", "Pooling", "LSTM"),
            "Transformer → Pooling → LSTM; what can",
        ),
        (
            lambda f: write_modules(f, "Transformer", "Pooling", "Normalize", "Dense"),
            "Normalize → Dense; what can",
        ),
        (lambda f: write_modules(f, "Transformer", "Pooling", "Dense"), r"Dense.config\.json is missing"),
        (lambda f: write_modules(f, "Transformer"), "what can be loaded is Transformer → Pooling"),
        (lambda f: write_modules(f, pooling={"pooling_mode_top_tokens": True}), "pools by top_tokens; only"),
        (
            lambda f: write_modules(f, pooling={"pooling_mode": ["mean", "cls"]}),
            "pools by mean and cls; only one",
        ),
        (lambda f: write_dense(f, activation_function="custom.Sine"), r"Dense.*activation custom\.Sine"),
        (lambda f: write_dense(f, in_features=7), "Dense takes 7 dimensions and is given 16"),
        (lambda f: write_dense(f, bias=True), r"Dense.model\.safetensors does not fit its config"),
        (
            lambda f: write_dense(f, module_input_name="token_embeddings"),
            "only a Dense of the sentence's vector",
        ),
        (lambda f: write_dense(f, use_residual=True), "use_residual, which cannot be loaded"),
        (
            lambda f: write_dense(f, weights="pytorch_model.bin"),
            r"Dense.*only safetensors.*; pytorch_model\.bin would have",
        ),
        (
            lambda f: (f / "modules.json").write_text('[{"type": "custom_st.Transformer", "path": ""}]'),
            r"custom_st\.Transformer, which is code of the model's own",
        ),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "only safetensors are read"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "an adapter .PEFT. beside its model; merge"),
        (
            lambda f: (f / "sentence_bert_config.json").write_text('{"transformer_task": "fill-mask"}'),
            "the task 'fill-mask', which cannot be loaded",
        ),
        (
            lambda f: (f / "sentence_bert_config.json").write_text('{"config_args": {"is_decoder": true}}'),
            "asks for is_decoder, which cannot be loaded",
        ),
        (lambda f: (f / "modules.json").write_text("[3]"), r"modules\.json is malformed"),
        (lambda f: (f / "config.json").write_text("[3]"), r"config\.json is not a model's"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "lacks .*hidden_size"),
        (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04\x95" + b"\xff" * 60), "pickle"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer\.json is missing"),
        (
            lambda f: (f / "modules.json").write_text(
                '[{"type": "Transformer", "path": "../x"}, {"type": "Pooling", "path": "1_Pooling"}]'
            ),
            "outside its folder",
        ),
    ],
)
def test_damaged_folders(folder, damage, message):
    damage(folder)
    with pytest.raises(ArtifactError, match=message):
        load_text_folder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 4}, "num_layers=4 is more than the 3"),
        ({"max_tokens": 17}, "max_tokens=17 is more than the 16"),
        ({"max_tokens": 16, "revision": "main"}, "revision has no effect with the folder"),
    ],
)
def test_asking_a_folder_for_too_much(folder, options, message):
    with pytest.raises(ConfigError, match=message):
        build_text_encoder(TextEncoderConfig(backbone=str(folder), **options))


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_path_that_is_no_folder(name):
    with pytest.raises(ArtifactError, match="is not a folder"):
        build_text_encoder(TextEncoderConfig(backbone=name))


@pytest.mark.parametrize("name", ["nobody/nothing-here", "not a name"])
def test_a_hub_model_that_cannot_be_fetched(name):
    with pytest.raises(
        ArtifactError, match=r"neither a folder here nor a model.*minilm, smollm2-135m, scratch, static"
    ):
        build_text_encoder(TextEncoderConfig(backbone=name))


def test_only_post_norm_can_be_written_as_bert():
    with pytest.raises(ConfigError, match="post-norm"):
        to_bert_state_dict(build_small(norm="pre"))
    with pytest.raises(ConfigError, match="static"):
        bert_config(build_small(backbone="static", num_heads=None, num_layers=None))


def test_training_takes_the_prompts_of_the_folder(folder):
    """Those of queries and documents, and one that is wanted everywhere."""
    settings = folder / "config_sentence_transformers.json"
    config = TextEncoderConfig(backbone=str(folder), max_tokens=16)
    settings.write_text(
        '{"prompts": {"query": "query: ", "passage": "passage: ", "document": ""}, "default_prompt_name": "query"}'
    )
    encoder = build_text_encoder(config)
    prompts = {"anchor": "query: ", "positive": "passage: ", "negative": "passage: ", "input": "query: "}
    for column, prompt in prompts.items():
        ids = encoder.collate({column: ["a text"]})[column].ids
        assert torch.equal(ids, encoder.tokenize([f"{prompt}a text"]).ids)
    # As sentence-transformers writes it of a model that has none.
    settings.write_text('{"prompts": {"query": "", "document": ""}}')
    assert not build_text_encoder(config).prompts
    settings.write_text('{"default_prompt_name": "q"}')
    with pytest.raises(ArtifactError, match="names one that it does not have"):
        load_text_folder(folder, config)


def test_a_recipe_reads_no_more_tokens_than_the_model_that_is_given(folder):
    """The 256 tokens of the recipe are those of its own model; what is set by hand is still refused."""
    run = recipe("matryoshka-2d")
    assert run.model.encoder.max_tokens == 256
    given = override(run, backbone_settings(run, [str(folder)]))
    assert (given.model.encoder.backbone, given.model.encoder.max_tokens) == (str(folder), 16)
    assert build_text_encoder(given.model.encoder).max_tokens == 16
    own = override(given, ["model.encoder.max_tokens=17"])
    with pytest.raises(ConfigError, match="max_tokens=17 is more than the 16"):
        build_text_encoder(own.model.encoder)
