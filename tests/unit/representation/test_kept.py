"""A system that is kept whole comes back whole; a folder that does not fit is refused with the reason."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import brickwork
from brickwork.core import registry
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import checksum
from brickwork.core.registry import SystemCard
from brickwork.data.types import Examples
from brickwork.representation.kept import save_system
from brickwork.representation.load import load_representation

CARD = SystemCard(
    slug="adder",
    title="Adding Numbers",
    authors="One, Two",
    year=2026,
    arxiv="0000.00000",
    group="tests",
    summary="Adds weighted columns.",
    capabilities=("predicts", "evaluates"),
)


class Adder(nn.Module):
    """Predicts the weighted sum of its columns; keeps a table of whole numbers as well."""

    slug = "adder"
    input_kind = "columns"

    def __init__(self, names, num_layers=1):
        super().__init__()
        self.names = list(names)
        self.num_layers = num_layers
        self.weight = nn.Parameter(torch.ones(len(names)))
        self.register_buffer("slots", torch.arange(len(names)))

    def architecture(self):
        return {"names": self.names, "num_layers": self.num_layers}

    def predict(self, columns):
        if missing := [name for name in self.names if name not in columns]:
            raise ConfigError(f"column {missing[0]} is missing")
        total = sum(w * np.asarray(columns[n], float) for w, n in zip(self.weight.tolist(), self.names))
        return {"sum": total}

    def evaluate(self, examples: Examples):
        return {
            "error": float(np.abs(self.predict(examples.columns)["sum"] - examples.columns["sum"]).mean())
        }


@pytest.fixture
def known(monkeypatch):
    """The catalogue holds the adder alone."""
    module = SimpleNamespace(
        System=SimpleNamespace(restore=lambda architecture, tokenizer: Adder(**architecture))
    )
    monkeypatch.setattr(registry, "slugs", lambda: ["adder"])
    monkeypatch.setattr(registry, "card", lambda slug: CARD)
    monkeypatch.setattr(registry, "load", lambda slug, part: module)


@pytest.fixture
def folder(known, tmp_path):
    system = Adder(["a", "b"])
    with torch.no_grad():
        system.weight.copy_(torch.tensor([2.0, 3.0]))
    return save_system(system, tmp_path / "model", {"data": "a table", "scores": {"error": 0.25}})


def edit(folder, change):
    path = folder / "brickwork.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps({**manifest, "checksum": checksum(manifest)}))


def test_it_comes_back_with_weights_buffers_and_card(folder):
    system = brickwork.load(folder)
    assert isinstance(system, Adder)
    assert not system.training
    assert system.predict({"a": [1, 2], "b": [10, 20]})["sum"].tolist() == [32, 64]
    assert system.slots.tolist() == [0, 1]
    assert system.slots.dtype == torch.int64
    assert system.card["scores"] == {"error": 0.25}


def test_the_card_says_how_to_use_it_and_how_good_it_is(folder):
    text = (folder / "README.md").read_text()
    for words in (
        "# Adding Numbers",
        "brickwork predict",
        "model.predict(columns)",
        "| error | 0.25 |",
        "@misc",
    ):
        assert words in text
    assert "generate" not in text


def test_it_is_no_representation(folder):
    with pytest.raises(ArtifactError, match="whole system, adder, and gives no vectors"):
        load_representation(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(system="../evil"), "'../evil', which this Brickwork does not have; known: adder"),
        (lambda m: m.update(system=["adder"]), "does not have"),
        (lambda m: m["architecture"].update(names=["a", "b", "c"]), "'slots' has shape"),
        (lambda m: m["architecture"].update(num_layers=10**12), "num_layers=1000000000000 with . tensors"),
        (lambda m: m["architecture"].update(stranger=1), "does not describe a model"),
        (lambda m: m["sha256"].update({"../x": "0" * 64}), "damaged or not safe"),
        (lambda m: m.pop("architecture"), "'architecture' is missing"),
    ],
)
def test_what_does_not_fit_is_refused(folder, change, words):
    edit(folder, change)
    with pytest.raises(ArtifactError, match=words):
        brickwork.load(folder)


def test_a_buffer_outside_the_state_is_refused(known, folder, monkeypatch):
    """Systems are built without memory: a buffer that is not saved would have no value."""

    def restore(architecture, tokenizer):
        system = Adder(**architecture)
        system.register_buffer("lost", torch.ones(1), persistent=False)
        return system

    monkeypatch.setattr(
        registry, "load", lambda slug, part: SimpleNamespace(System=SimpleNamespace(restore=restore))
    )
    with pytest.raises(ArtifactError, match="'lost' is not among the weights"):
        brickwork.load(folder)


def test_predict_reads_a_file_and_writes_one(folder, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("id,a,b\nfirst,1,10\nsecond,2,20\n")
    answers = brickwork.predict(folder, table, tmp_path / "out.jsonl")
    assert answers["id"] == ["first", "second"]
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {"id": "first", "sum": 32.0},
        {"id": "second", "sum": 64.0},
    ]


def test_a_wrong_ending_is_refused_before_the_work(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"out\.xlsx: a table is written as \.parquet, \.csv, \.jsonl"):
        brickwork.predict(folder, tmp_path / "absent.csv", tmp_path / "out.xlsx")


def test_a_verb_that_the_system_does_not_have(folder):
    with pytest.raises(ArtifactError, match=r"which cannot generate; systems that can: none"):
        brickwork.generate(folder, ["a"])


@pytest.mark.parametrize("option", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_k": -1}])
def test_options_out_of_range(folder, option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        brickwork.generate(folder, ["a"], **option)
