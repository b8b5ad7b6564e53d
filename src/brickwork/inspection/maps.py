"""A 2-D map of vectors: near documents lie near each other, groups carry the words that set them apart.

PCA, then t-SNE (van der Maaten & Hinton 2008; scikit-learn's Barnes-Hut) with a fixed seed in one thread, so
the same vectors give the same map. Distances between far groups mean little: a map is for looking.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import naming_extras
from brickwork.inspection.report_data import CorpusMap, MapCluster, MapPoint

_ENOUGH_FOR_TSNE = 50


@naming_extras("a map")
def corpus_map(
    vectors: Float[np.ndarray, "documents dim"],
    titles: Sequence[str],
    texts: Sequence[str] | None = None,
    *,
    num_clusters: int | None = None,
    max_points: int = 1500,
    seed: int = 0,
) -> CorpusMap:
    """The map of documents, at most ``max_points`` of them (a random sample, the same for a seed).

    ``texts`` name the groups (default: the titles). Fewer than 50 documents are placed by PCA alone.
    About 4 s for 1,500 documents on one core.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    words = titles if texts is None else texts
    rows = np.arange(len(vectors))
    if len(rows) > max_points:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_points, replace=False))
    keep = [int(row) for row in rows]
    chosen = np.asarray(vectors[keep], dtype=np.float64)
    chosen /= np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)
    with threadpool_limits(1):
        reduced = principal(chosen, 50)
        distinct = len(np.unique(chosen, axis=0))
        places, method = _layout(reduced, seed, distinct)
        count = num_clusters or int(np.clip(round(np.sqrt(len(keep)) / 3), 1, 12))
        count = min(count, distinct)
        groups = KMeans(count, n_init=4, random_state=seed).fit_predict(reduced)
    names = distinctive_words([words[i] for i in keep], groups, count)
    clusters = []
    for group, name in enumerate(names):
        members = places[groups == group]
        x, y = _densest(members)
        clusters.append(MapCluster(x=x, y=y, size=len(members), words=name))
    points = [
        MapPoint(x=float(x), y=float(y), cluster=int(group), title=titles[i])
        for (x, y), group, i in zip(places, groups, keep)
    ]
    return CorpusMap(points=tuple(points), clusters=tuple(clusters), method=method)


def principal(
    vectors: Float[np.ndarray, "documents dim"], count: int
) -> Float[np.ndarray, "documents components"]:
    """The first ``count`` principal components; the sign of each makes its largest loading positive."""
    left, scale, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    largest = np.abs(axes).argmax(axis=1)
    signs = np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)
    return (left * (scale * signs))[:, :count]


def _layout(
    reduced: Float[np.ndarray, "documents components"], seed: int, distinct: int
) -> tuple[np.ndarray, str]:
    """Two coordinates a document, and the name of the method."""
    from sklearn.manifold import TSNE

    if distinct < _ENOUGH_FOR_TSNE:
        flat = np.zeros((len(reduced), 2))
        flat[:, : min(2, reduced.shape[1])] = reduced[:, :2]
        return flat, "PCA"
    tsne = TSNE(
        2, perplexity=min(30.0, len(reduced) / 4), init="pca", max_iter=500, random_state=seed, n_jobs=1
    )
    return tsne.fit_transform(reduced), "t-SNE"


def _densest(places: Float[np.ndarray, "members 2"]) -> tuple[float, float]:
    """The member with the nearest neighbours: a label there stands on its group even if parts lie apart."""
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    nearest = np.sort(distances, axis=1)[:, : max(2, len(places) // 4)].mean(axis=1)
    x, y = places[int(nearest.argmin())]
    return float(x), float(y)


@naming_extras("a map")
def distinctive_words(
    texts: Sequence[str], groups: Int[np.ndarray, " documents"], num_groups: int, num_words: int = 3
) -> list[tuple[str, ...]]:
    """For each group, the words whose mean TF-IDF weight is highest above that of the other documents.

    A word whose beginning is another chosen word (or the other way round) is skipped: ``file`` and ``files``
    say the same.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        stop_words="english",
        token_pattern=r"\b[^\W\d_]{3,}\b",
        sublinear_tf=True,
        min_df=1,
        max_features=20_000,
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no word left, for example only numbers
        return [()] * num_groups
    vocabulary = vectorizer.get_feature_names_out()
    total = np.asarray(weights.sum(axis=0)).ravel()
    names = []
    for group in range(num_groups):
        inside = groups == group
        own = np.asarray(weights[inside].sum(axis=0)).ravel()
        score = own / max(inside.sum(), 1) - (total - own) / max((~inside).sum(), 1)
        chosen: list[str] = []
        for i in np.argsort(-score, kind="stable"):
            if len(chosen) == num_words or own[i] == 0:
                break
            word = str(vocabulary[i])
            if not any(word.startswith(other) or other.startswith(word) for other in chosen):
                chosen.append(word)
        names.append(tuple(chosen))
    return names
