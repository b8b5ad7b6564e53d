"""Each command is a thin call of the Python interface; here a stand-in notes how it was called."""

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import brickwork.api.demo as demo_module
import brickwork.studies.records as claim_records
from brickwork.api import evaluate as evaluating
from brickwork.api import index as indexing
from brickwork.api import train as api
from brickwork.cli import training
from brickwork.core.errors import ConfigError
from brickwork.data.types import Document
from brickwork.index import index as index_module
from brickwork.index.reranking import Reranker
from brickwork.index.sync import SyncReport
from brickwork.index.types import Contents, Statistics


@pytest.fixture
def called(monkeypatch):
    """Notes how a function of the Python interface was called, and gives a ready answer."""
    notes = {}

    def stand_in(module, name, answer):
        def call(*arguments, **options):
            notes[name] = (arguments, options)
            print("a library prints")
            return answer

        monkeypatch.setattr(module, name, call)
        return notes

    return stand_in


EVALUATION = {
    "data": {"name": "docs", "test": 40},
    "retrieval": [
        {
            "name": "documentation search",
            "queries": 12,
            "documents": 34,
            "cells": [
                {"dim": 8, "layers": 1, "ndcg@10": 0.25},
                {"dim": 16, "layers": 1, "ndcg@10": 0.5},
                {"dim": 16, "layers": 2, "ndcg@10": 0.75},
            ],
            "baselines": {"BM25": {"ndcg@10": 0.625}},
        }
    ],
    "scores": {"spearman": [{"dim": 8, "layers": 2, "value": 0.125}]},
}


def test_evaluate_passes_sizes_and_columns(brickwork, called):
    from brickwork.data.config import ColumnNames

    notes = called(evaluating, "evaluate", EVALUATION)
    options = ("--dims", "8,16", "--layers", "2", "--column", "anchor=q", "--limit", "9", "--seed", "3")
    result = brickwork("evaluate", "runs/x", "docs/", *options, "--json")
    assert result.json == EVALUATION
    assert "a library prints" in result.err
    arguments, given = notes["evaluate"]
    assert arguments == ("runs/x", "docs/")
    assert given == {
        "dims": [8, 16],
        "layers": [2],
        "columns": ColumnNames(anchor="q"),
        "limit": 9,
        "allow_outside": False,
        "seed": 3,
        "progress": True,
        "queries": None,
        "qrels": None,
        "report": None,
        "learn_weight": False,
        "baselines": True,
    }


def test_evaluate_for_people(brickwork, called):
    notes = called(evaluating, "evaluate", EVALUATION)
    page = brickwork("evaluate", "m", "d", "--quiet")
    for words in ("documentation search", "16 dims", "0.750", "0.250", "BM25 0.625", "spearman", "0.125"):
        assert words in page.out
    assert "scores on 40 rows that were not trained on" in page.out
    assert notes["evaluate"][1]["progress"] is False


def test_encode(brickwork, called):
    notes = called(indexing, "encode_file", {"documents": 7, "dim": 16})
    result = brickwork("encode", "m", "d", "--out", "v", "--dim", "16", "--layers", "2", "--json")
    assert result.json == {"documents": 7, "dim": 16}
    arguments, given = notes["encode_file"]
    assert arguments == ("m", "d", Path("v"))
    assert (given["dim"], given["layers"], given["columns"]) == (16, 2, None)


class StandInIndex:
    """An opened index that returns made-up hits."""

    contents = Contents(dims=(8, 16), layers=(1, 2), depths=(2,), model="abc")
    model = "abc"
    reason = "flat: few documents"
    engine = "torch"

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 7

    def statistics(self):
        return Statistics(documents=7, duplicates=2)

    def answer(self, query, top=10, **options):
        self.asked.append((query, top, options))
        hits = [
            index_module.Hit(
                id=str(i), score=0.5, title=f"[bold]title {i}", text="a\nb " * 200, source="s.md"
            )
            for i in range(top)
        ]
        return index_module.Answer(
            hits=[hits],
            dim=8,
            layers=2,
            stages=((8, top),),
            flops=1,
            bytes_scanned=1,
            encode_milliseconds=1.25,
            scan_milliseconds=0.5,
            notes=(),
        )


