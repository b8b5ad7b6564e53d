"""Folders go to and come from sentence-transformers, with the same vectors to 1e-5."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import load_tensors
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.load import load_representation

from .conftest import TEXTS, tiny

sentence_transformers = pytest.importorskip("sentence_transformers")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning"),
]


def theirs(folder) -> np.ndarray:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode(TEXTS, show_progress_bar=False)


@pytest.mark.parametrize(("dim", "layers"), [(None, None), (96, 3), (24, 1)])
def test_export_of_minilm(minilm, tmp_path, dim, layers):
    folder = export_sentence_transformers(minilm, tmp_path / "st", dim=dim, layers=layers)
    assert_allclose(theirs(folder), minilm.encode(TEXTS, dim=dim, layers=layers, precision="fp32"), atol=1e-5)
    # The deeper layers are not in the file.
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == (layers or 6)


@pytest.mark.parametrize(("dim", "layers"), [(None, None), (8, 1)])
def test_export_of_our_own_shapes(any_tiny, tmp_path, dim, layers):
    if getattr(any_tiny.encoder.body, "arguments", {}).get("norm") == "pre":
        with pytest.raises(ArtifactError, match="no equal in sentence-transformers"):
            export_sentence_transformers(any_tiny, tmp_path / "st")
        assert not (tmp_path / "st").exists()
        return
    folder = export_sentence_transformers(any_tiny, tmp_path / "st", dim=dim, layers=layers)
    assert_allclose(
        theirs(folder), any_tiny.encode(TEXTS, dim=dim, layers=layers, precision="fp32"), atol=1e-5
    )


def test_a_model_that_is_not_bert(tmp_path):
    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.hub import HubTransformer
    from brickwork.encoders.text import TextEncoder
    from brickwork.representation.model import Representation

    small = tiny()
    size = small.encoder.body.arguments["vocab_size"]
    config = {"model_type": "distilbert", "vocab_size": size, "dim": 16, "n_layers": 3, "n_heads": 2}
    body = HubTransformer(config={**config, "hidden_dim": 24, "max_position_embeddings": 64})
    encoder = TextEncoder(body, small.encoder.tokenizer, max_tokens=48).eval()
    model = Representation(encoder, ElasticAxes(dims=(8, 16), layers=(1, 3)))
    expected = model.encode(TEXTS, precision="fp32")
    assert_allclose(theirs(export_sentence_transformers(model, tmp_path / "st")), expected, atol=1e-5)
    assert_allclose(load_representation(tmp_path / "st").encode(TEXTS, precision="fp32"), expected, atol=1e-6)
    assert_allclose(
        load_representation(model.save(tmp_path / "own")).encode(TEXTS, precision="fp32"), expected, atol=1e-6
    )
    assert (model.encode(TEXTS, precision="bf16") * expected).sum(1).min() > 0.999
    cut = export_sentence_transformers(model, tmp_path / "cut", dim=8, layers=1)
    assert_allclose(theirs(cut), model.encode(TEXTS, dim=8, layers=1, precision="fp32"), atol=1e-5)
    assert not any("layer.1." in name for name in load_tensors(cut / "model.safetensors"))


def test_import_of_minilm_and_back(minilm_folder, tmp_path):
    model = load_representation(minilm_folder)
    assert (model.axes.full_dim, model.axes.num_layers, model.encoder.max_tokens) == (384, 6, 256)
    ours = model.encode(TEXTS, precision="fp32")
    assert_allclose(ours, theirs(minilm_folder), atol=1e-5)
    again = load_representation(export_sentence_transformers(model, tmp_path / "st"))
    assert_allclose(again.encode(TEXTS, precision="fp32"), ours, atol=1e-6)


def test_import_of_a_folder_that_sentence_transformers_wrote(tmp_path):
    # Written by the library from its own parts, so nothing of our export is assumed.
    source = export_sentence_transformers(tiny(), tmp_path / "ours")
    model = sentence_transformers.SentenceTransformer(str(source), device="cpu", local_files_only=True)
    model.save(str(tmp_path / "theirs"), create_model_card=False)
    results = load_representation(tmp_path / "theirs").encode(TEXTS, precision="fp32")
    assert_allclose(results, model.encode(TEXTS, show_progress_bar=False), atol=1e-5)


@pytest.mark.parametrize("padding", [True, False])
def test_import_of_a_static_embedding(tmp_path, padding):
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [
        "what",
        "is",
        "the",
        "capital",
        "of",
        "paris",
        "a",
        "one",
        "[UNK]",
        *(["[PAD]"] if padding else []),
    ]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = np.random.default_rng(0).standard_normal((len(words), 16)).astype(np.float32)
    model = sentence_transformers.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu"
    )
    model.save(str(tmp_path / "static"), create_model_card=False)
    ours = load_representation(tmp_path / "static")
    assert_allclose(
        ours.encode(TEXTS, normalize=False), model.encode(TEXTS, show_progress_bar=False), atol=1e-6
    )
    assert not ours.encode([""]).any()


def test_a_chain_with_unknown_parts_is_refused(minilm_folder, tmp_path):
    parts = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_CNN", "type": "sentence_transformers.models.CNN"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(ArtifactError, match="Pooling → CNN; what can be loaded"):
        load_representation(tmp_path)
    parts[0]["path"] = "../elsewhere"
    (tmp_path / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(ArtifactError, match="outside its folder"):
        load_representation(tmp_path)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="not empty"):
        export_sentence_transformers(tiny(), tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["letter.txt"]
