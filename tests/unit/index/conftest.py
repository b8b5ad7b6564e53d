"""What the tests of the index share: a stand-in for a model, and documents."""

import numpy as np
import pytest
from word_vectors import WordVectors

from brickwork.data.types import Document


@pytest.fixture
def model() -> WordVectors:
    return WordVectors()


@pytest.fixture
def documents() -> list[Document]:
    rng = np.random.default_rng(0)
    vocabulary = [f"word{i}" for i in range(60)]
    return [
        Document(
            id=f"d{i}",
            title=f"title{i}" if i % 3 else "",
            text=" ".join(rng.choice(vocabulary, size=rng.integers(1, 9)))
            + (" größe\u2028" if i == 5 else ""),
            source=f"file{i % 4}.txt",
            meta={"row": i},
        )
        for i in range(150)
    ]


@pytest.fixture
def exits(monkeypatch):
    """Stands in for the one-pass encoding of several depths."""

    def fake(encoder, texts, *, layers, **_):
        return {depth: encoder.raw(texts, depth) for depth in layers}

    monkeypatch.setattr("brickwork.representation.encode.encode_exits", fake)
