"""Probes against scikit-learn, controls against their definitions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from brickwork.evaluation import probes
from brickwork.studies.matryoshka import controls


@pytest.fixture
def clusters():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 6))
    labels = rng.integers(0, 4, 240)
    features = (centres[labels] + 0.9 * rng.standard_normal((240, 6))).astype(np.float32)
    return features[:160], labels[:160], features[160:], labels[160:]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_linear_probe_equals_scikit_learn_step_by_step(clusters):
    train, train_labels, test, test_labels = clusters
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(train), train_labels)
    results = probes.linear_probe(*clusters)
    assert results.accuracy == model.score(scaler.transform(test), test_labels)
    assert results.protocol["converged"]
    assert 0.5 < results.accuracy < 1  # a probe that is always or never right shows nothing


@pytest.mark.parametrize("k", [1, 3, 7])
def test_knn_equals_scikit_learn_where_no_vote_is_tied(clusters, k):
    train, train_labels, test, test_labels = clusters
    theirs = KNeighborsClassifier(k, metric="cosine").fit(train, train_labels)
    votes = theirs.predict_proba(test)
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]
    expected = theirs.predict(test) == test_labels
    results = probes.knn_probe(*clusters, k=k)
    np.testing.assert_array_equal(np.array(results.correct)[clear], expected[clear])
    assert clear.sum() > 50


def test_knn_tie_goes_to_the_nearest():
    # By hand: at k=2 the neighbours have labels 5 (nearer) and 3.
    train = np.array([[1.0, 0.2], [1.0, 0.0]], dtype=np.float32)
    results = probes.knn_probe(
        train, np.array([3, 5]), np.array([[1.0, 0.05]], dtype=np.float32), np.array([5]), k=2
    )
    assert results.correct == (True,)


def test_knn_with_more_neighbours_than_rows(clusters):
    train, train_labels, test, test_labels = clusters
    results = probes.knn_probe(train, train_labels, test, test_labels, k=1000)
    majority = np.bincount(train_labels).argmax()
    assert results.accuracy == pytest.approx((test_labels == majority).mean())


def test_nearest_class_mean_equals_scikit_learn_on_normalised_centroids(clusters):
    train, train_labels, test, _ = clusters
    centroids = NearestCentroid().fit(unit(train), train_labels).centroids_
    expected = (unit(test) @ unit(centroids).T).argmax(axis=1)
    np.testing.assert_array_equal(probes.nearest_class_mean(train, train_labels, test), expected)


def test_few_shot_is_perfect_on_separate_classes_and_chance_on_noise():
    labels = np.repeat(np.arange(6), 20)
    separate = np.eye(6, dtype=np.float32)[labels]
    assert (probes.few_shot(separate, labels, ways=5, shots=1, episodes=10, seed=0) == 1).all()
    noise = np.random.default_rng(0).standard_normal((120, 8)).astype(np.float32)
    # 5 ways: chance is 0.2; 60 episodes of 75 queries give a standard error of about 0.01.
    assert probes.few_shot(noise, labels, ways=5, shots=1, episodes=60, seed=0).mean() == pytest.approx(
        0.2, abs=0.04
    )


def test_few_shot_draws_the_same_episodes_for_one_seed_and_says_what_is_missing():
    labels = np.repeat(np.arange(6), 20)
    noise = np.random.default_rng(1).standard_normal((120, 8)).astype(np.float32)
    first, again, other = (
        probes.few_shot(noise, labels, ways=3, shots=2, episodes=5, seed=s) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(ValueError, match="there are 0"):
        probes.few_shot(noise, labels, ways=3, shots=20, episodes=1, seed=0)


def test_svd_keeps_the_best_inner_products():
    # Eckart and Young: the squared rank-m error is the sum of the dropped squared singular values.
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 10)) * np.linspace(3, 0.1, 10)
    values = np.linalg.svd(features, compute_uv=False)
    reduced = controls.svd(features, 4)(features)
    assert np.linalg.norm(features) ** 2 - np.linalg.norm(reduced) ** 2 == pytest.approx(
        (values[4:] ** 2).sum()
    )
    assert controls.svd(features[:3], 5)(features).shape == (50, 5)


def test_truncation_and_random_features_are_columns():
    features = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(controls.truncation(2)(features), features[:, :2])
    chosen = controls.random_features(6, 3, seed=0)(features)
    assert len(set(chosen[0])) == 3
    assert set(chosen[0]) <= set(features[0])
    np.testing.assert_array_equal(chosen[1], chosen[0] + 6)
    assert (controls.random_features(6, 3, seed=1)(features) != chosen).any()


def test_random_projection_keeps_inner_products_on_average():
    # E[R Rᵀ] = I for entries of variance 1/dim.
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 12))
    products = [
        float(
            (controls.random_projection(12, 4, seed=s)(a) @ controls.random_projection(12, 4, seed=s)(b).T)[
                0, 0
            ]
        )
        for s in range(2000)
    ]
    assert np.mean(products) == pytest.approx(float(a[0] @ b[0]), abs=4 * np.std(products) / 2000**0.5)
