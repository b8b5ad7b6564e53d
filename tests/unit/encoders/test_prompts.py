"""Prompts, truncate_dim and weights in several files, as sentence-transformers and transformers write them."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

import brickwork
from brickwork.core.errors import ArtifactError
from brickwork.data.types import Document, RetrievalSet
from brickwork.encoders.build import minilm_package_folder
from brickwork.encoders.prompts import Prompts
from brickwork.evaluation import grid
from brickwork.evaluation.grid import evaluate_grid
from brickwork.index.build import build_index
from brickwork.index.encoding import encode_documents, encode_queries
from brickwork.representation.mteb_adapter import MtebEncoder
from brickwork.representation.nearest import top_k

TEXTS = ["how do I resume a run?", "A run is resumed from its newest checkpoint.", "rivers and bridges"]
PROMPTS = {"query": "query: ", "passage": "passage: ", "cluster": "Identify the topic: "}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The first layer of MiniLM as a SentenceTransformer: small, with a real tokenizer."""
    folder = minilm_package_folder()
    if folder is None:
        pytest.skip("the package with MiniLM is not installed")
    reference = SentenceTransformer(str(folder), device="cpu")
    reference[0].auto_model.encoder.layer = reference[0].auto_model.encoder.layer[:1]
    reference[0].auto_model.config.num_hidden_layers = 1
    return reference


def saved(reference, folder, **settings):
    reference.save_pretrained(str(folder), create_model_card=False)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder, SentenceTransformer(str(folder), device="cpu")


def as_documents(reference, texts):
    """Its encode_document stops at an empty prompt for documents before it comes to that for passages."""
    return reference.encode(texts, prompt_name="passage" if "passage" in reference.prompts else "document")


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": PROMPTS},
        {"prompts": PROMPTS, "default_prompt_name": "cluster"},
        {"prompts": {"document": "", "query": "q: ", "other": "o: "}, "default_prompt_name": "other"},
        {"prompts": PROMPTS, "truncate_dim": 64},
        {"truncate_dim": 100_000},
        {},
    ],
    ids=str,
)
def test_vectors_are_those_of_sentence_transformers(bert, tmp_path, settings):
    folder, reference = saved(bert, tmp_path / "model", **settings)
    model = brickwork.load(folder)
    assert model.axes.full_dim == min(settings.get("truncate_dim", 384), 384)
    for again in (model, brickwork.load(model.save(tmp_path / "again"))):
        assert again.fingerprint == model.fingerprint
        for wanted, got in (
            (reference.encode(TEXTS), again.encode(TEXTS)),
            (reference.encode_query(TEXTS), again.encode(TEXTS, role="query")),
            (as_documents(reference, TEXTS), again.encode(TEXTS, role="document")),
        ):
            wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
            np.testing.assert_allclose(got, wanted, atol=1e-2)  # bf16, where the processor has it
    documents = [Document(id=str(n), title="", text=text, source="s") for n, text in enumerate(TEXTS)]
    np.testing.assert_allclose(
        encode_documents(model, documents, [1])[1], model.encode(TEXTS, role="document"), atol=1e-5
    )
    np.testing.assert_allclose(
        encode_queries(model, TEXTS, 1)[0], model.encode(TEXTS, role="query"), atol=1e-5
    )


def test_an_index_uses_both_prompts_and_keeps_them(bert, tmp_path):
    folder, reference = saved(bert, tmp_path / "model", prompts=PROMPTS, truncate_dim=64)
    documents = [Document(id=str(n), title="", text=text, source="s") for n, text in enumerate(TEXTS)]
    build_index(brickwork.load(folder), documents, tmp_path / "index")
    index = brickwork.open_index(tmp_path / "index")  # with the copy of the model that is in it
    scores = {hit.id: hit.score for hit in index.search(TEXTS[0], mode="dense")[0]}
    wanted = reference.similarity(reference.encode_query(TEXTS[:1]), as_documents(reference, TEXTS))[0]
    np.testing.assert_allclose([scores[str(n)] for n in range(3)], wanted.numpy(), atol=1e-2)
    assert index.contents.width == 64


