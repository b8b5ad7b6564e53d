"""What becomes a word."""

import pytest

from brickwork.core.words import query_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Resume a run!", ["resume", "run"]),
        ("read_csv(HTTPServer2)", ["read_csv", "read", "csv", "httpserver2", "http", "server"]),
        ("Café Größe_max", ["café", "größe_max", "größe", "max"]),
        ("東京タワー2024", ["東京", "京タ", "タワ", "ワー", "2024"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_long_words_are_cut():
    assert words("a" * 100_000 + "_bc1") == ["a" * 200, "a" * 200, "bc"]


def test_a_question_keeps_what_it_is_about():
    assert query_words("how do I resume a run?") == ["resume", "run"]
    assert query_words("The Who") == ["the", "who"], "unless nothing else is there"
