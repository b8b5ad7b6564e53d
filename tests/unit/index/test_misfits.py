"""Filters whose values cannot be what the field holds: told with a value that would fit, and once."""

import datetime

import numpy as np
import pytest

from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.filters import DocumentFields, parse_filter
from brickwork.index.misfits import misfits

METAS = [
    {"year": 1990 + n, "day": f"2024-05-{n + 1:02}", "open": n % 2 == 0, "place": place, "zip": f"{1000 + n:05}",
     "room": room}
    for n, (place, room) in enumerate([("Bern", "9"), ("Basel", "10"), ("Chur", "11")])
]  # fmt: skip
DOCUMENTS = [
    Document(id=f"d{n}", title=f"t{n}", text=f"word{n}", source="a.txt", meta=meta)
    for n, meta in enumerate(METAS)
]

MISFITS = {
    "year>=abc": "its values are numbers, for example 1990; 'abc' is of another kind and matches nothing",
    "year=abc": "its values are numbers",
    "year!=abc": "lets everything through",
    "year in 1990|abc": "'abc' is of another kind",
    "year=2020-01-01": "its values are numbers",
    "year=true": "its values are numbers",
    "day=2024-5-1": "its values are dates, for example 2024-05-01; '2024-5-1' is of another kind and matches nothing",
    "day>=2024-5-1": "is compared with them letter by letter",
    "day<1.5.2024": "its values are dates",
    "open=yes": "its values are true or false; 'yes' is of another kind",
    "open>=1": "its values are true or false",
    "place>5": "its values are texts, for example Bern, so 5 is compared with them letter by letter",
    "room>=9": "letter by letter",
    "id>5": "letter by letter",
}
FITS = (
    "year>=1991", 'year="1990"', "year!=1990", "day>=2024-05-02", "day>=2024", "day<2024-06", "day=2024-05-09", "open=true",
    "open!=false", "place=Bern", "place=5th", "place>=C", "zip>=01001", "zip=01000", "room=9", "title=none",
    "id=7", "source>b",
)  # fmt: skip


@pytest.fixture(params=["documents", "index"])
def notes_of(request, model, tmp_path):
    if request.param == "index":
        index = build_index(model, DOCUMENTS, tmp_path / "index")
        return lambda where: index.answer("word1", where=where).notes
    return lambda where: misfits(parse_filter(where), DocumentFields(DOCUMENTS), found=False)


@pytest.mark.parametrize("where", MISFITS)
def test_a_value_of_another_kind_is_told(notes_of, where):
    (note,) = notes_of(where)
    assert MISFITS[where] in note
    assert note.startswith(f"filter on '{where[: 2 if where[:2] == 'id' else 4].rstrip('=>!<')}")


@pytest.mark.parametrize("where", FITS)
def test_a_value_that_fits_is_not(notes_of, where):
    assert not notes_of(where)


def test_values_of_mappings(notes_of):
    assert not notes_of({"year": {"gte": np.int64(1991)}, "day": {"gte": datetime.date(2024, 5, 2)}})
    (note,) = notes_of({"place": {"gte": datetime.date(2024, 5, 2)}})
    assert "its values are texts, for example Bern; '2024-05-02' is of another kind" in note
    first, second = notes_of({"year": {"gte": "abc", "lt": 2000}, "open": "no"})
    assert "year" in first
    assert "open" in second


def test_removed_documents_are_no_examples(model, tmp_path):
    index = build_index(model, DOCUMENTS, tmp_path / "index")
    index.remove(["d0"])
    (note,) = index.answer("word1", where="year>=abc").notes
    assert "for example 1991" in note
    assert index.answer("word1", where="place>5").notes[0].count("Basel") == 1
