"""Pairs with a label: what contradicts is no positive."""

import json
import warnings

import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.data.load import load_task

LABELS = ("entailment", "neutral", "contradiction")


def task(tmp_path, rows, **chosen):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_task(DataConfig(source=str(path), columns=ColumnNames(**chosen)), 0)


def columns(data):
    parts = (data.train, data.validation, data.test)
    return {name: [v for part in parts for v in part.columns[name]] for name in data.train.columns}


def nli(count, labels=LABELS):
    return [
        {"premise": f"premise {n}", "hypothesis": f"{label} of {n}", "label": label}
        for n in range(count)
        for label in labels
    ]


def test_entailment_and_contradiction_are_triplets(tmp_path):
    data = task(tmp_path, [*nli(30), {"premise": "alone", "hypothesis": "x", "label": "Entailment"}])
    assert data.kind == "triplets"
    read = columns(data)
    assert len(read["anchor"]) == 30
    for anchor, positive, negative in zip(read["anchor"], read["positive"], read["negative"]):
        number = anchor.split()[-1]
        assert (positive, negative) == (f"entailment of {number}", f"contradiction of {number}")
    assert any(
        "30 triplets of a text, what follows from it and what contradicts it" in note for note in data.notes
    )


def test_without_contradictions_the_pairs_of_an_entailment(tmp_path):
    data = task(tmp_path, nli(20, ("entailment", "neutral")))
    assert data.kind == "pairs"
    assert all(text.startswith("entailment") for text in columns(data)["positive"])
    with pytest.raises(DataError, match="'label' says entailment of no row"):
        task(tmp_path, nli(20, ("neutral", "contradiction")))


@pytest.mark.parametrize(
    "values", [(0, 1), (0, 1, 2), ("yes", "no"), (True, False), (1.5, 4.25), ("duplicate", "not_duplicate")]
)
def test_another_judgement_is_asked_about(tmp_path, values):
    rows = [
        {"sentence1": f"a {n}", "sentence2": f"b {n}", "label": values[n % len(values)]} for n in range(40)
    ]
    with pytest.raises(
        DataError, match=r"pairs and a column 'label' .*--column score=label.*--column anchor=NAME"
    ):
        task(tmp_path, rows)
    assert task(tmp_path, rows, anchor="sentence1", positive="sentence2").kind == "pairs"
    if type(values[0]) in (int, float):
        assert task(tmp_path, rows, score="label").kind == "scored"


def test_a_category_of_pairs_is_none(tmp_path):
    rows = [
        {"question": f"q {n}", "answer": f"a {n}", "category": ["rent", "tax", None][n % 3]}
        for n in range(40)
    ]
    data = task(tmp_path, rows)
    assert data.kind == "pairs"
    assert len(columns(data)["anchor"]) == 40
    assert set(data.train.columns) == {"anchor", "positive", "group"}
    assert any("'category' is a category of the pairs and is not learnt" in note for note in data.notes)


@pytest.mark.parametrize("names", [("query", "text"), ("query", "passage"), ("sentence1", "sentence2")])
def test_scores_are_learnt(tmp_path, names):
    rows = [{names[0]: f"a {n}", names[1]: f"b {n}", "score": n / 40} for n in range(40)]
    data = task(tmp_path, rows)
    assert data.kind == "scored"
    assert sorted(columns(data)["score"]) == [n / 40 for n in range(40)]


@pytest.mark.parametrize(
    ("name", "values"),
    [("is_duplicate", (0, 1)), ("is_paraphrase", ("0", "1")), ("entails", (1, 0)), ("relevance", (0, 1, 2))],
)
def test_a_judgement_under_its_own_name_is_asked_about_too(tmp_path, name, values):
    """Quora, MRPC and RTE call it so; half of their pairs are wrong ones."""
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", name: values[n % len(values)]} for n in range(30)]
    with pytest.raises(DataError, match=f"has pairs and a column '{name}'.*keep the rows that are right"):
        task(tmp_path, rows)
    assert task(tmp_path, rows, anchor="sentence1", positive="sentence2").kind == "pairs"
    assert task(tmp_path, rows, score=name).kind == "scored"


def test_a_gold_label_is_a_label(tmp_path):
    rows = [
        {"sentence1": row["premise"], "sentence2": row["hypothesis"], "gold_label": row["label"]}
        for row in nli(9)
    ]
    assert task(tmp_path, rows).kind == "triplets"


def test_answers_that_look_like_classes_are_told(tmp_path):
    rows = [{"question": f"what is {n}?", "answer": n % 2} for n in range(40)]
    told = "'answer' has only 2 different texts in 40 rows; if these are classes"
    (note,) = [note for note in task(tmp_path, rows).notes if told in note]
    assert note.endswith("--column text=question --column label=answer")
    others = [{"question": f"what is {n}?", "answer": n // 2} for n in range(40)]
    assert not any("different text" in note for note in task(tmp_path, others).notes)
