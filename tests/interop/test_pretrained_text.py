"""Embedding models as people use them, tiny and random: the same vectors as sentence-transformers, in and out again."""

import json
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brickwork.api import train as api
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError
from brickwork.core.files import load_tensors
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.load import load_representation

from .pretrained_text import LENGTH, NAMED, OTHERS, SENTENCES, tokenizer, write

transformers = pytest.importorskip("transformers")
sentence_transformers = pytest.importorskip("sentence_transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries
SHAPES = {**NAMED, **OTHERS}


@pytest.fixture(scope="module", params=SHAPES)
def written(request, tmp_path_factory):
    """Name and shape of a model, its folder, their object and ours."""
    folder = tmp_path_factory.mktemp("models") / request.param
    theirs = write(SHAPES[request.param], folder)
    return request.param, SHAPES[request.param], folder, theirs, load_representation(folder)


def vectors_of(model, texts=SENTENCES, **options) -> np.ndarray:
    return model.encode(texts, show_progress_bar=False, normalize_embeddings=True, **options)


def test_vectors_are_theirs(written):
    _, _, _, theirs, ours = written
    assert ours.encoder.max_tokens == LENGTH
    assert_allclose(ours.encode(SENTENCES, precision="fp32"), vectors_of(theirs), atol=1e-5)
    assert_allclose(
        ours.encode(SENTENCES, precision="fp32", batch_size=1), vectors_of(theirs, batch_size=1), atol=1e-5
    )


def test_prompts_are_theirs(written):
    _, shape, _, theirs, ours = written
    query = "query" if "query" in shape.prompts else None
    document = next((name for name in ("document", "passage") if name in shape.prompts), None)
    for role, name in (("query", query), ("document", document)):
        expected = vectors_of(theirs, **({"prompt_name": name} if name else {"prompt": ""}))
        assert_allclose(ours.encode(SENTENCES, role=role, precision="fp32"), expected, atol=1e-5)


def test_fewer_layers_are_transformers_hidden_states(written):
    """Layer k pools hidden state k; where the model has a norm after its last layer, that norm of it."""
    _, shape, _, theirs, ours = written
    body = theirs[0].auto_model
    inputs = theirs.preprocess([shape.prompts.get(shape.default_prompt, "") + text for text in SENTENCES])
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    stack = getattr(body, "encoder", body) if shape.model_type == "t5" else body
    norm = next(
        (getattr(stack, n) for n in ("norm", "final_norm", "final_layer_norm") if hasattr(stack, n)), None
    )
    with torch.no_grad():
        states = body(**inputs, output_hidden_states=True).hidden_states
    for layer in (1, 2):
        with torch.no_grad():
            features = {"token_embeddings": states[layer] if norm is None else norm(states[layer]), **inputs}
            for part in list(theirs)[1:]:
                features = part(features)
        expected = torch.nn.functional.normalize(features["sentence_embedding"], dim=1).numpy()
        assert_allclose(ours.encode(SENTENCES, layers=layer, precision="fp32"), expected, atol=1e-5)


@pytest.mark.parametrize(("dim", "layers"), [(None, None), (7, 2)])
def test_it_goes_out_again(written, tmp_path, dim, layers):
    name, shape, _, _, ours = written
    expected = ours.encode(SENTENCES, dim=dim, layers=layers, precision="fp32")
    folder = export_sentence_transformers(ours, tmp_path / "out", dim=dim, layers=layers)
    again = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert_allclose(vectors_of(again), expected, atol=1e-5)
    assert (again.tokenizer.padding_side == "left") == shape.left
    assert again.prompts.get("query", "") == shape.prompts.get("query", "")
    assert_allclose(load_representation(folder).encode(SENTENCES, precision="fp32"), expected, atol=1e-5)
    depths = [
        n for n in load_tensors(folder / "model.safetensors") if f".{layers or 3}." in n and "Dense" not in n
    ]
    assert not depths, f"{name}: layers that do not run"


def test_it_is_kept_as_our_own(written, tmp_path):
    _, _, _, theirs, ours = written
    kept = load_representation(ours.save(tmp_path / "own"))
    assert kept.fingerprint == ours.fingerprint
    assert_allclose(kept.encode(SENTENCES, precision="fp32"), vectors_of(theirs), atol=1e-5)


def test_rounding_to_bf16_keeps_directions(written):
    _, _, _, theirs, ours = written
    assert (ours.encode(SENTENCES, precision="bf16") * vectors_of(theirs)).sum(1).min() > 0.99


def test_what_is_packed_and_what_is_wrapped(written):
    _, shape, *_, ours = written
    packed = shape.model_type in ("bert", "roberta", "xlm-roberta")
    assert isinstance(ours.encoder.body, Transformer) == packed


def test_truncate_dim_is_the_size_of_the_vectors(tmp_path):
    theirs = write(NAMED["embeddinggemma"], tmp_path / "st")
    settings = json.loads((tmp_path / "st" / "config_sentence_transformers.json").read_text())
    (tmp_path / "st" / "config_sentence_transformers.json").write_text(
        json.dumps({**settings, "truncate_dim": 6})
    )
    ours = load_representation(tmp_path / "st")
    assert ours.axes.full_dim == 6
    assert_allclose(ours.encode(SENTENCES, precision="fp32"), vectors_of(theirs, truncate_dim=6), atol=1e-5)


@pytest.mark.parametrize(
    ("slug", "name"),
    [
        ("matryoshka-2d", "qwen3-embedding"),
        ("matryoshka-2d", "embeddinggemma"),
        ("matryoshka", "embeddinggemma"),
        ("stationary-compat", "qwen3-embedding"),
    ],
)
def test_training_starts_from_it(slug, name, tmp_path):
    write(NAMED[name], tmp_path / "st")
    rows = [
        f"{text} number {i},{text[::-1]} {i},{i % 3}"
        for i, text in enumerate(["table of code", "capital"] * 20)
    ]
    columns = "input,unused,label" if slug == "stationary-compat" else "anchor,positive,unused"
    (tmp_path / "data.csv").write_text("\n".join([columns, *rows]))
    settings = [f"data.source={tmp_path / 'data.csv'}", f"model.encoder.backbone={tmp_path / 'st'}"]
    settings += ["model.encoder.max_tokens=24", "train.steps=3", "train.batch_size=8"]
    settings += [] if slug == "stationary-compat" else ["model.dims=[]"]
    settings += ["model.variant=2dmse"] if slug == "matryoshka-2d" else []  # exits are trained in the steps
    folder = tmp_path / "run"
    api.train(override(api.recipe(slug, "small"), settings), folder)
    before, after = load_representation(tmp_path / "st"), load_representation(folder)
    moved = after.encoder.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in moved.values())
    assert any(not torch.equal(tensor, moved[key]) for key, tensor in before.encoder.state_dict().items())
    assert after.encoder.pooling == before.encoder.pooling
    assert len(after.encoder.dense) == len(before.encoder.dense)
    layers = after.axes.layers[0]
    out = export_sentence_transformers(after, tmp_path / "out", dim=8, layers=layers)
    again = sentence_transformers.SentenceTransformer(str(out), device="cpu", local_files_only=True)
    expected = after.encode(SENTENCES, dim=8, layers=layers, precision="fp32")
    assert_allclose(vectors_of(again), expected, atol=1e-5)


