"""A classifier of new labels, against scikit-learn's and class means by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from brickwork.core.errors import DataError
from brickwork.evaluation.new_labels import DECAYS, learn_labels
from brickwork.evaluation.probes import nearest_class_mean


def blobs(rows, labels, dim=6, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % labels
    centres = 3 * np.random.default_rng(9).normal(size=(labels, dim))
    return (centres[y] + spread * rng.normal(size=(rows, dim))) * np.arange(1, dim + 1), y


@pytest.mark.parametrize("labels", [2, 4])
def test_the_linear_one_is_scikit_learns(labels):
    x, y = blobs(60, labels)
    model = learn_labels(x, y, [str(n) for n in range(labels)])
    assert model.kind == "linear"
    assert model.decay in DECAYS
    scaler = StandardScaler().fit(x)
    peer = LogisticRegression(C=1 / (model.decay * len(x)), max_iter=200).fit(scaler.transform(x), y)
    other, truth = blobs(40, labels, seed=1)
    np.testing.assert_allclose(model.scores(other), peer.predict_proba(scaler.transform(other)), atol=1e-6)
    assert model.accuracy(other, truth) == pytest.approx(peer.score(scaler.transform(other), truth))


def test_few_examples_go_to_the_nearest_mean():
    x, y = blobs(9, 3)
    model = learn_labels(x, y, ["a", "b", "c"])
    assert model.kind == "cosine"
    other, _ = blobs(30, 3, seed=2)
    assert model.scores(other).argmax(1).tolist() == nearest_class_mean(x, y, other).tolist()
    assert np.abs(model.scores(other)).max() <= 1 + 1e-6


def test_the_decay_is_chosen_by_folds_that_were_left_out():
    """Labels that are pure chance: the least flexible classifier is right as often as any, and is preferred at a tie."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 200)), np.arange(40) % 2
    noisy = learn_labels(x, y, ["a", "b"])
    clear = learn_labels(*blobs(60, 2, spread=0.1), ["a", "b"])
    assert noisy.decay is not None
    assert clear.decay == max(DECAYS)


def test_what_cannot_be_learnt_is_refused():
    x, y = blobs(6, 2)
    with pytest.raises(DataError, match="one label only"):
        learn_labels(x, y * 0, ["a"])
    with pytest.raises(DataError, match="no example of 'c'"):
        learn_labels(x, y, ["a", "b", "c"])


def test_a_constant_dimension_does_not_matter():
    x, y = blobs(20, 2)
    x[:, 2] = 7.0
    assert np.isfinite(learn_labels(x, y, ["a", "b"]).scores(x)).all()


def test_a_dimension_of_rounding_errors_does_not_matter():
    """In float32 a constant .1 has a deviation of some 1e-9, by which one that moves a little would be divided."""
    x, y = (column.astype(kind) for column, kind in zip(blobs(40, 2), (np.float32, np.int64)))
    other, truth = blobs(200, 2, seed=5)
    rng = np.random.default_rng(1)

    def with_constant(part, deviation):
        extra = 0.1 + deviation * rng.normal(size=(len(part), 1))
        return np.concatenate([part, extra], axis=1).astype(np.float32)

    model = learn_labels(with_constant(x, 1e-8), y, ["a", "b"])
    plain = learn_labels(x, y, ["a", "b"])
    moved = with_constant(other, 1e-2)
    np.testing.assert_allclose(model.scores(moved), plain.scores(other), atol=1e-3)
    assert model.accuracy(moved, truth) == plain.accuracy(other.astype(np.float32), truth)
