"""Hard negatives as an option of a run: found once, told, kept for a resume."""

import json
import re

import pytest

import brickwork
from brickwork.api.negatives import NEGATIVES
from brickwork.api.train import build
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.files import read_json
from brickwork.data.splits import normalised

BY_BM25 = "data.hard_negatives.by=bm25"
BY_MODEL = "data.hard_negatives.by=model"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A file of questions with answers, one of which comes under two questions."""
    words = ["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "eats", "house", "tree", "river"]
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"question": f"what of {a} {b}", "answer": f"{a} is {b} and {c}"}
        for a in words
        for b, c in zip(words[1:], words)
    ]
    rows.append({"question": "what of red cat", "answer": rows[-1]["answer"]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


SMALL = {
    "matryoshka-2d": ("smoke", []),
    "matryoshka": ("small", ["model.encoder.backbone=static", "model.encoder.width=16", "model.dims=[]"]),
}


def a_run(pairs, slug, *settings):
    recipe, small = SMALL[slug]
    steps = ["train.steps=4", "train.batch_size=8", "train.validate_every=0"]
    sizes = ["model.encoder.max_tokens=32", "model.encoder.vocab_size=300"]
    return brickwork.override(
        brickwork.recipe(slug, recipe), [f"data.source={pairs}", *sizes, *small, *steps, *settings]
    )


@pytest.mark.parametrize("slug", ["matryoshka-2d", "matryoshka"])
def test_pairs_become_triplets_that_are_trained_on(pairs, slug, tmp_path):
    run = a_run(pairs, slug, BY_BM25, "data.hard_negatives.count=2")
    system, data = build(run)
    plain = build(a_run(pairs, slug))[1]
    columns = data.train.columns
    assert set(zip(columns["anchor"], columns["positive"])) == set(
        zip(plain.train.columns["anchor"], plain.train.columns["positive"])
    )
    answers = {}
    for anchor, positive in zip(plain.train.columns["anchor"], plain.train.columns["positive"]):
        answers.setdefault(normalised(anchor), set()).add(normalised(positive))
    for anchor, negative in zip(columns["anchor"], columns["negative"]):
        assert normalised(negative) not in answers[normalised(anchor)]
    (note,) = [note for note in data.notes if "hard negatives by bm25" in note]
    found, paired, pairs = re.match(r"hard negatives by bm25: (\d+) for (\d+) of (\d+) pairs", note).groups()
    assert int(found) == 2 * int(paired), "two a pair, without those that were drawn at random"
    assert int(pairs) - int(paired) == int((re.search(r"(\d+) pairs had none", note) or [0, 0])[1])
    assert data.validation.columns == plain.validation.columns, "only what is trained on gets negatives"
    rows = list(range(8))
    batch = {**system.collate(data.train.take(rows)), "step": 0, "indices": rows}
    assert batch["negative_group"].shape[0] == len(batch["negative"]) == 8
    assert system.loss(batch).total.isfinite()


def test_a_resume_goes_on_with_the_same_negatives(pairs, tmp_path, monkeypatch):
    run = a_run(pairs, "matryoshka-2d", BY_BM25)
    brickwork.train(run, tmp_path / "run", measure=False)
    kept = read_json(tmp_path / "run" / NEGATIVES)
    again = build(run, tmp_path / "run")[1]
    assert again.mined == kept == build(run)[1].mined

    def not_again(*_):
        raise AssertionError("mined a second time")

    monkeypatch.setattr("brickwork.training.hard_negatives.bm25", not_again)
    brickwork.resume(tmp_path / "run")


def test_by_the_model_itself(pairs, tmp_path):
    """A finished run finds its own negatives: those that its vectors rank first, of those that are none."""
    brickwork.train(a_run(pairs, "matryoshka-2d"), tmp_path / "first", measure=False)
    run = a_run(pairs, "matryoshka-2d", BY_MODEL, f"start={tmp_path / 'first'}")
    system, data = build(run)
    assert system.training
    before = brickwork.load(tmp_path / "first")
    columns = data.train.columns
    a, p, n = (before.encode(columns[name]) for name in ("anchor", "positive", "negative"))
    own, wrong = (a * p).sum(1), (a * n).sum(1)
    hard = wrong < own - 0.05 * abs(own) + 1e-3
    assert hard.mean() > 0.8, "the others had none and got one at random"
    assert build(run)[1].mined == data.mined


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([BY_MODEL], "'scratch' has fresh weights"),
        ([BY_BM25, "data.source=sts_benchmark"], "no effect with scored of texts"),
        ([BY_BM25, "model.variant=closed_form"], "takes no steps"),
        (["data.hard_negatives.count=2"], "count has no effect with no hard_negatives.by"),
    ],
)
def test_refused_where_they_mean_nothing(pairs, settings, words):
    with pytest.raises((ConfigError, DataError), match=words):
        build(a_run(pairs, "matryoshka-2d", *settings))