def test_index(brickwork, called):
    notes = called(indexing, "build_index", StandInIndex())
    result = brickwork("index", "m", "d", "--out", "i", "--layers", "1,2", "--json")
    assert result.json == {
        "folder": "i", "documents": 7, "model": "abc", "engine": "torch", "dims": [8, 16], "codec": "float32", "layers": [2]
    }  # fmt: skip
    assert notes["build_index"][0] == ("m", "d", Path("i"))
    assert notes["build_index"][1]["layers"] == [1, 2]
    page = brickwork("index", "m", "d", "--out", "my index", "--quiet")
    assert "my index" in page.out
    assert page.err == ""


def test_index_and_encode_say_what_columns_are_taken_for(brickwork, monkeypatch, tmp_path):
    def reads(name, answer):
        def call(model, data, out, *, columns, tell, **others):
            tell(indexing.read_as(data, columns))  # once the model is there
            return answer

        monkeypatch.setattr(indexing, name, call)

    reads("build_index", StandInIndex())
    reads("encode_file", {"documents": 7})
    table = tmp_path / "a.csv"
    table.write_text("title,body\nt,b\n")
    for verb in ("index", "encode"):
        page = brickwork(verb, "m", table, "--out", "o")
        assert "read as documents: text = 'body', title = 'title'" in page.err
        assert "read as" not in brickwork(verb, "m", table, "--out", "o", "--quiet").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("m",), "DATA is missing"),
        (("m", "d"), "--out DIR is missing"),
        (("i", "--verify", "--repair"), "--verify takes the folder of an index and nothing else"),
        (("i", "d", "--stats"), "--stats takes the folder of an index and nothing else"),
        (("m", "d", "--out", "i", "--model", "m"), "--model goes with --repair"),
        (("m", "d", "--out", "i", "--update", "--layers", "2"), "--update keeps layers"),
    ],
)
def test_index_says_what_does_not_go_together(brickwork, words, message):
    result = brickwork("index", *words)
    assert result.code == ConfigError.exit_code
    assert message in result.err


def test_an_update_tells_what_changed(brickwork, called):
    report = SyncReport(added=1, updated=2, removed=3, unchanged=4, encoded=2)
    called(indexing, "update_index", (StandInIndex(), report))
    words = ("index", "m", "d", "--out", "i", "--update")
    assert {"documents": 7, "added": 1, "encoded": 2}.items() <= brickwork(*words, "--json").json.items()
    assert "1 added, 2 updated, 3 removed, 4 unchanged, 2 encoded" in brickwork(*words).err


def test_verify_and_repair_show_what_is_damaged(brickwork, monkeypatch):
    from brickwork.index import lifecycle

    problem = lifecycle.Problem("a.safetensors", "i/a.safetensors is damaged")
    monkeypatch.setattr(lifecycle, "verify_index", lambda folder: [problem])
    result = brickwork("index", "i", "--verify", "--json")
    assert result.code == 4
    assert result.json["problems"] == [{"file": "a.safetensors", "what": "i/a.safetensors is damaged"}]
    report = lifecycle.RepairReport(documents=7, repaired=("a.safetensors",), lost=("the document 'x'",))
    monkeypatch.setattr(lifecycle, "repair_index", lambda folder, model: report)
    page = brickwork("index", "i", "--repair")
    assert "a.safetensors: rebuilt\nlost: the document 'x'" in page.out


def test_search_json_is_what_others_rely_on(brickwork, monkeypatch):
    opened = StandInIndex()
    monkeypatch.setattr(index_module, "open_index", lambda folder: opened)
    words = ("search", "i", "how to", "--dim", "8", "--layers", "2", "--top", "3", "--json")
    results = brickwork(*words).json
    assert results["milliseconds"] == 1.75
    assert len(results["results"]) == 3
    assert {"id", "score", "title", "text"} <= set(results["results"][0])
    assert opened.asked[-1] == ("how to", 3, {"dim": 8, "layers": 2})


def test_search_for_people_shows_titles_as_they_are(brickwork, monkeypatch):
    monkeypatch.setattr(index_module, "open_index", lambda folder: StandInIndex())
    page = brickwork("search", "i", "q", "--top", "2")
    assert "1  [bold]title 0" in page.out
    assert "0.500" in page.out
    assert "s.md" in page.out
    assert "1.8 ms" in page.err or "1.7 ms" in page.err
    assert len(page.out) < 1000


