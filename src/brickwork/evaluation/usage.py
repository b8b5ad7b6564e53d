"""How the use of modules relates to what is known of the inputs, which no router was told: information and its test.

A table of use has a row for each window or text and a column for each module, with counts of assignments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import naming_extras


def module_shares(counts: Float[np.ndarray, "rows modules"]) -> Float[np.ndarray, "rows modules"]:
    """Each row as shares that sum to 1; a row without assignments gets an even share."""
    total = counts.sum(1, keepdims=True)
    even = np.full_like(counts, 1 / max(counts.shape[1], 1), dtype=np.float64)
    return np.where(total > 0, counts / np.maximum(total, 1e-300), even)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _contingency(counts: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Assignments by label and module."""
    table = np.zeros((num_labels, counts.shape[1]))
    np.add.at(table, labels, counts)
    return table


def _information(table: np.ndarray) -> float:
    joint = table / max(table.sum(), 1e-300)
    modules, labels = _entropy(joint.sum(0)), _entropy(joint.sum(1))
    shared = modules + labels - _entropy(joint.ravel())
    mean = (modules + labels) / 2
    return max(shared, 0.0) / mean if mean > 0 else 0.0


def _numbered(labels: Sequence[str | int]) -> tuple[np.ndarray, int]:
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    return numbers, len(names)


def normalised_information(counts: Float[np.ndarray, "rows modules"], labels: Sequence[str | int]) -> float:
    """NMI of module and label over all assignments, normalised by the mean of both entropies, as scikit-learn's.

    0: the module says nothing about the label. 1: each tells the other.
    """
    return _information(_contingency(counts, *_numbered(labels)))


@dataclass(frozen=True)
class PermutationTest:
    """``information`` as observed, the mean over permuted labels, and the chance to reach it by permuting (never 0)."""

    information: float
    by_chance: float
    p_value: float


def information_test(
    counts: Float[np.ndarray, "rows modules"],
    labels: Sequence[str | int],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> PermutationTest:
    """Whether modules and labels have to do with each other: labels are permuted among whole rows.

    Rows are permuted, not assignments: tokens of one window go to similar modules whatever its label is. The p-value is
    (1 + permutations that reach the observed value) / (1 + permutations).
    """
    numbers, num_labels = _numbered(labels)
    observed = _information(_contingency(counts, numbers, num_labels))
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            _information(_contingency(counts, rng.permutation(numbers), num_labels))
            for _ in range(permutations)
        ]
    )
    reached = int((drawn >= observed - 1e-12).sum())
    return PermutationTest(
        observed, float(drawn.mean()) if permutations else 0.0, (1 + reached) / (1 + permutations)
    )


@dataclass(frozen=True)
class RoutingCalibration:
    """How far the weights of a router can be believed: ``bins`` of (mean weight, share that was right, number)."""

    error: float
    bins: tuple[tuple[float, float, int], ...]


def routing_calibration(
    weights: Float[np.ndarray, " choices"], right: Sequence[bool] | np.ndarray, *, num_bins: int = 10
) -> RoutingCalibration:
    """Expected calibration error of weights against whether the chosen module was the right one.

    ``right`` says that where it is known, for example that the module with the lowest loss was chosen. Bins are of equal
    width; the error is Σ n_b/n |share right − mean weight|.
    """
    hit = np.asarray(right, dtype=np.float64)
    place = np.minimum((weights * num_bins).astype(int), num_bins - 1)
    bins = tuple(
        (float(weights[place == b].mean()), float(hit[place == b].mean()), int((place == b).sum()))
        for b in range(num_bins)
        if (place == b).any()
    )
    total = max(len(hit), 1)
    return RoutingCalibration(sum(n / total * abs(share - mean) for mean, share, n in bins), bins)


@naming_extras("a probe of routes")
def information_auc(
    counts: Float[np.ndarray, "rows modules"], labels: Sequence[str | int], *, seed: int = 0
) -> float:
    """AUC of a logistic probe that tells two labels apart by each row's shares, over 5 held-out folds together."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    numbers, _ = _numbered(labels)
    probe = LogisticRegression(max_iter=2000, C=100.0)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(probe, module_shares(counts), numbers, cv=folds, method="predict_proba")
    return float(roc_auc_score(numbers, scores[:, 1]))
