"""A stand-in for a representation: fixed vectors for words, so that every search has a computable answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from brickwork.core.elastic import ElasticAxes
from brickwork.data.types import Document

WIDTH = 16


class WordVectors:
    """A text is the sum of random vectors of its words; each depth has other vectors."""

    def __init__(self, seed: int = 0):
        self.axes = ElasticAxes(dims=(2, 4, 8, WIDTH), layers=(1, 2))
        self.seed = seed
        self.fingerprint = f"words-{seed}"
        self.encoder = self
        self.encoded = 0

    def vector(self, word: str, layers: int) -> np.ndarray:
        return np.random.default_rng([self.seed, layers, *word.encode()]).standard_normal(WIDTH)

    def raw(self, texts, layers: int) -> np.ndarray:
        rows = [sum((self.vector(w, layers) for w in t.split()), np.zeros(WIDTH)) for t in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, WIDTH)

    def encode(self, inputs, *, dim=None, layers=None):
        self.encoded += len(inputs)
        vectors = self.raw(inputs, layers or 2)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def save(self, folder):
        Path(folder).mkdir()
        (Path(folder) / "brickwork.json").write_text(json.dumps({"seed": self.seed}))


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
