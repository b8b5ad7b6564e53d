"""The model card, read back by the hub's own library."""

import pytest
import torch
from huggingface_hub import ModelCard

from brickwork.modules.adapters import inject_lora
from brickwork.representation.card import render, render_system
from brickwork.representation.export_peft import export_peft
from brickwork.representation.model import Representation

CELLS = [
    {"dim": dim, "layers": layers, "ndcg@10": dim / 100 + layers / 1000, "vector_bytes": 4 * dim}
    for dim in (8, 32)
    for layers in (1, 3)
]


def test_everything_that_is_known_is_on_the_card(model):
    model.card = {
        "name": "My | model\n# not a heading",
        "base": "sentence-transformers/all-MiniLM-L6-v2",
        "data": "python",
        "examples": 12_000,
        "licence": "apache-2.0",
        "language": "en",
        "measurement": {
            "retrieval": [{"name": "docs", "queries": 1234, "documents": 5678, "cells": CELLS}],
            "scores": {"spearman": [{"dim": 8, "layers": 3, "value": 0.5}]},
        },
    }
    text = render(model)
    card = ModelCard(text)
    assert card.data.to_dict()["library_name"] == "brickwork"
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert card.data.pipeline_tag == "sentence-similarity"
    assert "# My \\| model # not a heading" in text
    assert "ndcg@10 on 1,234 held-out queries, 5,678 documents" in text
    # Row of 1 layer, columns 32 and 8: 0.32 + 0.001 and 0.08 + 0.001.
    assert "| 1 | 0.321 | 0.081 |" in text
    assert "| 3 | 0.500 |" in text
    # 32 float32 dimensions are 128 bytes, 64 as float16, and 128 MB for a million.
    assert "| 32 | 128 | 64 | 128 |" in text
    assert "2402.14776" in text  # the paper of matryoshka-2d
    assert "@misc{matryoshka2d" in text
    assert 'encode(["a text", "another"], dim=16, layers=2)' in text


@pytest.mark.parametrize("name", ["model", "static_model", "image_model"])
def test_a_model_about_which_nothing_is_known_has_a_card(name, request):
    model = request.getfixturevalue(name)
    model.card, model.lineage = {}, {"system": "not-there"}
    card = ModelCard(render(model))
    assert card.data.to_dict()["library_name"] == "brickwork"
    assert "Nothing was recorded." in card.text


def test_the_flops_are_those_of_the_formula(model):
    # Width 32, MLP 128, 3 layers, texts of 48 tokens (this model's longest): per token and layer
    # 2 (4·32² + 2·32·128) + 4·48·32 = 24576 + 6144.
    assert f"| 3 | {3 * 30720 / 1e6:,.3g} |" in render(model)


NASTY = [
    "runs/we: bert #1",
    "null",
    "yes",
    "1.0",
    "- a",
    "quo\"te'",
    "{a: b}",
    "two\nlines",
    "--- end",
    "café ☕",
    "@a/b",
    "%x",
]


@pytest.mark.parametrize("text", NASTY)
def test_the_front_matter_of_every_card_is_yaml_that_reads_back(model, tmp_path, text):
    adapters = inject_lora(torch.nn.Sequential(torch.nn.Linear(8, 8)), ["0"], rank=2)
    folder = export_peft(adapters, tmp_path / "adapter", 2, base=text)
    assert ModelCard.load(folder / "README.md").data.base_model == text
    card = {"name": text, "licence": text, "language": text, "base": text, "data": text}
    described = Representation(model.encoder, model.axes, model.lineage, card)
    for page in (render(described), render_system("multimodn", card)):
        data = ModelCard(page).data
        assert (data.license, data.language, data.to_dict()["library_name"]) == (text, text, "brickwork")


def test_an_adapter_of_no_named_backbone_has_a_card(tmp_path):
    adapters = inject_lora(torch.nn.Sequential(torch.nn.Linear(8, 8)), ["0"], rank=2)
    data = ModelCard.load(export_peft(adapters, tmp_path / "adapter", 2) / "README.md").data
    assert (data.base_model, data.to_dict()["library_name"]) == (None, "peft")


def test_a_system_that_makes_images_says_how():
    page = render_system("erw", {})
    assert "images = model.generate_images([model.classes[0]], count=16, seed=0)" in page
    assert "brickwork generate path/to/this/folder CLASS --count 16 --out pictures/" in page
    assert "brickwork generate" not in render_system("sie", {})
    assert "brickwork index path/to/this/folder your-data/ --out index" in render_system("sie", {})
