"""What is measured: how well the documents of a class are found, by protocol, and how the bits lie.

Shape legend: Q queries, N documents of the database, b bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.data.vocabulary import Vocabulary
from brickwork.studies.bench import Trained
from brickwork.studies.binary_paragraph_vector.rivals import itq
from brickwork.studies.binary_paragraph_vector.setups import real_vectors
from brickwork.systems.binary_paragraph_vector.measures import (
    by_chance,
    hamming,
    hyperplanes,
    levels_of,
    quality,
    tf_idf,
)

QUERIES, DATABASE = 1000, 2000  # documents at most
PROTOCOLS = ("test-test", "test-train")
REAL = "PV without bits"
"""The arm without bits, of which LSH and ITQ make some."""
_BALL = 2

Place = tuple[str, str, str]
"""Row, protocol, quality."""


@dataclass(frozen=True)
class Searched:
    """Held-out documents, which are queries, and those of the training among which they search as well."""

    queries: list[str]
    of_queries: Int[np.ndarray, " queries"]
    database: list[str]
    of_database: Int[np.ndarray, " documents"]

    @classmethod
    def of(cls, data: Any, vocabulary: Vocabulary) -> "Searched":
        """The first of each part with a word of the vocabulary."""

        def knows(text: str) -> bool:
            return any(word in vocabulary.ids for word in vocabulary.tokenize(text))

        sides: list[Any] = []
        for part, most in ((data.test, QUERIES), (data.train, DATABASE)):
            columns = part.columns
            rows = [row for row, text in enumerate(columns["input"]) if knows(text)][:most]
            sides += [[columns["input"][row] for row in rows], np.asarray(columns["label"])[rows]]
        return cls(*sides)


def qualities(models: Mapping[str, Trained]) -> dict[Place, float]:
    """Mean average precision and nDCG@10 of the codes of all models by both protocols; of LSH and ITQ at the sizes of codes,
    of cosines of real vectors and of TF-IDF, of random codes; and of the codes how their bits lie."""
    some = next(iter(models.values()))
    vocabulary = vocabulary_of(some.system)
    searched = Searched.of(some.data, vocabulary)
    scores: dict[Place, float] = {}
    for name, trained in models.items():
        if name == REAL:
            scores |= _after_training(name, trained, searched, sorted(_sizes(models)))
        else:
            scores |= nested(name, trained, searched)
    words = [
        tf_idf(vocabulary.bags(texts).toarray(), vocabulary)
        for texts in (searched.queries, searched.database)
    ]
    scores |= by_cosine("TF-IDF by cosine", searched, *words)
    rng = np.random.default_rng([some.seed, 1])
    random = [rng.random((len(texts), 32)) < 0.5 for texts in (searched.queries, searched.database)]
    scores |= by_bits("random codes 32", searched, *random)
    return scores | {
        ("random order", "test-test", "map"): by_chance(searched.of_queries),
        ("random order", "test-train", "map"): by_chance(searched.of_queries, searched.of_database),
    }


def transfers(models: Mapping[str, Trained]) -> dict[Place, float]:
    """The same of codes whose words were learnt from other documents (``carried over``) and from these (``at home``), of
    hyperplanes on TF-IDF that knows the words of the other documents alone, and of random codes."""
    carried = models["carried over"]
    vocabulary = vocabulary_of(carried.system)
    searched = Searched.of(carried.data, vocabulary)
    scores: dict[Place, float] = {}
    for name, trained in models.items():
        scores |= nested(name, trained, searched)
    bits = max(sizes_of(carried.system))
    sides = (searched.queries, searched.database)
    words = [tf_idf(vocabulary.bags(texts).toarray(), vocabulary) for texts in sides]
    scores |= by_cosine("TF-IDF by cosine", searched, *words)
    scores |= by_bits("TF-IDF + LSH", searched, *(hyperplanes(one, bits, carried.seed) for one in words))
    rng = np.random.default_rng([carried.seed, 1])
    return scores | by_bits(
        "random codes", searched, *(rng.random((len(texts), bits)) < 0.5 for texts in sides)
    )


def vocabulary_of(system: Any) -> Vocabulary:
    """The words that a model knows."""
    vocabulary: Vocabulary = system.vocabulary if hasattr(system, "vocabulary") else system.encoder.vocabulary
    return vocabulary


def _sizes(models: Mapping[str, Trained]) -> set[int]:
    return {size for name, t in models.items() if name != REAL for size in sizes_of(t.system)}


def sizes_of(system: Any) -> tuple[int, ...]:
    """The sizes of codes that a model was trained for; of an autoencoder the one."""
    config = getattr(system, "config", None)
    return (system.num_bits,) if config is None else config.nested


def nested(name: str, trained: Trained, searched: Searched) -> dict[Place, float]:
    """A model's codes at each of its sizes."""
    queries, database = (trained.system.bits(texts) for texts in (searched.queries, searched.database))
    scores: dict[Place, float] = {}
    sizes = sizes_of(trained.system)
    for size in sizes:
        row = name if len(sizes) == 1 else f"{name}, first {size}"
        scores |= by_bits(row, searched, queries[:, :size], database[:, :size])
    return scores