class RefinedIndex(StandInIndex):
    """Its hits are reranked, grouped and have neighbours, as was asked for."""

    def answer(self, query, top=10, **options):
        answer = super().answer(query, top, **options)
        around = Document(id="p", title="", text="the passage around", source="s.md")
        hits = [
            replace(
                hit,
                score=0.9,
                first_score=1.5,
                dense=0.4,
                lexical=2.0,
                others=(hit,) * 5,
                before=(around,),
                after=(),
            )
            for hit in answer.hits[0]
        ]
        return replace(answer, hits=[hits], reranked=20, rerank_milliseconds=12.0)


def test_search_passes_on_how_hits_are_refined_and_shows_it(brickwork, monkeypatch):
    opened, loaded = RefinedIndex(), []
    monkeypatch.setattr(index_module, "open_index", lambda folder: opened)
    monkeypatch.setattr(Reranker, "load", lambda *given: loaded.append(given) or "the reranker")
    words = (
        "search",
        "i",
        "q",
        "--top",
        "1",
        "--rerank",
        "org/name",
        "--rerank-revision",
        "abc",
        "--rerank-top",
        "20",
    )
    words += ("--group-by", "source", "--neighbours", "1")
    page = brickwork(*words)
    assert loaded == [("org/name", "abc")]
    refined = {"rerank": "the reranker", "rerank_top": 20, "group_by": "source", "neighbours": 1}
    assert opened.asked[-1] == ("q", 1, {"dim": None, "layers": None, **refined})
    assert "0.900 (before 1.500; cosine 0.400, BM25 2.00)  s.md" in page.out
    assert "before: the passage around" in page.out
    assert "also found: 0 0.500, 0 0.500, 0 0.500 and 2 more" in page.out
    assert "20 reranked in 12.0 ms" in page.err
    results = brickwork(*words, "--json").json
    assert (results["milliseconds"], results["reranked"], results["rerank_milliseconds"]) == (13.75, 20, 12.0)
    hit = results["results"][0]
    assert (hit["first_score"], len(hit["others"]), hit["after"]) == (1.5, 5, [])
    refused = brickwork("search", "i", "q", "--rerank-revision", "abc")
    assert refused.code == ConfigError.exit_code
    assert "--rerank-revision has an effect only with --rerank" in refused.err


def test_claims_to_standard_output_to_a_file_and_as_a_table(brickwork, monkeypatch, tmp_path):
    record = {
        "id": "C1",
        "statement": "s",
        "paper": "p",
        "effect": 0.5,
        "unit": "points",
        "interval": [0.25, 0.75],
        "above": 0.0,
        "below": None,
        "verdict": "supported",
        "note": "",
    }
    asked = []

    def run(slug, scale, **options):
        asked.append((slug, scale, options["only"], options["seeds"], options["force"]))
        options["progress"]("C1 runs")
        return [record]

    monkeypatch.setattr(claim_records, "run_claims", run)
    result = brickwork(
        "claims", "matryoshka", "--scale", "small", "--only", "C1", "--seeds", "2", "--json", "-"
    )
    assert result.json == [record]
    assert "C1 runs" in result.err
    assert asked == [("matryoshka", "small", ["C1"], 2, False)]
    page = brickwork("claims", "matryoshka", "--json", tmp_path / "r.json", "--quiet")
    assert "supported" in page.out
    assert "+0.5 points" in page.out
    assert page.err == ""
    assert '"id": "C1"' in (tmp_path / "r.json").read_text()


