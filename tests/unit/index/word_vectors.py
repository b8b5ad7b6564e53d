"""A stand-in for a representation: fixed vectors for words, so that every search has a computable answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.elastic import ElasticAxes

WIDTH = 16


class WordVectors:
    """A text is the sum of random vectors of its words; each depth has other vectors."""

    def __init__(self, seed: int = 0):
        self.axes = ElasticAxes(dims=(2, 4, 8, WIDTH), layers=(1, 2))
        self.seed = seed
        self.fingerprint = f"words-{seed}"
        self.encoder = self
        self.card: dict[str, Any] = {}
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
