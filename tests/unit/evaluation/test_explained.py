"""Shares of variance that properties explain, against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from brickwork.core.shares import Property
from brickwork.evaluation.explained import decoding, explain, fit_linear, totals

N, D = 4000, 12


def coin(rng, count=N):
    return rng.integers(0, 2, count)


def known(name, values, kind="truth value"):
    values = np.asarray(values)
    columns = values[:, None].astype(float)
    if kind == "category":
        columns = (values[:, None] == np.unique(values)).astype(float)
    return Property(name=name, kind=kind, columns=columns, classes=values.astype(int))


@pytest.fixture
def two():
    """φ = a·u₁·f₁ + b·u₂·f₂ with orthogonal u and f = ±1: shares a²/(a²+b²) and b²/(a²+b²)."""
    rng = np.random.default_rng(0)
    first, second = coin(rng), coin(rng)
    axes = np.linalg.qr(rng.normal(size=(D, D)))[0]
    vectors = 3 * np.outer(2 * first - 1, axes[0]) + 1 * np.outer(2 * second - 1, axes[1])
    return vectors.astype(np.float32), [known("first", first), known("second", second)]


def test_shares_of_a_sum_are_those_of_its_squared_weights(two):
    vectors, properties = two
    shares = explain(vectors, properties)
    assert shares.alone["first"].value == pytest.approx(9 / 10, abs=0.01)
    assert shares.alone["second"].value == pytest.approx(1 / 10, abs=0.01)
    assert shares.together.value == pytest.approx(1, abs=1e-4)
    assert shares.rest == pytest.approx(0, abs=1e-4)
    assert shares.variance == pytest.approx(10, rel=0.01)


def test_alone_and_added_agree_where_properties_are_independent(two):
    vectors, properties = two
    shares = explain(vectors, properties)
    for name in ("first", "second"):
        assert shares.added[name].value == pytest.approx(shares.alone[name].value, abs=0.01)
    assert shares.joint == pytest.approx(0, abs=0.02)


def test_of_two_equal_columns_neither_adds_anything(two):
    vectors, properties = two
    again = known("again", properties[0].classes)
    shares = explain(vectors, [*properties, again])
    assert shares.added["first"].value == pytest.approx(0, abs=1e-6)
    assert shares.alone["again"].value == pytest.approx(0.9, abs=0.01)
    assert shares.joint == pytest.approx(0.9, abs=0.01)
    assert shares.together.value == pytest.approx(1, abs=1e-4)


def test_a_balanced_binary_property_is_the_distance_of_class_means(two):
    """‖μ₁ − μ₀‖² / 4 over the total variance: the closed form for a balanced binary property, in the sample itself."""
    rng = np.random.default_rng(1)
    label = np.tile([0, 1], N // 2)
    vectors = rng.normal(size=(N, D)) + 0.7 * label[:, None]
    expected = np.square(vectors[label == 1].mean(0) - vectors[label == 0].mean(0)).sum() / 4
    expected /= vectors.var(axis=0).sum()
    columns = label[:, None].astype(float)
    errors = fit_linear(columns, vectors).errors(columns, vectors)
    assert 1 - errors.sum() / totals(vectors).sum() == pytest.approx(expected, abs=1e-10)
    assert explain(vectors, [known("label", label)]).alone["label"].value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("columns", ["numbers", "category", "collinear"])
def test_a_map_scores_as_scikit_learns_regression(columns):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(500, 4)) * [1, 100, 1e-3, 1] + [0, 1e4, 0, 0]
    if columns == "category":
        x = np.eye(4)[rng.integers(0, 4, 500)]
    if columns == "collinear":
        x[:, 3] = x[:, 0] + x[:, 1]
    y = x @ rng.normal(size=(4, 30)) + rng.normal(size=(500, 30)) * 3 + 5
    fit, score = slice(0, 300), slice(300, 500)
    theirs = LinearRegression().fit(x[fit], y[fit]).predict(x[score])
    errors = fit_linear(x[fit], y[fit]).errors(x[score], y[score])
    ours = 1 - errors.sum() / totals(y[score]).sum()
    assert ours == pytest.approx(r2_score(y[score], theirs, multioutput="variance_weighted"), abs=1e-6)


def test_cross_fitting_pools_the_folds_as_scikit_learn_scores_each():
    """Totals over folds: computed by hand with scikit-learn's regression on the folds that the seed gives."""
    rng = np.random.default_rng(3)
    label, number = rng.integers(0, 3, 600), rng.normal(size=600)
    vectors = np.eye(3)[label] @ rng.normal(size=(3, D)) + np.outer(number, rng.normal(size=D))
    vectors += rng.normal(size=(600, D))
    properties = [
        known("label", label, "category"),
        Property(
            name="number", kind="number", columns=number[:, None], classes=(number > 0).astype(np.int64)
        ),
    ]
    fold = np.random.default_rng(7).permutation(600) % 2
    whole = np.column_stack([np.eye(3)[label], number])

    def share(x):
        error = total = 0.0
        for k in (0, 1):
            model = LinearRegression().fit(x[fold != k], vectors[fold != k])
            y = vectors[fold == k]
            error += np.square(y - model.predict(x[fold == k])).sum()
            total += np.square(y - vectors[fold != k].mean(0)).sum()
        return 1 - error / total

    shares = explain(vectors, properties, folds=2, seed=7)
    assert shares.alone["label"].value == pytest.approx(share(whole[:, :3]), abs=1e-9)
    assert shares.added["label"].value == pytest.approx(share(whole) - share(whole[:, 3:]), abs=1e-9)
    assert shares.added["number"].value == pytest.approx(share(whole) - share(whole[:, :3]), abs=1e-9)
    inside = shares.alone["label"]
    assert inside.low < inside.value < inside.high
    assert inside.high - inside.low < 0.2


