"""The cheapest way to search that keeps enough, and how sure that is: on grids whose answer is known."""

import json

import numpy as np
import pytest

import brickwork
from brickwork.api.choose import RESAMPLES, choose, hybrid_words, write_scores
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.data.types import Document
from brickwork.evaluation.grid import Cell, Cost, GridResult
from brickwork.evaluation.measure import Measurement
from brickwork.index.fusion import Fusion
from brickwork.index.hybrid import run_hybrid
from brickwork.index.local import LocalBackend
from brickwork.index.ranking import WordsBeside
from brickwork.index.types import Contents, Plan
from brickwork.representation.truncate import truncate

SIZES = ((8, 2), (4, 2), (8, 1), (4, 1))


def grid(name, dense, hybrid, queries=100):
    """Every query scores the mean of its size, but for some noise that is the same at all sizes."""
    cells = tuple(
        Cell(
            dim=dim,
            layers=layers,
            scores={"ndcg@10": tuple(np.resize(dense[dim, layers], queries).tolist())},
            hybrid={"ndcg@10": tuple(np.resize(hybrid[dim, layers], queries).tolist())},
            cost=Cost(
                scan_flops=20 * dim,
                vector_bytes=4 * dim,
                encode_flops=1000.0 * layers,
                encode_milliseconds=2.0 * layers,
                scan_milliseconds=0.1 * dim,
            ),
        )
        for dim, layers in SIZES
    )
    return GridResult(
        name=name, fingerprint="x", num_queries=queries, num_documents=10, metrics=("ndcg@10",), cells=cells,
        words_milliseconds=0.5,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A folder that looks like a run; its measurement is written by whoever calls it."""
    for name in ("brickwork.json", "config.json"):
        (tmp_path / name).write_text("{}")

    def written(*grids, words=0.1):
        baselines = {
            one.name: {"BM25": {"ndcg@10": tuple(np.resize(words, one.num_queries).tolist())}}
            for one in grids
        }
        write_scores(
            tmp_path,
            Measurement(fingerprint="x", grids={one.name: one for one in grids}, baselines=baselines),
        )
        return tmp_path

    return written


DENSE = {(8, 2): 0.8, (4, 2): 0.7, (8, 1): 0.6, (4, 1): 0.5}
HYBRID = {(8, 2): 0.9, (4, 2): 0.89, (8, 1): 0.85, (4, 1): 0.7}


def test_the_cheapest_that_keeps_enough_is_chosen_and_is_sure_where_all_queries_agree(run):
    choice = choose(run(grid("docs", DENSE, HYBRID)), keep=0.94)
    assert (
        choice.setting.label == "hybrid at 8 dims, 1 layers"
    )  # 1000 operations fewer than a second layer takes
    assert choice.reference.label == "hybrid at 8 dims, 2 layers"
    assert choice.setting.milliseconds == pytest.approx(2.0 + 0.8 + 0.5)
    assert (choice.setting.vector_bytes, choice.setting.flops) == (32, 1160.0)
    (kept,) = choice.kept
    assert (kept.share, kept.low, kept.high) == pytest.approx((0.85 / 0.9,) * 3)
    assert (choice.holds, choice.sure, choice.kind) == (1.0, choice.setting, "flat")
    assert choose(run(grid("docs", DENSE, HYBRID)), keep=0.98).setting.label == "hybrid at 4 dims, 2 layers"
    assert choose(run(grid("docs", DENSE, HYBRID), words=0.89), keep=0.98).setting.mode == "lexical"


def test_every_set_must_hold(run):
    other = grid("code", DENSE, {**HYBRID, (8, 1): 0.5, (4, 2): 0.5})
    assert (
        choose(run(grid("docs", DENSE, HYBRID), other), keep=0.94).setting.label
        == "hybrid at 8 dims, 2 layers"
    )


def test_what_holds_by_luck_is_not_called_sure(run):
    """The small size keeps .98 of the mean: half of the queries gain .2 by it, the others lose nearly as much."""
    small = {**HYBRID, (8, 2): 0.5, (4, 2): [0.7, 0.29], (8, 1): 0.1, (4, 1): 0.1}
    weak = dict.fromkeys(SIZES, 0.1)
    choice = choose(run(grid("docs", weak, small, queries=40)), keep=0.98)
    assert choice.setting.label == "hybrid at 4 dims, 2 layers"
    assert 0.5 < choice.holds < 0.7
    assert choice.sure == choice.reference
    # By hand: the kept share of a resample is a mean of independent draws.
    rng = np.random.default_rng(1)
    draws = rng.choice([0.7, 0.29], size=(RESAMPLES, 40)).mean(axis=1) / 0.5
    assert choice.holds == pytest.approx((draws >= 0.98).mean(), abs=0.05)
    assert (choice.kept[0].low, choice.kept[0].high) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]), abs=0.03
    )


def test_limits_alone_give_the_best_within_them(run):
    folder = run(grid("docs", DENSE, HYBRID))
    assert choose(folder, max_bytes=16).setting.label == "hybrid at 4 dims, 2 layers"
    assert choose(folder, max_ms=3.4).setting.label == "hybrid at 8 dims, 1 layers"
    fewer = choose(folder, max_ms=3.2, max_bytes=20)
    assert (fewer.setting.label, fewer.holds, fewer.sure) == ("hybrid at 4 dims, 1 layers", None, None)
    assert choose(folder, keep=0.9, documents=2_000_000).kind == "ivf"


def test_a_small_measurement_does_not_make_a_large_search_slow(run):
    """What ten documents take is what a search takes for none: a million are not a hundred thousand times as slow."""
    folder = run(grid("docs", DENSE, HYBRID))
    many = choose(folder, max_bytes=32, documents=1_000_000).setting
    assert many.label == "hybrid at 8 dims, 2 layers"
    scan = 0.8 * (300_000 + 32_000_000) / (300_000 + 320)
    words = 0.5 * (4_500 + 1_000_000) / (4_500 + 10)
    assert many.milliseconds == pytest.approx(4.0 + scan + words)
    assert choose(folder, max_bytes=32, documents=10).setting.milliseconds == pytest.approx(4.0 + 0.8 + 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say what is to hold"),
        ({"keep": 1.2}, "outside 0 … 1"),
        ({"max_ms": -1.0}, "must be more than 0"),
        ({"max_bytes": 16, "keep": 0.999}, "the nearest keeps 0.989: hybrid at 4 dims, 2 layers"),
        ({"max_ms": 0.1}, "no size is within the limits; the cheapest is lexical"),
    ],
)
def test_what_cannot_be_had_is_said(run, options, message):
    with pytest.raises(ConfigError, match=message):
        choose(run(grid("docs", DENSE, HYBRID)), **options)


def test_what_is_no_run_needs_data(tmp_path):
    with pytest.raises(ConfigError, match="is no finished run, which has measured itself: give data"):
        choose(tmp_path / "nowhere", keep=0.9)
    with pytest.raises(ConfigError, match="give data to measure it on"):
        choose("minilm", keep=0.9)


def test_damaged_scores_say_what_to_do(run):
    folder = run(grid("docs", DENSE, HYBRID))
    (folder / "scores.json").write_text('{"grids": {"a": {}}}')
    with pytest.raises(ArtifactError, match=r"(?s)is damaged .* delete it, and it is measured again"):
        choose(folder, keep=0.9)


def test_rankings_in_memory_are_those_of_a_hybrid_search_of_an_index(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    texts = [" ".join(rng.choice(words, size=rng.integers(1, 9))) for _ in range(150)]
    vectors, queries = (truncate(rng.normal(size=(n, 6)).astype(np.float32), 6) for n in (150, 5))
    asked = ["w1 w2", "w3", "nothing", "w4 w4 w5", "w0 w11"]
    backend = LocalBackend.create(
        tmp_path / "index", Contents(model="m", dims=(3, 6), layers=(1,), depths=(1,))
    )
    backend.add(
        [Document(id=f"d{n}", title="", text=t, source="s") for n, t in enumerate(texts)], {1: vectors}
    )
    beside = WordsBeside(asked, texts)
    for dim in (3, 6):
        expected = run_hybrid(backend._snapshot, queries, asked, Plan(stages=((dim, 10),)), Fusion(), 1, None)
        ranked = beside.rank(truncate(queries, dim), truncate(vectors, dim), 10)
        assert ranked.tolist() == [one.rows.tolist() for one in expected]
    assert beside.milliseconds > 0


@pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")
def test_a_training_leaves_what_is_chosen_from(tmp_path):
    config = brickwork.override(
        brickwork.recipe("matryoshka-2d", "smoke"), ["train.steps=2", "data.source=toy", "data.limit=120"]
    )
    summary = brickwork.train(config, tmp_path / "run")
    (entry,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["retrieval"]
    (measured,) = summary.measurement.grids.values()
    for cell, row in zip(measured.cells, entry["cells"]):
        assert row["hybrid"]["ndcg@10"] == pytest.approx(np.mean(cell.hybrid["ndcg@10"]))
    choice = brickwork.choose(tmp_path / "run", keep=0.5)
    assert choice.kept[0].num_queries == entry["queries"]
    assert hybrid_words(summary.representation) is WordsBeside
    # A run of an earlier version has no scores: they are measured again, to the same numbers, and kept.
    scores = tmp_path / "run" / "scores.json"
    kept = json.loads(scores.read_text())
    scores.unlink()
    assert brickwork.choose(tmp_path / "run", keep=0.5).kept == choice.kept
    (again,) = json.loads(scores.read_text())["grids"].values()
    (before,) = kept["grids"].values()
    assert [cell["scores"] for cell in again["cells"]] == [cell["scores"] for cell in before["cells"]]


def test_any_model_chooses_on_data(tmp_path):
    """A model that no run of ours has trained, on a table of the user's; nothing is written."""
    config = brickwork.recipe("matryoshka-2d", "smoke")
    config = brickwork.override(config, ["train.steps=1", "data.source=toy", "data.limit=120"])
    model = brickwork.train(config, tmp_path / "run", measure=False).representation
    model.save(tmp_path / "model")
    pairs = [{"query": f"number {n}", "text": f"this is the text of number {n}"} for n in range(30)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    choice = brickwork.choose(tmp_path / "model", tmp_path / "pairs.jsonl", keep=0.5)
    assert choice.kept[0].num_queries == 30
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model", "pairs.jsonl", "run"]
    assert not (tmp_path / "model" / "scores.json").exists()