def test_data_lists_licence_and_presence(brickwork, monkeypatch, tmp_path):
    monkeypatch.setenv("BRICKWORK_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    entries = {entry["name"]: entry for entry in brickwork("data", "--json").json}
    keys = {"name", "what", "licence", "task", "citation", "url", "where", "present"}
    assert all(set(entry) == keys and entry["licence"] for entry in entries.values())
    assert entries["python"]["present"] is True
    assert entries["nfcorpus"]["present"] is False
    assert "nfcorpus" in brickwork("data", "--quiet").out


def test_data_shows_what_is_in_the_files(brickwork, monkeypatch, tmp_path):
    import numpy as np

    monkeypatch.setenv("BRICKWORK_DATA", str(tmp_path))
    (tmp_path / "meshes").mkdir()
    np.savez(tmp_path / "meshes" / "meshes.npz", points=np.zeros((5, 3), dtype=np.float32))
    results = brickwork("data", "meshes", "--json").json
    assert results["present"] is True
    assert results["files"] == {"meshes/meshes.npz": {"points": "float32 5×3"}}
    assert "points: float32 5×3" in brickwork("data", "meshes").out


@dataclass(frozen=True)
class Part:
    """A stand-in for a part of a run configuration."""

    source: str = "python"
    steps: int = 10


@dataclass(frozen=True)
class Run:
    """A stand-in for a run configuration."""

    system: str = "matryoshka"
    seed: int = 0
    data: Part = Part()
    train: Part = Part()


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """``train`` and ``resume`` of the interface leave a folder and note how they were called."""
    notes = SimpleNamespace(run=None, options=None, folder=tmp_path / "run", kind="text")

    def summary(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text("")
        (folder / "report.html").write_text("")
        columns = {"anchor": "my question", "positive": None}
        config = {"seed": 5, "data": {"source": "my docs", "limit": 9, "columns": columns}}
        (folder / "config.json").write_text(json.dumps(config))
        result = SimpleNamespace(step=10, seconds=1.5)
        measurement = SimpleNamespace(summary=lambda: {"retrieval": []}, against=())
        representation = SimpleNamespace(encoder=SimpleNamespace(kind=notes.kind))
        return SimpleNamespace(
            folder=folder,
            representation=representation,
            result=result,
            measurement=measurement,
            system=None,
            scores={},
        )

    def train(run, out, **options):
        notes.run, notes.options = run, options
        return summary(Path(out))

    monkeypatch.setattr(training, "_progress", lambda quiet: None if quiet else "shown")
    monkeypatch.setattr(api, "recipe", lambda slug, name="small": replace(Run(), system=slug))
    monkeypatch.setattr(api, "train", train)
    monkeypatch.setattr(
        api, "resume", lambda folder, data, **options: train(f"resumed on {data}", folder, **options)
    )
    return notes


def test_train_applies_data_settings_and_seed(brickwork, trained):
    words = ("--data", "my docs", "--set", "train.steps=3", "--seed", "5", "--tensorboard")
    page = brickwork("train", "matryoshka", *words, "--out", trained.folder)
    assert page.code == 0
    assert trained.run == Run(seed=5, data=Part(source="my docs"), train=Part(steps=3))
    assert trained.options == {
        "devices": 1,
        "strategy": "ddp",
        "progress": "shown",
        "tensorboard": True,
    }
    assert page.out.strip() == str(trained.folder)
    folder = trained.folder
    same = "'my docs' --column anchor='my question'"
    assert f"brickwork evaluate {folder} {same} --limit 9 --seed 5\n" in page.err
    assert f"brickwork index {folder} {same} --out {folder}-index\n" in page.err
    assert f'brickwork search {folder}-index "your question"\n' in page.err
    assert "made config.json, model.safetensors, report.html" in page.err


def test_a_model_of_images_is_not_offered_an_index(brickwork, trained):
    trained.kind = "image"
    page = brickwork("train", "matryoshka", "--out", trained.folder)
    assert "brickwork evaluate" in page.err
    assert "brickwork index" not in page.err


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("image", "your-images/ --examples a-folder-for-each-class/"),
        ("text", "your-texts.csv --examples labelled-examples.csv"),
    ],
)
def test_a_model_that_learnt_labels_is_offered_other_classes(brickwork, trained, kind, given):
    trained.kind = kind
    offered = f"brickwork classify {trained.folder} {given}\n"
    assert offered not in brickwork("train", "matryoshka", "--out", trained.folder).err
    (trained.folder / "data.json").write_text('{"train": {"input": "3:aa", "label": "3:bb"}}')
    assert offered in brickwork("train", "matryoshka", "--out", trained.folder).err


def test_train_json_and_quiet(brickwork, trained):
    result = brickwork("train", "matryoshka", "--out", trained.folder, "--json", "--quiet")
    assert result.err == ""
    assert trained.options["progress"] is None
    assert result.json == {
        "folder": str(trained.folder),
        "steps": 10,
        "seconds": 1.5,
        "files": ["config.json", "model.safetensors", "report.html"],
        "evaluation": {"retrieval": []},
    }