def test_a_hub_id_is_the_same_folder(tmp_path, monkeypatch):
    """As the hub's client keeps it: no file is fetched here."""
    theirs = write(NAMED["bge-m3"], tmp_path / "st")
    repository = tmp_path / "hub" / "models--somebody--tiny-m3"
    shutil.copytree(tmp_path / "st", repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ours = load_representation("somebody/tiny-m3", "main")
    assert_allclose(ours.encode(SENTENCES, precision="fp32"), vectors_of(theirs), atol=1e-5)
    backbone = TextEncoderConfig(backbone="somebody/tiny-m3", revision="main", max_tokens=LENGTH)
    assert build_text_encoder(backbone).pooling == "cls"


@pytest.mark.parametrize(
    ("kind", "name", "pooling"),
    [("Qwen3ForCausalLM", "qwen3-embedding", "last"), ("XLMRobertaForMaskedLM", "bge-m3", "mean")],
)
def test_a_plain_folder_of_transformers(kind, name, pooling, tmp_path, capfd):
    shape = NAMED[name]
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(shape.model_type, **shape.config))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    theirs.max_seq_length = LENGTH
    expected = vectors_of(theirs)
    capfd.readouterr()
    ours = load_representation(tmp_path)
    assert capfd.readouterr() == (
        "",
        "",
    )  # the head of the language model is not wanted, and nothing is said of it
    assert ours.encoder.pooling == pooling
    assert ours.encoder.max_tokens == {"qwen3": 64, "xlm-roberta": LENGTH}[shape.model_type]
    ours.encoder.tokenizer.enable_truncation(LENGTH)
    assert_allclose(ours.encode(SENTENCES, precision="fp32"), expected, atol=1e-5)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        ArtifactError, match=r"only safetensors are read; pytorch_model\.bin would have to be unpickled"
    ):
        load_representation(tmp_path)
