"""What is understood from the names of columns."""

import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import ColumnNames
from brickwork.data.readers.columns import describe, document_columns, task_of

GUESSES = [
    (["query", "passage"], "pairs", {"anchor": "query", "positive": "passage"}),
    (["Question", "Answer", "url"], "pairs", {"anchor": "Question", "positive": "Answer"}),
    (["id", "query", "text"], "pairs", {"anchor": "query", "positive": "text"}),
    (["query", "text", "score"], "scored", {"anchor": "query", "positive": "text", "score": "score"}),
    (
        ["premise", "hypothesis", "label"],
        "pairs",
        {"anchor": "premise", "positive": "hypothesis", "label": "label"},
    ),
    (["title", "text"], "pairs", {"anchor": "title", "positive": "text"}),
    (["title", "passage"], "pairs", {"anchor": "title", "positive": "passage"}),
    (
        ["anchor", "positive", "negative"],
        "triplets",
        {"anchor": "anchor", "positive": "positive", "negative": "negative"},
    ),
    (
        ["sentence1", "sentence2", "score"],
        "scored",
        {"anchor": "sentence1", "positive": "sentence2", "score": "score"},
    ),
    (["text", "label"], "labelled", {"text": "text", "label": "label"}),
    (["id", "title", "content", "category"], "labelled", {"text": "content", "label": "category"}),
    (["id", "text"], None, {"text": "text", "id": "id"}),
]


@pytest.mark.parametrize(("columns", "kind", "roles"), GUESSES)
def test_usual_names_are_guessed(columns, kind, roles):
    assert task_of(columns, ColumnNames(), "f.csv") == (kind, roles)


def test_the_users_choice_comes_before_the_guess():
    columns = ["query", "answer", "text", "label", "mine"]
    assert task_of(columns, ColumnNames(text="mine", label="label"), "f")[:2] == (
        "labelled",
        {"text": "mine", "label": "label"},
    )
    assert task_of(columns, ColumnNames(anchor="label", positive="mine"), "f") == (
        "pairs",
        {"anchor": "label", "positive": "mine"},
    )
    assert task_of(["a", "text"], ColumnNames(anchor="a"), "f") == (
        "pairs",
        {"anchor": "a", "positive": "text"},
    )
    columns = ["sentence1", "sentence2", "negative", "score"]
    with pytest.raises(
        DataError, match=r"both negatives \('negative'\) and a score .*--column negative=negative or"
    ):
        task_of(columns, ColumnNames(), "f")
    assert task_of(columns, ColumnNames(negative="negative"), "f")[0] == "triplets"
    assert task_of(columns, ColumnNames(score="score"), "f")[0] == "scored"


def test_a_wrong_column_names_the_nearest_and_all():
    with pytest.raises(DataError) as error:
        task_of(["question", "answer"], ColumnNames(anchor="questoin"), "faq.csv")
    assert str(error.value) == (
        "faq.csv has no column 'questoin' (wanted as anchor): did you mean 'question'? "
        "Its columns are: question, answer"
    )


def test_nothing_understood_lists_the_columns_and_the_option():
    with pytest.raises(DataError, match=r"x, y: no pair and no text.*--column anchor=NAME"):
        task_of(["x", "y"], ColumnNames(), "f.csv")
    with pytest.raises(DataError, match=r"x, y: none is called like a text.*--column text=NAME"):
        document_columns(["x", "y"], ColumnNames(), "f.csv")


def test_documents_need_a_text_only():
    assert document_columns(["only"], ColumnNames(), "f") == {"text": "only"}
    assert document_columns(["_id", "title", "text"], ColumnNames(), "f") == {
        "text": "text",
        "title": "title",
        "id": "_id",
    }
    assert document_columns(["question", "answer"], ColumnNames(), "f")["text"] == "answer"


def test_the_guess_is_told():
    told = describe("pairs", {"anchor": "query", "positive": "passage"})
    assert told == (
        "read as pairs: anchor = 'query', positive = 'passage'; choose otherwise with --column ROLE=NAME"
    )