def test_the_default_folder_has_the_slug_and_the_time(brickwork, trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    page = brickwork("train", "matryoshka", "--quiet")
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("matryoshka-20")
    assert page.out.strip() == f"runs/{made.name}"


def test_several_processes_need_a_named_folder(brickwork, trained, monkeypatch):
    result = brickwork("train", "matryoshka", "--devices", "2")
    assert result.code == ConfigError.exit_code
    assert "--out DIR" in result.err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert brickwork("train", "matryoshka").code == ConfigError.exit_code


def test_backbone_is_set_where_a_system_has_it(brickwork, monkeypatch, tmp_path):
    runs = []
    monkeypatch.setattr(api, "plan", lambda run: runs.append(run.model) or {"steps": 1})
    for slug in ("dylora", "stationary-compat"):
        assert brickwork("train", slug, "--backbone", "models/mine", "--dry-run").code == 0
    assert runs[0].backbone == runs[1].encoder.backbone == "models/mine"
    # The recipe's sizes end at the width of its own backbone.
    for backbone, given, dims in (("models/mine", [], ()), ("minilm", [], (24, 48, 96, 192, 384)),
                                  ("models/mine", ["--set", "model.dims=[8,16]"], (8, 16))):  # fmt: skip
        assert brickwork("train", "matryoshka-2d", "--backbone", backbone, *given, "--dry-run").code == 0
        assert runs[-1].dims == dims
    refused = brickwork("train", "cmim", "--backbone", "minilm", "--dry-run")
    assert refused.code == ConfigError.exit_code
    assert "cmim with this recipe starts from no pretrained model" in refused.err


def test_dry_run_prints_the_forecast_and_trains_nothing(brickwork, trained, monkeypatch):
    plan = {
        "parameters": 22_713_216,
        "shapes": {"ids": "T=512"},
        "seconds_per_step": 12.5,
        "notes": ["read as [pairs]", "2 duplicates left out"],
        "peak_memory_bytes": 3 * 2**20,
        "forecast_seconds": 3725.0,
    }
    monkeypatch.setattr(api, "plan", lambda run: plan)
    assert brickwork("train", "matryoshka", "--dry-run", "--json").json == plan
    page = brickwork("train", "matryoshka", "--dry-run")
    assert "22,713,216" in page.out
    assert re.search(r"shapes\.ids +T=512", page.out)
    assert re.search(r"seconds per step +12\.5", page.out)
    assert re.search(r"notes +read as \[pairs\] *\n +2 duplicates left out", page.out)
    assert re.search(r"peak memory +3 MiB", page.out)
    assert re.search(r"forecast +1 h 2 min, without validating", page.out)
    assert training._worded("forecast_seconds", 125.0).startswith("2 min 5 s,")
    assert training._worded("forecast_seconds", 9.0).startswith("9 s,")
    assert trained.run is None


def test_dry_run_has_a_line_for_each_stage(brickwork, trained, monkeypatch):
    """Not the sixteen rows for each that the plan has."""
    parts = {"encoder": {"trainable": 81_360, "frozen": 10}, "head": {"trainable": 0, "frozen": 390}}
    first = {"trainable": 81_360, "frozen": 400, "parts": parts}
    one = {"name": "member 1", "steps": 135, "parameters": first, "losses": [1.8041, 1.75]}
    one |= {"batch": {"input": "32 × 3"}, "seconds_per_step": 0.0821, "forecast_seconds": 65.0}
    whole = {"batch": {"input": "32 × 3"}, "parameters": first, "losses": [1.8041, 1.75], "steps": 450}
    monkeypatch.setattr(api, "plan", lambda run: {**whole, "stages": [one, one | {"name": "head"}]})
    lines = brickwork("train", "matryoshka", "--dry-run").out.splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["member", "1", "135", "encoder", "81,360", "1.804", "0.0821", "1", "min", "5", "s"],
        ["head", "135", "encoder", "81,360", "1.804", "0.0821", "1", "min", "5", "s"],
    ]
    assert not any("stages." in line or "parameters" in line for line in lines)
    monkeypatch.setattr(api, "plan", lambda run: whole)
    page = brickwork("train", "matryoshka", "--dry-run").out
    assert re.search(r"parameters\.parts\.encoder +81,360 trainable, 10 frozen", page)
    assert re.search(r"parameters\.parts\.head +390 frozen", page)


def test_resume(brickwork, trained):
    page = brickwork("resume", trained.folder)
    assert page.code == 0
    assert trained.run == "resumed on None"
    brickwork("resume", trained.folder, "--data", "moved.csv")
    assert trained.run == "resumed on moved.csv"
    assert str(trained.folder) in page.out


