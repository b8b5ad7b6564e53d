"""What is measured of an arm: topics and search on held-out posts, and similarity of sentences.

All numbers are in percent or hundredths of a correlation; vectors come with and without their first principal component.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.words import plain_words
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples
from brickwork.evaluation.clustering import clustering_scores
from brickwork.evaluation.probes import knn_probe
from brickwork.evaluation.similarity import spearman
from brickwork.studies.bench import Trained
from brickwork.studies.text2token.halves import cut_alike, found_by, halves
from brickwork.systems.text2token.alignment import alignment, whitened, without_first

PARTS = ("knn", "v", "halves", "sts")
MACRO = "macro"
PLAIN, WITHOUT, WHITE = "as they are", "without u₁", "whitened"
_NEIGHBOURS = 5
_HELD, _FITTED = 400, 1000
_LOW = 1 / 3  # of the pairs, those with the least words in common


@cut_alike()
def quality(trained: Trained) -> dict[tuple[str, str], float]:
    """(vectors, task) → percent: neighbours' topics (``knn``), V-measure of k-means (``v``), nDCG@10 of the second half of a
    post for its first (``halves``), Spearman on STS-B (``sts``, and ``few words in common``), and the mean of the four."""
    train = trained.data.train.columns
    test = trained.data.test.columns
    encode = trained.system.encode
    posts = list(test["input"][:_HELD])
    first, second = zip(*map(halves, posts))
    pairs = _pairs()
    own = {
        "train": encode(list(train["input"][:_FITTED])),
        "test": encode(posts),
        "first": encode(list(first)),
        "second": encode(list(second)),
        "anchor": encode(pairs.columns["anchor"]),
        "positive": encode(pairs.columns["positive"]),
    }
    labels = np.asarray(train["label"][:_FITTED]), np.asarray(test["label"][:_HELD])
    results: dict[tuple[str, str], float] = {}
    for name, change in ((PLAIN, None), (WITHOUT, without_first), (WHITE, whitened)):
        vectors = own if change is None else {n: change(v, own["train"]) for n, v in own.items()}
        results |= {(name, task): value for task, value in scores_of(vectors, labels, pairs).items()}
    return results


def scores_of(
    vectors: dict[str, Float[np.ndarray, "_ width"]], labels: tuple[Any, Any], pairs: Examples
) -> dict[str, float]:
    """The tasks of :func:`quality` for some vectors."""
    from sklearn.cluster import KMeans

    classes = len(set(labels[1].tolist()))
    found = KMeans(classes, n_init=3, random_state=0).fit_predict(vectors["test"])
    predicted = (vectors["anchor"] * vectors["positive"]).sum(1)
    wanted = np.asarray(pairs.columns["score"])
    few = low_overlap(pairs)
    results = {
        "knn": knn_probe(vectors["train"], labels[0], vectors["test"], labels[1], k=_NEIGHBOURS).accuracy,
        "v": clustering_scores(labels[1], found)["v"],
        "halves": found_by(vectors["first"], vectors["second"]),
        "sts": spearman(predicted, wanted),
        "few words in common": spearman(predicted[few], wanted[few]),
    }
    results[MACRO] = float(np.mean([results[part] for part in PARTS]))
    return {name: 100 * value for name, value in results.items()}


def words_alone(trained: Trained) -> dict[tuple[str, str], float]:
    """The same of TF-IDF vectors in 100 dimensions (truncated SVD) of the same training texts: the classical control."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    from brickwork.representation.truncate import truncate

    train, test = trained.data.train.columns, trained.data.test.columns
    posts = list(test["input"][:_HELD])
    first, second = zip(*map(halves, posts))
    pairs = _pairs()
    texts = {
        "train": list(train["input"][:_FITTED]),
        "test": posts,
        "first": first,
        "second": second,
        "anchor": pairs.columns["anchor"],
        "positive": pairs.columns["positive"],
    }
    counts = TfidfVectorizer(analyzer=plain_words, sublinear_tf=True, min_df=2, max_df=0.1)
    matrix = counts.fit_transform(train["input"])
    reduced = TruncatedSVD(min(100, matrix.shape[1] - 1), random_state=0).fit(matrix)
    vectors = {
        name: truncate(reduced.transform(counts.transform(some)), reduced.components_.shape[0])
        for name, some in texts.items()
    }
    labels = np.asarray(train["label"][:_FITTED]), np.asarray(test["label"][:_HELD])
    return {(PLAIN, task): value for task, value in scores_of(vectors, labels, pairs).items()}


def low_overlap(pairs: Examples) -> Sequence[int]:
    """The third of the pairs that have the least words in common (Jaccard), in their order."""
    shared = []
    for a, b in zip(pairs.columns["anchor"], pairs.columns["positive"]):
        one, other = set(plain_words(a)), set(plain_words(b))
        shared.append(len(one & other) / max(len(one | other), 1))
    return sorted(np.argsort(shared, kind="stable")[: round(_LOW * len(shared))].tolist())


@cache
def _pairs() -> Examples:
    """The test part of STS-B."""
    return load_task(DataConfig(source="sts_benchmark"), 0).test


@cut_alike()
def watched(system: Any, texts: Sequence[str], train: dict[str, Any], labels: Any) -> dict[str, float]:
    """While an arm learns: KL of q^D, Hit@10, LAR, GAR, uniformity (Wang & Isola 2020, eq. 2, less is more even), and how
    often the nearest training post has the topic."""
    from brickwork.objectives.distillation import Sparse, kl_to
    from brickwork.systems.text2token.keywords import padded

    representation = system.representation()
    p = representation.probabilities(texts)
    q = padded([system.key_words.present(text, 64) for text in texts], 64)
    there = (q.probs.sum(1) > 0).numpy()
    kl = kl_to(Sparse(q.ids[there], q.probs[there]), p[there].log())
    vectors = representation.encode(list(texts))
    order = p.argsort(dim=1, descending=True)[:, :64].numpy()
    squared = np.clip(2 - 2 * vectors @ vectors.T, 0, None)[np.triu_indices(len(vectors), 1)]
    neighbours = knn_probe(
        representation.encode(train["input"]), np.asarray(train["label"]), vectors, labels, k=_NEIGHBOURS
    )
    return {
        "kl": float(kl),
        **alignment(order, [set(system.key_words.counts(text)) for text in texts]),
        "uniformity": float(np.log(np.exp(-2 * squared).mean())),
        "knn": neighbours.accuracy,
    }
