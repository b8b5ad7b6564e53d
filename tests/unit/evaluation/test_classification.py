"""AUROC, balanced accuracy and the rest against scikit-learn and torchmetrics, intervals against plain resampling."""

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score, roc_auc_score

from brickwork.evaluation.classification import (
    auroc,
    auroc_interval,
    balanced_accuracy,
    balanced_accuracy_interval,
    binary_report,
    bootstrap,
    scores_by_task,
)


@pytest.fixture(params=[0, 1, 2])
def rows(request):
    """Labels and scores with many ties."""
    rng = np.random.default_rng(request.param)
    labels = rng.integers(0, 2, 80)
    return labels, np.round(labels * 0.5 + rng.normal(size=80), 1)


def test_auroc_is_that_of_scikit_learn_and_torchmetrics(rows):
    labels, scores = rows
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    metric = tm.BinaryAUROC()(torch.from_numpy(scores).sigmoid(), torch.from_numpy(labels))
    assert auroc(labels, scores) == pytest.approx(metric.item(), abs=1e-6)
    assert auroc(labels, np.stack([-scores, scores], axis=1)) == auroc(labels, scores)


def test_auroc_of_many_classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    scores = rng.dirichlet(np.ones(4), 120) + np.eye(4)[labels] * 0.3
    scores /= scores.sum(1, keepdims=True)
    expected = roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert auroc(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_balanced_accuracy_and_report(rows):
    labels, scores = rows
    predicted = (scores > 0.3).astype(np.int64)
    assert balanced_accuracy(labels, predicted) == pytest.approx(balanced_accuracy_score(labels, predicted))
    report = binary_report(labels, predicted)
    assert report["sensitivity"] == pytest.approx(recall_score(labels, predicted))
    assert report["specificity"] == pytest.approx(recall_score(labels, predicted, pos_label=0))
    assert report["f1"] == pytest.approx(f1_score(labels, predicted))


def test_the_interval_is_the_percentile_bootstrap():
    """The quick way (counts, one sort) draws like the slow one: the intervals agree to the noise of 1000 draws."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    scores = np.round(labels * 0.5 + rng.normal(size=80), 1)
    quick = auroc_interval(labels, scores, num_resamples=2000)
    slow = bootstrap(lambda r: float(roc_auc_score(labels[r], scores[r])), len(labels), 1000, seed=1)
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.03)
    assert quick.low < quick.value < quick.high
    predicted = (scores > 0.3).astype(np.int64)
    quick = balanced_accuracy_interval(labels, predicted, num_resamples=2000)
    slow = bootstrap(lambda r: balanced_accuracy(labels[r], predicted[r]), len(labels), 1000, seed=1)
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.03)


def test_the_interval_covers():
    """Of 100 samples from one distribution, about 95 intervals hold its AUROC, Φ(1/√2) = 0.7602."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        labels = np.arange(100) % 2
        results = auroc_interval(labels, labels + rng.normal(size=100), num_resamples=300)
        held += results.low <= 0.7602 <= results.high
    assert 88 <= held <= 100


def test_undefined_is_not_a_number():
    ones = np.ones(5, dtype=np.int64)
    assert np.isnan(auroc(ones, np.arange(5.0)))
    assert auroc_interval(ones, np.arange(5.0)).low is None
    empty = np.zeros(0, dtype=np.int64)
    assert np.isnan(balanced_accuracy(empty, empty))
    assert np.isnan(binary_report(ones, ones)["specificity"])
    assert np.isnan(binary_report(1 - ones, 1 - ones)["f1"])
    assert np.isnan(auroc(np.array([0, 1]), np.array([0.5, np.nan])))
    assert auroc(np.array([0, 1, 1]), np.array([-np.inf, 0.0, np.inf])) == 1.0
    assert balanced_accuracy(np.array([0, 0, 1]), np.array([0, 2, 1])) == 0.75  # class 2 does not occur


def test_scores_by_task_leave_out_what_is_unknown():
    labels, number = np.array([0, 1, -1, 1]), np.array([1.0, np.nan, 3.0, 5.0])
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]])
    results = scores_by_task(
        {"a": p, "b": np.array([[1.0], [9.0], [3.0], [4.0]])},
        {"a": labels, "b": number},
        {"a": True, "b": False},
    )
    assert results["a/auroc"] == 1.0
    assert results["a/balanced_accuracy"] == pytest.approx(0.75)
    assert results["b/mae"] == pytest.approx(1 / 3)
    assert results["b/r2"] == pytest.approx(1 - 1 / 8)