def test_intervals_cover_what_is_true_about_as_often_as_they_say():
    """The true share of φ = a·f + noise in D dimensions is a²/(a² + D·σ²)."""
    hits, truth = 0, 4 / (4 + D)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sign = 2 * coin(rng, 1000) - 1
        vectors = rng.normal(size=(1000, D))
        vectors[:, 0] += 2 * sign
        estimate = explain(vectors, [known("f", (sign > 0).astype(int))], shuffles=0).alone["f"]
        hits += estimate.low <= truth <= estimate.high
    assert 33 <= hits <= 40  # 95 % of 40 is 38; fewer than 33 has a chance below 1 in 100


def test_a_shuffled_property_explains_nothing(two):
    vectors, properties = two
    shares = explain(vectors, properties)
    assert all(abs(value) < 0.01 for value in shares.shuffled.values())


def test_vectors_that_are_all_equal_have_no_shares():
    shares = explain(np.ones((50, 3)), [known("f", np.tile([0, 1], 25))])
    assert np.isnan(shares.alone["f"].value)
    assert shares.variance == 0


def test_nothing_to_fit_is_refused():
    with pytest.raises(ValueError, match="nothing can be fitted"):
        explain(np.ones((3, 2)), [known("f", [0, 1, 0])])


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_what_is_not_in_the_vectors_is_not_decoded_whatever_its_balance(share):
    rng = np.random.default_rng(4)
    label = (rng.random(N) < share).astype(int)
    noise = rng.normal(size=(N, D))
    assert not decoding(noise, known("f", label)).above_chance
    noise[:, 0] += 4 * label
    there = decoding(noise, known("f", label))
    assert there.above_chance
    assert there.accuracy > 0.75
    assert there.chance == 0.5


def test_rare_values_do_not_hide_that_the_common_ones_are_told():
    rng = np.random.default_rng(7)
    label = np.concatenate([np.tile([0, 1], 190), np.repeat([2, 3, 4, 5], 5)])
    vectors = rng.normal(size=(400, D))
    vectors[:, 0] += 3 * label
    told = decoding(vectors, known("f", label, "category"))
    assert told.above_chance
    assert told.chance == 0.5


def test_a_weak_property_can_be_decoded_well():
    """Its share is small and it is computed all the same: the two are different questions."""
    rng = np.random.default_rng(5)
    label = coin(rng)
    vectors = np.column_stack([rng.normal(size=(N, D)) * 10, label])
    shares = explain(vectors, [known("f", label)])
    assert abs(shares.alone["f"].value) < 0.01
    assert decoding(vectors, known("f", label)).accuracy > 0.99


def test_wide_vectors_are_solved_on_the_side_of_the_properties():
    """3,000 × 4,096 in a second or two: no D × D matrix."""
    rng = np.random.default_rng(6)
    label = coin(rng, 3000)
    vectors = rng.normal(size=(3000, 4096)).astype(np.float32)
    vectors[:, 0] += 64 * (2 * label - 1)
    assert explain(vectors, [known("f", label)], shuffles=1).alone["f"].value == pytest.approx(0.5, abs=0.01)
