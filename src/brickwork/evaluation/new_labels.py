"""Labels that an encoder was not trained on, learnt from a few examples of each.

With five or more examples of every label a linear classifier on standardised vectors, its weight decay chosen by
cross-validation; with fewer the mean of each label's unit vectors, compared by cosine (a cosine head, Chen et al. 2019,
arXiv 1904.04232, without its training: there is too little to choose anything by).

Shape legend: N examples, M inputs, D dimensions, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import DataError, naming_extras
from brickwork.evaluation.probes import normalise

FEWEST = 5
"""Examples of the rarest label from which on a linear classifier is fitted."""
DECAYS = (1e-3, 1e-2, 1e-1, 1.0)
"""Weight decays that are tried: λ of λ/2·‖W‖² beside the mean cross-entropy."""
_FOLDS = 5
_MAX_ITER = 200
_CONSTANT = 1e-6  # of the largest entry: some units in the last place of a float32


@dataclass(frozen=True)
class NewLabels:
    """A classifier of ``names``: ``kind`` says which, ``decay`` what was chosen (linear only)."""

    names: tuple[str, ...]
    kind: Literal["linear", "cosine"]
    decay: float | None
    weight: Float[np.ndarray, "labels dim"]
    bias: Float[np.ndarray, " labels"]
    mean: Float[np.ndarray, " dim"]
    spread: Float[np.ndarray, " dim"]

    def scores(self, vectors: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "m labels"]:
        """Of each label: probabilities, or cosines."""
        if self.kind == "cosine":
            return normalise(vectors.astype(np.float32)) @ self.weight.T
        logits = ((vectors - self.mean) / self.spread) @ self.weight.T + self.bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def accuracy(self, vectors: Float[np.ndarray, "m dim"], labels: Int[np.ndarray, " m"]) -> float:
        """Share of ``labels`` (places among the names) that are right; NaN without any."""
        return float((self.scores(vectors).argmax(1) == labels).mean()) if len(labels) else float("nan")


@naming_extras("a classifier of new labels")
def learn_labels(
    vectors: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    names: Sequence[str],
    *,
    kind: Literal["auto", "linear", "cosine"] = "auto",
    seed: int = 0,
) -> NewLabels:
    """The classifier that the number of examples allows, or the one that was asked for.

    ``labels`` are places among ``names``. ``vectors`` as the encoder gives them, not normalised.

    Raises:
        DataError: fewer than two labels, or a label without an example.
    """
    counts = np.bincount(labels, minlength=len(names))
    if len(names) < 2:
        raise DataError("examples of one label only; give examples of two or more")
    if not counts.all():
        raise DataError(f"no example of '{names[int(counts.argmin())]}'; give at least one of each label")
    if kind == "cosine" or (kind == "auto" and counts.min() < FEWEST):
        return _cosine(vectors, labels, names)
    mean, spread = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    # What moves by rounding alone is constant: brought to a deviation of 1, an input that moves it would decide all.
    spread = np.where(spread > _CONSTANT * np.abs(vectors).max(), spread, 1.0)
    x = ((vectors - mean) / spread).astype(vectors.dtype)
    folds = _folds(labels, min(_FOLDS, int(counts.min())), seed)
    decay = max(DECAYS, key=lambda one: (_cross_validated(x, labels, folds, one), one))
    model = _logistic(x, labels, decay)
    weight, bias = model.coef_, model.intercept_
    if len(names) == 2:  # scikit-learn keeps one row, the logit of the second label
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return NewLabels(tuple(names), "linear", decay, weight, bias, mean, spread)


def _cosine(vectors: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> NewLabels:
    unit = normalise(vectors.astype(np.float32))
    sums = np.zeros((len(names), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, labels, unit)
    width = vectors.shape[1]
    return NewLabels(
        tuple(names), "cosine", None, normalise(sums), np.zeros(len(names)), np.zeros(width), np.ones(width)
    )


def _folds(labels: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """The fold of each example: each label is spread evenly over all. With one example of a label: no fold (one)."""
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        fold[rows] = np.arange(len(rows)) % max(count, 1)
    return fold


def _cross_validated(x: np.ndarray, labels: np.ndarray, folds: np.ndarray, decay: float) -> float:
    """Share of examples that are right when their fold is left out; 0 where there is one fold."""
    right = 0
    for fold in range(int(folds.max()) + 1) if folds.max() else ():
        inside, outside = folds != fold, folds == fold
        right += int(
            (_logistic(x[inside], labels[inside], decay).predict(x[outside]) == labels[outside]).sum()
        )
    return right / len(labels)


def _logistic(x: np.ndarray, labels: np.ndarray, decay: float) -> Any:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (decay * len(x)), max_iter=_MAX_ITER)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # it is chosen among by how well it does, as it is
        return model.fit(x, labels)
