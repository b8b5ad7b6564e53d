"""What is measured: the part that a run held out of its own data, and all rows of what it was never trained on."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import brickwork
from brickwork.evaluation.probes import leave_one_out

pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")


def write_pairs(path, word, count=60):
    path.write_text(
        "".join(
            json.dumps({"anchor": f"{word} {n} asks", "positive": f"{word} {n} answers"}) + "\n"
            for n in range(count)
        )
    )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    data = write_pairs(folder / "own.jsonl", "first")
    config = brickwork.override(
        brickwork.recipe("matryoshka-2d", "smoke"),
        ["train.steps=2", f"data.source={data}", "data.test_share=0.2"],
    )
    brickwork.train(config, folder / "run", measure=False)
    return folder


def sizes(model, data, **options):
    told = brickwork.evaluate(model, data, baselines=False, **options)
    return tuple(told["data"][part] for part in ("train", "validation", "test")), told


def test_the_runs_own_data_keeps_its_split(run, monkeypatch):
    parts, told = sizes(run / "run", run / "own.jsonl")
    assert parts == (45, 3, 12)
    assert told["retrieval"][0]["queries"] == 12
    monkeypatch.chdir(run)
    assert sizes("run", "own.jsonl")[0] == parts
    (run / "link.jsonl").symlink_to(run / "own.jsonl")
    shutil.copy(run / "own.jsonl", run / "copy.jsonl")
    assert sizes("run", "link.jsonl")[0] == sizes("run", "copy.jsonl")[0] == parts


def test_all_rows_of_another_file_are_measured(run):
    other = write_pairs(run / "other.jsonl", "second", 37)
    parts, told = sizes(run / "run", other)
    assert parts == (0, 0, 37)
    assert told["retrieval"][0]["queries"] == told["retrieval"][0]["documents"] == 37
    assert sizes(run / "run", other, limit=20)[0] == (0, 0, 20)
    train, validation, test = sizes(run / "run", other, seed=0)[0]
    assert (train + validation + test, test) == (37, 7)


def test_documents_scores_and_labels_of_another_source(run):
    docs = run / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"{number}.md").write_text(
            f"# Title {number}\n" + " ".join(f"word{number}x{n}\n\n" for n in range(300))
        )
    parts, told = sizes(run / "run", docs)
    assert parts[:2] == (0, 0)
    assert sum(part["queries"] for part in told["retrieval"]) == parts[2] > 6
    scored = run / "scored.csv"
    scored.write_text("sentence1,sentence2,score\n" + "".join(f"a {n},b {n},{n / 40}\n" for n in range(40)))
    assert sizes(run / "run", scored)[0] == (0, 0, 40)


def test_labels_without_training_rows_are_told_by_the_other_rows(tmp_path):
    config = brickwork.override(brickwork.recipe("matryoshka", "smoke"), ["train.steps=2", "data.limit=200"])
    brickwork.train(config, tmp_path / "run", measure=False)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 60, (8, 8), dtype=np.uint8) + (190 if name == "cat" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{number}.png")
    told = brickwork.evaluate(tmp_path / "run", tmp_path / "photos")
    assert (told["data"]["train"], told["data"]["test"]) == (0, 10)
    assert all(0 <= size["value"] <= 1 for size in told["scores"]["knn_accuracy"])


def test_leaving_one_out_never_asks_a_row_itself():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0]], np.float32)
    assert leave_one_out(vectors, np.array([0, 0, 1, 1, 0])).accuracy == 1
    assert leave_one_out(vectors, np.array([0, 1, 2, 3, 4])).accuracy == 0
    assert leave_one_out(np.ones((3, 2), np.float32), np.array([0, 1, 2])).accuracy == 0


def test_a_system_with_measures_of_its_own_takes_all_rows(tmp_path):
    rows = [{"age": n % 50, "group": "ab"[n % 2], "target": int(n % 50 > 25)} for n in range(80)]
    for name, part in (("own", rows), ("other", rows[:30])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    settings = ["train.steps=2", f"data.source={tmp_path / 'own.jsonl'}", "data.table.targets=target:class"]
    config = brickwork.override(brickwork.recipe("multimodn", "smoke"), settings)
    brickwork.train(config, tmp_path / "run", measure=False)
    told = brickwork.evaluate(tmp_path / "run", tmp_path / "other.jsonl")
    assert (told["data"]["train"], told["data"]["test"]) == (0, 30)
    assert told["scores"]
