"""The compatibility matrix: published numbers, small cases by hand, and an independent count."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from brickwork.core.errors import ConfigError, DataError
from brickwork.evaluation.compatibility import (
    CompatibilityMatrix,
    compatibility_matrix,
    retrieval_matrix,
    satisfied_triplets,
)

# The experience-replay baseline on seven tasks, as printed in the evaluation notebook of miccunifi/iamcl2r (18495ac).
PUBLISHED = """
.6342
.61556 .63092
.11708 .1123 .72734
.1143 .1053 .69232 .703
.0908 .07756 .09296 .08552 .74464
.08512 .07364 .10338 .09524 .7226 .72312
.09718 .08578 .0975 .09748 .70352 .7063 .71544
"""


def published() -> CompatibilityMatrix:
    rows = tuple(tuple(map(float, line.split())) for line in PUBLISHED.split("\n") if line)
    return CompatibilityMatrix(names=tuple("1234567"), values=rows, metric="identification accuracy")


def test_numbers_of_the_paper_from_its_matrix():
    """Published: AC 0.00, AA 35.18."""
    matrix = published()
    assert matrix.average_compatibility == 0.0
    assert round(matrix.average_accuracy, 2) == 35.18
    assert matrix.average_accuracy == pytest.approx(35.17892857142857)  # their code on it


def test_numbers_by_hand():
    matrix = CompatibilityMatrix(
        names=("a", "b", "c"), values=((0.5,), (0.6, 0.7), (0.5, 0.4, 0.0)), metric="accuracy"
    )
    # cross-tests: .6 > .5 passes; .5 = .5 is a tie and fails; .4 < .7 fails
    assert matrix.average_compatibility == pytest.approx(1 / 3)
    assert matrix.average_accuracy == pytest.approx(100 * 2.7 / 6)  # the true 0 counts
    assert matrix.mean_self == pytest.approx(40)
    assert matrix.mean_cross == pytest.approx(50)
    assert matrix.mean_gain == pytest.approx(100 * (0.1 + 0.0 - 0.3) / 3)


def test_one_model_has_no_cross_tests():
    matrix = CompatibilityMatrix(names=("a",), values=((0.5,),), metric="accuracy")
    summary = matrix.summary()
    assert summary["average_compatibility"] is summary["mean_cross"] is summary["mean_gain"] is None
    assert summary["average_accuracy"] == 50


def test_a_matrix_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="rows of 1, 2"):
        CompatibilityMatrix(names=("a", "b"), values=((0.5,), (0.5,)), metric="accuracy")


@pytest.fixture
def series():
    """Two models as random maps of the same noisy classes; the second is near the first."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 6))
    labels, query_labels = np.arange(80) % 4, np.arange(60) % 4
    gallery = centres[labels] + rng.standard_normal((80, 6))
    queries = centres[query_labels] + rng.standard_normal((60, 6))
    maps = [np.eye(6), np.eye(6) + 0.4 * rng.standard_normal((6, 6))]
    unit = [[x @ m / np.linalg.norm(x @ m, axis=1, keepdims=True) for m in maps] for x in (queries, gallery)]
    return (
        [x.astype(np.float32) for x in unit[0]],
        query_labels,
        [x.astype(np.float32) for x in unit[1]],
        labels,
    )


@pytest.mark.parametrize("search", ["identification", "nearest neighbour"])
def test_entries_are_those_of_scikit_learn(series, search):
    """Of unit vectors, the nearest by cosine is the nearest by distance; centroids are brought to length 1 first."""
    queries, query_labels, gallery, labels = series
    results = compatibility_matrix(queries, query_labels, gallery, labels, search=search)
    judge = KNeighborsClassifier(1)
    for i in range(2):
        for j in range(i + 1):
            if search == "identification":
                means = np.stack([gallery[j][labels == c].mean(0) for c in range(4)])
                judge.fit(means / np.linalg.norm(means, axis=1, keepdims=True), np.arange(4))
            else:
                judge.fit(gallery[j], labels)
            assert results.values[i][j] == pytest.approx(judge.score(queries[i], query_labels))
    assert results.chance == 0.25
    assert len(set(np.concatenate(results.values))) > 1


def test_retrieval_entries_by_hand():
    """Three documents, the second model swaps two of them."""
    documents = [np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[[1, 0, 2]]]
    queries = [x.copy() for x in documents]
    results = retrieval_matrix(queries, documents, [{0: 1}, {1: 1}, {2: 1}], metric="recall@1")
    assert results.values == ((1.0,), (pytest.approx(1 / 3), 1.0))


def test_widths_that_differ_say_what_to_do():
    with pytest.raises(
        ConfigError, match=r"model 1 gives vectors of 3 dimensions and model 2 of 4.*model\.previous"
    ):
        compatibility_matrix(
            [np.ones((2, 3)), np.ones((2, 4))],
            np.zeros(2, int),
            [np.ones((2, 3)), np.ones((2, 4))],
            np.zeros(2, int),
        )


def test_triplets_against_all_of_them(series):
    queries, query_labels, gallery, labels = series
    kept = []
    for i in range(60):
        for j in np.flatnonzero(labels == query_labels[i]):
            for k in np.flatnonzero(labels != query_labels[i]):
                nearer = queries[1][i] @ gallery[0][j] >= queries[0][i] @ gallery[0][j]
                farther = queries[1][i] @ gallery[0][k] <= queries[0][i] @ gallery[0][k]
                kept.append(nearer and farther)
    results = satisfied_triplets(queries[0], queries[1], query_labels, gallery[0], labels)
    assert results == pytest.approx(np.mean(kept), abs=0.015)
    assert satisfied_triplets(queries[0], queries[0], query_labels, gallery[0], labels) == 1.0


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        ((1.0, -0.2), 1.0),  # nearer to its own class, farther from the other
        ((1.0, 1.0), 0.0),  # nearer to both: the second inequality fails
        ((-0.2, -1.0), 0.0),  # farther from both: the first fails
        ((0.0, 1.0), 0.0),  # both fail
    ],
)
def test_each_inequality_of_a_triplet_by_hand(new, kept):
    """A query of class 0 at cosines (0.8, 0.4) with the only row of each class; where a new model moves it decides."""
    gallery = np.eye(3)[:2]
    old = np.array([[0.8, 0.4, np.sqrt(1 - 0.8**2 - 0.4**2)]])
    moved = np.array([[*new, 0.1]])
    share = satisfied_triplets(old, moved, np.array([0]), gallery, np.array([0, 1]), count=50)
    assert share == kept


def test_triplets_need_two_classes(series):
    queries, query_labels, gallery, labels = series
    with pytest.raises(DataError, match="own class and of another"):
        satisfied_triplets(queries[0], queries[1], query_labels, gallery[0], np.zeros_like(labels))
