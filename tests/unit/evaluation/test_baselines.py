"""Word rankings against the formulas, written out."""

import math
import sys

import numpy as np
import pytest

from brickwork.core.errors import MissingExtraError
from brickwork.core.words import words
from brickwork.evaluation.baselines import rank_bm25, rank_tfidf

DOCUMENTS = [
    "read a csv file into a table",
    "write table rows to disk",
    "parse json text text text",
    "csv csv writer and reader for csv files with many other words in a long document about rows",
    "def read_csv(path): open the path",
]


def bm25(query, documents, stop):
    """Lucene's BM25 (the default of bm25s): k1 = 1.5, b = 0.75, idf = ln(1 + (N − n + 0.5)/(n + 0.5))."""
    corpus = [[w for w in words(d) if w not in stop] for d in documents]
    mean = sum(map(len, corpus)) / len(corpus)
    scores = []
    for document in corpus:
        total = 0.0
        for word in [w for w in words(query) if w not in stop]:
            n = sum(word in d for d in corpus)
            tf = document.count(word)
            idf = math.log(1 + (len(corpus) - n + 0.5) / (n + 0.5))
            total += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(document) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["csv rows", "read the file", "json", "table csv reader"])
def test_bm25_equals_the_formula(query):
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    scores = bm25(query, DOCUMENTS, ENGLISH_STOP_WORDS)
    expected = [i for i in sorted(range(5), key=lambda i: -scores[i]) if scores[i] > 0]
    results = rank_bm25([query], DOCUMENTS, 5)[0]
    assert results[: len(expected)].tolist() == expected
    assert (results[len(expected) :] == -1).all()


def test_tfidf_equals_the_formula():
    # scikit-learn's documented weights: (1 + ln tf) · (ln((1 + N)/(1 + n)) + 1), rows at unit length.
    corpus = [words(d) for d in DOCUMENTS]
    vocabulary = sorted({w for d in corpus for w in d})
    idf = {w: math.log(6 / (1 + sum(w in d for d in corpus))) + 1 for w in vocabulary}

    def vector(tokens):
        counts = np.array([tokens.count(w) for w in vocabulary], dtype=float)
        weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * [idf[w] for w in vocabulary]
        return weights / max(np.linalg.norm(weights), 1e-12)

    query = "read csv rows"
    scores = np.array([vector(d) for d in corpus]) @ vector(words(query))
    expected = [int(i) for i in np.argsort(-scores) if scores[i] > 0]
    results = rank_tfidf([query], DOCUMENTS, 5)[0]
    assert results[: len(expected)].tolist() == expected


@pytest.mark.parametrize("rank", [rank_bm25, rank_tfidf])
def test_no_shared_word_and_few_documents(rank):
    results = rank(["zzz", "csv", ""], DOCUMENTS, 10)
    assert results.shape == (3, 5)
    assert (results[[0, 2]] == -1).all()
    assert results[1, 0] >= 0
    assert (rank(["csv"], ["", "!"], 3) == -1).all()


def test_identifiers_are_split():
    assert words("read_csv(HTTPServer, x)") == ["read_csv", "read", "csv", "httpserver", "http", "server"]


def test_missing_bm25s_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r"brickwork\[train\]"):
        rank_bm25(["a b"], DOCUMENTS, 1)
