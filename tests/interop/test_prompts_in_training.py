"""A pretrained model's prompts in training: the tokens that are trained on are those that are encoded."""

import json

import numpy as np
import pytest
import torch

import brickwork
from brickwork.core.errors import ConfigError
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.representation.load import load_system
from interop import pretrained_text as shapes

QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "


@pytest.fixture(scope="module")
def with_prompts(tmp_path_factory):
    """A tiny BERT with prompts for queries and documents, and the same model with a default prompt."""
    folder = tmp_path_factory.mktemp("prompts") / "bert"
    prompts = {"query": QUERY, "document": DOCUMENT}
    shapes.write(shapes.Shape("bert", {**shapes.ENCODER, "type_vocab_size": 2}, prompts=prompts), folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"question": f"what is {n} of {n + 1}", "answer": f"{n} is a number"} for n in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def a_run(slug, backbone, pairs, *settings):
    return brickwork.override(
        brickwork.recipe(slug, "small"),
        [
            f"data.source={pairs}",
            f"model.encoder.backbone={backbone}",
            "model.encoder.max_tokens=40",
            "model.dims=[8,16]",
            *("train.steps=2", "train.batch_size=8", "train.validate_every=0"),
            *(["model.variant=2dmse"] if slug == "matryoshka-2d" else []),
            *settings,
        ],
    )


def same(a, b):
    return torch.equal(a.ids, b.ids) and torch.equal(a.lengths, b.lengths)


@pytest.mark.parametrize("slug", ["matryoshka-2d", "matryoshka"])
def test_the_tokens_of_training_are_those_of_encoding(slug, with_prompts, pairs, tmp_path):
    summary = brickwork.train(a_run(slug, with_prompts, pairs), tmp_path / "run", measure=False)
    system, kept = summary.system, brickwork.load(tmp_path / "run")
    columns = {"anchor": ["what is 1"], "positive": ["1 is a number"], "negative": ["2 is"], "group": [0]}
    batch = system.collate(columns)
    for name, role in (("anchor", "query"), ("positive", "document"), ("negative", "document")):
        for model in (summary.representation, kept):
            assert same(batch[name], model.encoder.tokenize(model.prompted(columns[name], role)))
    assert same(batch["anchor"], kept.encoder.tokenize([QUERY + "what is 1"]))
    plain = kept.encoder.tokenize(["what is 1"])
    assert not same(batch["anchor"], plain)
    # Two sentences that are compared are of one kind, for which this model wants nothing.
    assert same(system.collate({"anchor": ["what is 1"], "positive": ["1"], "score": [0.5]})["anchor"], plain)
    assert load_system(tmp_path / "run").encoder.prompts == system.encoder.prompts == kept.prompts
    assert kept.fingerprint == summary.representation.fingerprint


def test_an_export_has_them(with_prompts, pairs, tmp_path):
    from sentence_transformers import SentenceTransformer

    from brickwork.representation.export_sentence_transformers import export_sentence_transformers

    summary = brickwork.train(a_run("matryoshka", with_prompts, pairs), tmp_path / "run", measure=False)
    export_sentence_transformers(summary.representation, tmp_path / "out")
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    ours = summary.representation.encode(["what is 1"], role="query", precision="fp32")
    np.testing.assert_allclose(ours, theirs.encode_query(["what is 1"]), atol=1e-5)


def test_left_out_where_that_is_asked_for(with_prompts, pairs, tmp_path):
    run = a_run("matryoshka", with_prompts, pairs, "model.encoder.prompts=false")
    kept = brickwork.train(run, tmp_path / "run", measure=False).representation
    assert not kept.prompts
    np.testing.assert_array_equal(kept.encode(["a"], role="query"), kept.encode(["a"], role="document"))


def test_an_option_that_would_do_nothing_is_refused(with_prompts, tmp_path):
    assert TextEncoderConfig(backbone="minilm", prompts=False).validate()
    assert TextEncoderConfig(backbone="scratch", prompts=False).validate()
    plain = tmp_path / "plain"
    shapes.write(shapes.Shape("bert", {**shapes.ENCODER, "type_vocab_size": 2}), plain)
    with pytest.raises(ConfigError, match="published without any"):
        build_text_encoder(TextEncoderConfig(backbone=str(plain), max_tokens=40, prompts=False))