def test_measurements_use_both_prompts(bert, tmp_path):
    folder, _ = saved(bert, tmp_path / "model", prompts=PROMPTS)
    model = brickwork.load(folder)
    plain = brickwork.load(saved(bert, tmp_path / "plain")[0])
    relevant = [{0: 1}, {1: 1}]
    retrieval = RetrievalSet(name="r", queries=TEXTS[:2], documents=TEXTS[1:], relevant=relevant)
    written_out = RetrievalSet(
        name="r",
        queries=["query: " + text for text in TEXTS[:2]],
        documents=["passage: " + text for text in TEXTS[1:]],
        relevant=relevant,
    )
    seen = []

    def scores(model, data):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                grid, "top_k", lambda left, right, k: seen.append(left @ right.T) or top_k(left, right, k)
            )
            return evaluate_grid(model, data, measure=False).cells

    ours, wanted = scores(model, retrieval), scores(plain, written_out)
    assert ours == wanted, "scores and costs"
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)


def test_mteb_says_what_is_a_query(bert, tmp_path):
    mteb_types = pytest.importorskip("mteb.types")
    model = brickwork.load(saved(bert, tmp_path / "model", prompts=PROMPTS)[0])
    encoder, batches = MtebEncoder(model), [{"text": TEXTS[:2]}, {"text": TEXTS[2:]}]
    for kind, role in (
        (mteb_types.PromptType.query, "query"),
        (mteb_types.PromptType.document, "document"),
        (None, None),
    ):
        got = encoder.encode(batches, prompt_type=kind)
        np.testing.assert_array_equal(got, model.encode(TEXTS, role=role))
    assert not np.allclose(
        encoder.encode(batches), encoder.encode(batches, prompt_type=mteb_types.PromptType.query)
    )


def test_prompts_make_another_model_and_go_with_an_export(bert, tmp_path):
    plain = brickwork.load(saved(bert, tmp_path / "plain")[0])
    prompted = brickwork.load(saved(bert, tmp_path / "prompted", prompts=PROMPTS)[0])
    assert plain.fingerprint != prompted.fingerprint
    from brickwork.representation.export_sentence_transformers import export_sentence_transformers

    out = export_sentence_transformers(prompted, tmp_path / "out")
    assert SentenceTransformer(str(out), device="cpu").prompts["query"] == "query: "


@pytest.mark.parametrize(
    "settings",
    [{"prompts": ["a"]}, {"prompts": {"query": 3}}, {"default_prompt_name": "none"}, {"truncate_dim": "big"}],
    ids=str,
)
def test_settings_that_are_damaged_are_refused(bert, tmp_path, settings):
    folder = tmp_path / "model"
    bert.save_pretrained(str(folder), create_model_card=False)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(ArtifactError, match="config_sentence_transformers"):
        brickwork.load(folder)


def test_prompts_by_role():
    prompts = Prompts(PROMPTS, "cluster")
    assert (prompts.of("query"), prompts.of("document"), prompts.of()) == (
        "query: ",
        "passage: ",
        PROMPTS["cluster"],
    )
    assert Prompts({"query": "q"}).of("document") == ""
    assert not Prompts({"query": "", "document": ""})


def test_weights_in_several_files_load_and_are_checked(bert, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    saved(bert, whole)
    saved(bert, parts)
    AutoModel.from_pretrained(str(whole)).save_pretrained(str(parts), max_shard_size="20MB")
    (parts / "model.safetensors").unlink(missing_ok=True)
    listed = parts / "model.safetensors.index.json"
    assert len(set(json.loads(listed.read_text())["weight_map"].values())) > 1
    np.testing.assert_array_equal(brickwork.load(parts).encode(TEXTS), brickwork.load(whole).encode(TEXTS))
    places = json.loads(listed.read_text())
    for wrong, words in (
        ({**places["weight_map"], "pooler.dense.bias": "../other.safetensors"}, "other.safetensors"),
        ({**places["weight_map"], "nothing": next(iter(places["weight_map"].values()))}, "nothing"),
    ):
        listed.write_text(json.dumps({**places, "weight_map": wrong}))
        with pytest.raises(ArtifactError, match=words):
            brickwork.load(parts)
    listed.write_text(json.dumps(places))
    next(parts.glob("model-00001*")).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        brickwork.load(parts)


def test_names_of_backbones_are_models_and_so_are_encoders_of_transformers(bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        brickwork.load("minilm").encode(TEXTS[0]), brickwork.load(minilm_package_folder()).encode(TEXTS[0])
    )
    folder, reference = saved(bert, tmp_path / "model")
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    vectors = brickwork.load(folder).encode(TEXTS)  # as sentence-transformers takes it: the mean
    np.testing.assert_allclose(vectors, reference.encode(TEXTS), atol=1e-2)
    assert torch.isfinite(torch.from_numpy(vectors)).all()
