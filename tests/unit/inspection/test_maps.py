import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from brickwork.inspection.maps import corpus_map, distinctive_words

WORDS = (("socket", "server"), ("tensor", "gradient"), ("date", "calendar"))


def blobs(count, seed=0):
    rng = np.random.default_rng(seed)
    group = np.arange(count) % 3
    vectors = 4 * np.eye(12)[group] + 0.1 * rng.standard_normal((count, 12))
    titles = [f"{WORDS[g][i % 2]} number {i}" for i, g in enumerate(group)]
    return vectors.astype(np.float32), titles, group


def test_small_corpora_are_placed_by_pca():
    """Oracle: scikit-learn's PCA of the unit vectors (the sign of an axis is free)."""
    vectors, titles, _ = blobs(12)
    results = corpus_map(vectors, titles, num_clusters=3)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = PCA(2, svd_solver="full").fit_transform(unit.astype(np.float64))
    places = np.array([(p.x, p.y) for p in results.points])
    assert results.method == "PCA"
    assert np.abs(places) == pytest.approx(np.abs(expected), abs=1e-6)


def test_groups_are_found_named_and_the_map_repeats():
    vectors, titles, truth = blobs(66)
    results = corpus_map(vectors, titles, num_clusters=3)
    assert results.method == "t-SNE"
    assert adjusted_rand_score(truth, [p.cluster for p in results.points]) == 1.0
    names = {frozenset(cluster.words[:2]) for cluster in results.clusters}
    assert names == {frozenset(pair) for pair in WORDS}
    assert sum(cluster.size for cluster in results.clusters) == 66
    assert corpus_map(vectors, titles, num_clusters=3) == results


def test_a_label_stands_on_a_document_of_its_group():
    vectors, titles, _ = blobs(30)
    results = corpus_map(vectors, titles, num_clusters=3)
    for i, cluster in enumerate(results.clusters):
        assert (cluster.x, cluster.y) in {(p.x, p.y) for p in results.points if p.cluster == i}


def test_large_corpora_are_sampled():
    vectors, titles, _ = blobs(90)
    results = corpus_map(vectors, titles, max_points=20)
    assert len(results.points) == 20
    assert len({p.title for p in results.points}) == 20


@pytest.mark.parametrize("count", [1, 2, 5])
def test_identical_and_single_documents_do_not_fail(count):
    results = corpus_map(np.ones((count, 4), dtype=np.float32), ["12"] * count)
    assert len(results.points) == count
    assert [c.words for c in results.clusters] == [()]


def test_words_set_groups_apart_and_do_not_repeat_a_stem():
    texts = [
        "file files reader common",
        "file files reader common",
        "thread lock common",
        "thread lock common",
    ]
    first, second = distinctive_words(texts, np.array([0, 0, 1, 1]), 2, num_words=2)
    assert set(second) == {"thread", "lock"}
    assert "reader" in first
    assert "common" not in (*first, *second)
    assert len({"file", "files"} & set(first)) == 1