def test_demo_passes_its_settings(brickwork, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(training, "_progress", lambda quiet: None)
    monkeypatch.setattr(demo_module, "run_demo", lambda out, **options: asked.append((out, options)))
    words = (
        "--out",
        tmp_path,
        "--set",
        "train.steps=2",
        "--set",
        "train.batch_size=4",
        "--seed",
        "7",
        "--quiet",
    )
    assert brickwork("demo", *words).code == 0
    ((out, options),) = asked
    assert out == tmp_path
    assert options["settings"] == ("train.steps=2", "train.batch_size=4")
    assert options["seed"] == 7
    assert options["console"].quiet


@pytest.mark.parametrize(
    ("to", "module", "function"),
    [
        ("sentence-transformers", "export_sentence_transformers", "export_sentence_transformers"),
        ("onnx", "export_onnx", "export_onnx"),
    ],
)
def test_export_calls_the_exporter(brickwork, monkeypatch, to, module, function):
    asked = []
    exporter = SimpleNamespace(**{function: lambda model, out, **sizes: asked.append((model, out, sizes))})
    model = SimpleNamespace(load_representation=lambda path: f"loaded {path}")
    monkeypatch.setitem(sys.modules, f"brickwork.representation.{module}", exporter)
    monkeypatch.setitem(sys.modules, "brickwork.representation.load", model)
    page = brickwork("export", "m", "--to", to, "--out", "o", "--dim", "8", "--layers", "2")
    assert page.out == "o\n"
    assert asked == [("loaded m", Path("o"), {"dim": 8, "layers": 2})]


def test_own_queries_and_judgements_are_one_table_and_a_weight_can_be_kept(brickwork, tmp_path):
    from brickwork.api.judged import JudgedSearches, Searched
    from brickwork.cli import judging
    from brickwork.data.readers.judgements import Judged

    def way(who, mode, size, values):
        scores = dict.fromkeys(("ndcg@10", "recall@100", "mrr@10"), values)
        return Searched(who=who, mode=mode, dim=size[0], layers=size[1], scores=scores)

    good, bad = (0.75, 0.5, 1.0), (0.25, 0.25, 0.5)
    searches = (
        way("this model", "hybrid", (4096, 12), good),
        way("this model", "dense", (4096, 12), bad),
        way("BM25", "lexical", (0, 0), bad),
        way("untouched", "dense", (4096, 12), good),
    )
    judged = Judged(queries={"a": "x", "b": "y", "c": "z"}, grades={})
    summary = JudgedSearches(name="docs", judged=judged, documents=9, searches=searches).summary()

    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        judging.show(summary, None)
    lines = out.getvalue().splitlines()
    assert lines[0] == "docs: 3 judged queries, 9 documents"
    table = [line for line in lines if "  4096 " in line]
    assert max(map(len, table)) <= 80
    assert "…" not in "".join(table)
    assert " ".join(table[1].split()) == "this model 12 4096 .333 .333 .333 -.417 [-.500, -.250]*"
    assert lines[-1].startswith(
        "this training made your search worse: dense: nDCG@10 0.333, worse than the untouched"
    )


def test_the_weight_of_an_index_is_kept_shown_and_removed(brickwork, tmp_path):
    from brickwork.data.types import Document
    from brickwork.index.local import LocalBackend
    from brickwork.index.types import Contents

    backend = LocalBackend.create(
        tmp_path / "index", Contents(model="m", dims=(2,), layers=(1,), depths=(1,))
    )
    backend.add([Document(id="a", title="", text="x", source="s")], {1: np.ones((1, 2), np.float32)})
    result = brickwork("index", tmp_path / "index", "--dense-weight", "0.7")
    assert (result.code, result.err) == (0, "hybrid searches: vectors count 0.7, words 0.3\n")
    assert brickwork("index", tmp_path / "index", "--stats", "--json").json["dense_weight"] == 0.7
    assert "vectors count 0.7, words 0.3" in brickwork("index", tmp_path / "index", "--stats").out
    assert (
        brickwork("index", tmp_path / "index", "--dense-weight", "none", "--json").json["dense_weight"]
        is None
    )
    assert "vectors and words count alike" in brickwork("index", tmp_path / "index", "--stats").out
    for text, message in (("much", "write a number from 0 to 1, or none"), ("2", "outside 0 … 1")):
        refused = brickwork("index", tmp_path / "index", "--dense-weight", text)
        assert refused.code == 2
        assert message in refused.err


def test_what_to_do_next_names_the_columns_that_predict_asks_for(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"source": "views/"}}))
    asks = SimpleNamespace(predict=print, input_kind="columns", predict_columns=("first", "second"))
    commands = training._next(tmp_path, SimpleNamespace(system=asks, representation=None))
    assert commands == {
        "predict for new rows with the columns first and second": f"brickwork predict {tmp_path} your-rows.csv"
    }
