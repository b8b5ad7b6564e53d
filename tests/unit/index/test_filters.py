"""Filters as text and as mappings: what is read, what is refused, and that reading takes linear time."""

import sys

import pytest

from brickwork.core.errors import ConfigError
from brickwork.index import filter_text
from brickwork.index.conditions import Condition, Word
from brickwork.index.filters import Filter, parse_filter

READ = {
    "source=guide.md": [("source", "eq", Word("guide.md"))],
    " a == 1 ,, b!=x y , ": [("a", "eq", Word("1")), ("b", "ne", Word("x y"))],
    "a<=1,b>=2,c<3,d>4": [
        ("a", "lte", Word("1")),
        ("b", "gte", Word("2")),
        ("c", "lt", Word("3")),
        ("d", "gt", Word("4")),
    ],
    "tag in a | b|c d": [("tag", "in", (Word("a"), Word("b"), Word("c d")))],
    "tag IN 'a'|\"b|c\"": [("tag", "in", ("a", "b|c"))],
    'tag in"a"': [("tag", "in", ("a",))],
    '"pub year" >= 2000': [("pub year", "gte", Word("2000"))],
    'place = "Bern, CH" , x=1': [("place", "eq", "Bern, CH"), ("x", "eq", Word("1"))],
    r'"a\"b\\c\n" = "\\"': [('a"b\\c\\n', "eq", "\\")],
    "'it''": None,
    "x=''": [("x", "eq", "")],
    "a.b-c/d:e=1": [("a.b-c/d:e", "eq", Word("1"))],
    "ü=ä": [("ü", "eq", Word("ä"))],
    "a=x|y": [("a", "eq", Word("x|y"))],
    "url=http://h?a=b": [("url", "eq", Word("http://h?a=b"))],
    'size=5"': [("size", "eq", Word('5"'))],
    "in=1": [("in", "eq", Word("1"))],
}


@pytest.mark.parametrize("text", READ)
def test_texts_are_read(text):
    if READ[text] is None:
        with pytest.raises(ConfigError):
            parse_filter(text)
    else:
        assert parse_filter(text) == Filter(tuple(Condition(*one) for one in READ[text]))


REFUSED = {
    "row": "'row': a field is followed by",
    "pub year>=2000": "'pub year>=2000'.*in quotes",
    "=3": "a field is missing",
    "tag=": "a value is missing",
    "tag in": "followed by one of",
    "tag in ": "followed by one of|value is missing",
    "tag in a||b": "a value is missing",
    'place="Bern': 'the quote " is not closed',
    'place="Bern" CH': "more follows",
    "year=>2000": "'>2000' is no value",
    "year>=2000 and tag=a": "a comma separates conditions",
    "tag not in a|b": "followed by one of",
    "a=" + "b" * 10_000: "10,002 characters",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_is_no_filter_is_refused_with_its_place(text):
    with pytest.raises(ConfigError, match=REFUSED[text]):
        parse_filter(text)


def _nested(step, depth=3000):
    value = 1
    for _ in range(depth):
        value = step(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            [1],
            (1,),
            {1},
            {},
            {"eq": {}},
            {"like": 1},
            {"in": []},
            {"in": "abc"},
            {"in": 3},
            b"x",
            float,
        ),
        pytest.param(_nested(lambda inner: [inner]), id="lists in lists"),
        pytest.param(_nested(lambda inner: {"eq": inner}), id="objects in objects"),
        pytest.param({"in": _nested(lambda inner: [inner])}, id="lists in a list"),
        pytest.param({"lt": 10**5000}, id="a number of 5,000 digits"),
    ],
)
def test_mappings_of_what_cannot_be_compared_are_refused(value):
    with pytest.raises(ConfigError, match="filter on 'a'"):
        parse_filter({"a": value})


HOSTILE = [
    "tag=b{}c",
    "{}tag=b",
    "tag{}",
    "tag {}=",
    '"{}',
    "'{}'x",
    "tag in b{}|c",
    "a=1,{}",
    "x{}in{}y",
]


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("filler", [" ", "\t", "a", "\\", '"', "|", ",", "=", "1"])
def test_reading_takes_linear_time(shape, filler, monkeypatch):
    """Counted in calls and not in seconds: of twice the text, twice as many and not four times."""
    monkeypatch.setattr(filter_text, "MAX_LENGTH", 1_000_000)

    def calls(length):
        count = 0

        def step(frame, event, argument):
            nonlocal count
            count += 1

        sys.setprofile(step)
        try:
            parse_filter(shape.replace("{}", filler * length))
        except ConfigError:
            pass
        finally:
            sys.setprofile(None)
        return count

    assert calls(4_000) <= 2.2 * calls(2_000) + 500


def test_words_are_numbers_as_people_write_them():
    for text in ("1", "-2", "1e5", ".5", "01234", "+3"):
        assert Word(text).number() is not None
    for text in ("1_000", "nan", "inf", "1,5", "٣", "0x10", "e", "-", "1 2", ""):
        assert Word(text).number() is None