def _after_training(name: str, trained: Trained, searched: Searched, sizes: list[int]) -> dict[Place, float]:
    """Real vectors by their cosine, and as bits made of them by random hyperplanes and by ITQ."""
    queries, database = (
        real_vectors(trained.system, texts) for texts in (searched.queries, searched.database)
    )
    scores = by_cosine(f"{name} by cosine", searched, queries, database)
    for size in sizes:
        planes = [hyperplanes(vectors, size, trained.seed) for vectors in (queries, database)]
        scores |= by_bits(f"{name} + LSH {size}", searched, *planes)
        if size <= queries.shape[1] < len(database):
            rotated = [itq(database, vectors, size) for vectors in (queries, database)]
            scores |= by_bits(f"{name} + ITQ {size}", searched, *rotated)
    return scores


def by_bits(
    row: str,
    searched: Searched,
    queries: Bool[np.ndarray, "queries bits"],
    database: Bool[np.ndarray, "documents bits"],
) -> dict[Place, float]:
    """Both protocols; ``balance``: how far bits are from being 1 in half of the documents; ``distinct``: different codes
    over documents; ``ball``: median number of database documents that differ in at most two bits from a query."""
    own, others = hamming(queries, queries), hamming(queries, database)
    scores = _both(row, searched, own, others)
    scores[row, "bits", "balance"] = float(np.abs(database.mean(0) - 0.5).mean())
    scores[row, "bits", "distinct"] = len(np.unique(database, axis=0)) / len(database)
    scores[row, "bits", "ball"] = float(np.median((others <= _BALL).sum(1)))
    return scores


def by_cosine(
    row: str,
    searched: Searched,
    queries: Float[np.ndarray, "queries dim"],
    database: Float[np.ndarray, "documents dim"],
) -> dict[Place, float]:
    """Both protocols."""
    return _both(row, searched, levels_of(queries @ queries.T), levels_of(queries @ database.T))


def _both(row: str, searched: Searched, own: np.ndarray, others: np.ndarray) -> dict[Place, float]:
    found = {
        "test-test": quality(own, searched.of_queries),
        "test-train": quality(others, searched.of_queries, searched.of_database),
    }
    return {
        (row, protocol, name): float(values.mean())
        for protocol, qualities_of in found.items()
        for name, values in qualities_of.items()
    }


# ---- a short list by bits, then by vectors ---------------------------------------------------------------------------


def shortlists(models: Mapping[str, Trained], share: float) -> dict[tuple[str, str], float]:
    """nDCG@10 of documents of the training for held-out queries by cosine: of all, and of the nearest ``share`` by bits
    alone (equally near ones by chance), by row.

    Rows: ``joint``, codes and vectors learnt together; ``apart``, vectors learnt without bits, and hyperplanes as many as
    there are bits; ``random list``: the vectors of ``joint`` with as many documents by chance.
    """
    joint, apart = models["joint"], models["apart"]
    searched = Searched.of(joint.data, vocabulary_of(joint.system))
    sides = (searched.queries, searched.database)
    rng = np.random.default_rng([joint.seed, 3])
    bits = joint.system.config.bits
    scores: dict[tuple[str, str], float] = {}
    for row, trained in (("joint", joint), ("apart", apart)):
        vectors = [real_vectors(trained.system, texts) for texts in sides]
        cosines = vectors[0] @ vectors[1].T
        if row == "joint":
            codes = [trained.system.bits(texts) for texts in sides]
        else:
            codes = [hyperplanes(one, bits, trained.seed) for one in vectors]
        different = hamming(codes[0], codes[1])
        scores[row, "all"] = _ndcg(cosines, searched)
        scores[row, "short list"] = _ndcg(listed(cosines, different, share, rng), searched)
        if row == "joint":
            chance = listed(cosines, np.zeros_like(different), share, rng)
            scores["random list", "short list"] = _ndcg(chance, searched)
            scores["random list", "all"] = scores["joint", "all"]
            scores["bits alone", "all"] = _ndcg(-different.astype(np.float64), searched)
    return scores


def listed(
    cosines: Float[np.ndarray, "queries documents"],
    different: Int[np.ndarray, "queries documents"],
    share: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "queries documents"]:
    """The cosines of the nearest ``share`` of documents by bits, at most; −2 for the others."""
    count = max(1, int(share * cosines.shape[1]))
    order = np.argsort(different + rng.random(different.shape), axis=1)
    kept = np.full(cosines.shape, -2.0)
    nearest = order[:, :count]
    np.put_along_axis(kept, nearest, np.take_along_axis(cosines, nearest, 1).astype(np.float64), 1)
    return kept


def _ndcg(scores: np.ndarray, searched: Searched) -> float:
    return float(quality(levels_of(scores), searched.of_queries, searched.of_database)["ndcg@10"].mean())
