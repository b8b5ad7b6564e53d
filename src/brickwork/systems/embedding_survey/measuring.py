"""How good vectors are on the user's own labels, pairs or scores, row by row, and what an interval over rows is.

Shape legend: N rows, D dimensions, C classes, V words, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from brickwork.data.types import Examples
from brickwork.evaluation.ties import expected_average_precision
from brickwork.systems.embedding_survey.bias import unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

RESAMPLES = 1000
_FOLDS = 5
_PROBED = 20_000
"""Rows that a classifier learns from, at most."""
_NEAR = 10
_SAME = 1e-7  # cosines that differ by less are equal

Values = Float[np.ndarray, " rows"]
Encode = Callable[[Sequence[str]], "np.ndarray | csr_matrix"]


class Probe(nn.Module):
    """A linear classifier of labels from vectors."""

    weight: Tensor
    bias: Tensor

    def __init__(self, classes: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, dim))
        self.register_buffer("bias", torch.zeros(classes))

    def learn(
        self, vectors: "Float[np.ndarray, 'n dim'] | csr_matrix", labels: Int[np.ndarray, " n"]
    ) -> float:
        """Logistic regression on standardised dimensions (of sparse vectors, as they are); gives its accuracy in
        cross-validation, or 0 where a class is too rare for that."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score

        dense = isinstance(vectors, np.ndarray)
        middle, spread = np.zeros(vectors.shape[1]), np.ones(vectors.shape[1])
        if dense:
            middle, spread = vectors.mean(0), vectors.std(0)
            spread[spread < 1e-9] = 1.0
            vectors = (vectors - middle) / spread
        model = LogisticRegression(max_iter=200, C=1.0 if dense else 10.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors, labels)
            counts = np.unique(labels, return_counts=True)[1]
            folds = min(_FOLDS, int(counts.min()))
            score = cross_val_score(model, vectors, labels, cv=folds).mean() if folds > 1 else 0.0
        weight, bias = model.coef_ / spread, model.intercept_ - model.coef_ @ (middle / spread)
        if len(model.classes_) == 2:  # one row, for the second class
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        self.weight.zero_()
        self.bias.fill_(-1e9)  # a class that is not in these rows
        at = torch.from_numpy(model.classes_.astype(np.int64))
        self.weight[at] = torch.from_numpy(weight).float()
        self.bias[at] = torch.from_numpy(bias).float()
        return float(score)

    def predict(self, vectors: "Float[np.ndarray, 'n dim'] | csr_matrix") -> Int[np.ndarray, " n"]:
        """The class of each row."""
        found: np.ndarray = np.asarray(
            vectors @ self.weight.cpu().numpy().T + self.bias.cpu().numpy()
        ).argmax(1)
        return found


@dataclass(frozen=True)
class Measured:
    """A measure of some rows: their mean, or with ``wanted`` the rank correlation with it."""

    values: Values
    wanted: Values | None = None

    @property
    def estimate(self) -> float:
        return float(self._over(np.full((1, len(self.values)), 1.0))[0])

    def resampled(self, seed: int = 0) -> Float[np.ndarray, " resamples"]:
        """The same of rows drawn with replacement: equal draws for all measures of as many rows."""
        n = len(self.values)
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        return self._over(counts.astype(np.float64))

    def _over(self, counts: Float[np.ndarray, "draws rows"]) -> Float[np.ndarray, " draws"]:
        total = counts.sum(1)
        if self.wanted is None:
            return counts @ self.values / total
        # Of ranks among all rows: a resample of them has the same order, and nearly the same distances.
        from scipy.stats import rankdata

        x, y = rankdata(self.values), rankdata(self.wanted)
        mx, my = counts @ x / total, counts @ y / total
        covariance = counts @ (x * y) / total - mx * my
        spread = (counts @ (x * x) / total - mx**2) * (counts @ (y * y) / total - my**2)
        return covariance / np.sqrt(np.maximum(spread, 1e-12))


def measures(encode: Encode, examples: Examples, probe: Probe | None) -> dict[str, Measured]:
    """What can be measured of vectors on these examples; nothing where they are texts alone, or too few.

    ``linear probe``: classes that a classifier of the training part finds; ``nearest neighbour``: the class of the nearest
    other row; ``average precision``: rows of the same class among all others, nearest first; ``found at 1``, ``found in
    10``: whether the text of a pair is found among all; ``rank correlation`` with scores.
    """
    columns, n = examples.columns, len(examples)
    if n < 3:
        return {}
    if "label" in columns:
        vectors, labels = encode(list(columns["input"])), np.asarray(columns["label"])
        scores = cosines(vectors, vectors)
        np.fill_diagonal(scores, -np.inf)
        found = {
            "nearest neighbour": Measured((labels[scores.argmax(1)] == labels).astype(float)),
            "average precision": Measured(class_precision(scores, labels)),
        }
        if probe is not None:
            found["linear probe"] = Measured((probe.predict(vectors) == labels).astype(float))
        return found
    if "anchor" not in columns:
        return {}
    scores = cosines(*(encode(list(columns[name])) for name in ("anchor", "positive")))
    if "score" in columns:
        return {"rank correlation": Measured(np.diag(scores).copy(), np.asarray(columns["score"], float))}
    ranks = ranks_of(scores)
    return {
        "found at 1": Measured((ranks < 1).astype(float)),
        "found in 10": Measured((ranks < _NEAR).astype(float)),
    }


def class_precision(
    scores: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Average precision of the rows of a row's own class among all others, equally near ones in any order; 0 for a class of
    one row."""
    n = len(labels)
    others = ~np.eye(n, dtype=bool)
    near = scores[others].reshape(n, n - 1)
    order = np.argsort(-near, axis=1, kind="stable")
    ordered = np.take_along_axis(near, order, 1)
    # Rounding tells rows apart that are equal: texts without a known word, above all.
    steps = np.concatenate([np.zeros((n, 1)), ordered[:, :-1] - ordered[:, 1:] > _SAME], 1)
    same = (labels[:, None] == labels)[others].reshape(n, n - 1)
    relevant = np.take_along_axis(same, order, 1)
    return expected_average_precision(steps.cumsum(1).astype(np.int64), relevant)


def cosines(a: Any, b: Any) -> Float[np.ndarray, "n m"]:
    """Cosines of all rows of a with all of b, both dense or both sparse; of a row of zeros 0."""
    if isinstance(a, np.ndarray):
        product: np.ndarray = unit(a) @ unit(b).T
        return product
    from sklearn.preprocessing import normalize

    dense: np.ndarray = (normalize(a) @ normalize(b).T).toarray()
    return dense


def ranks_of(scores: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """How many others are nearer than the own one of each row; of those that are equally near, half."""
    own = np.diag(scores)[:, None]
    ranks: np.ndarray = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
    return ranks


def selection_score(encode: Encode, examples: Examples, probe: Probe | None, seed: int) -> float:
    """What a method is chosen by, from the training part alone: cross-validated accuracy, rank correlation, or pairs found
    in 10 of at most 2,000."""
    columns = examples.columns
    if probe is not None:
        rows = sorted(np.random.default_rng(seed).permutation(len(examples))[:_PROBED].tolist())
        part = examples.take(rows)
        return probe.learn(encode(list(part["input"])), np.asarray(part["label"]))
    if "anchor" not in columns:
        return 0.0
    rows = sorted(np.random.default_rng(seed).permutation(len(examples))[:2000].tolist())
    found = measures(encode, examples.select(rows), None)
    return next(
        (one.estimate for name, one in found.items() if name in ("rank correlation", "found in 10")), 0.0
    )


def neighbours(
    vectors: Float[np.ndarray, "words dim"], queries: Float[np.ndarray, "n dim"], words: Sequence[str], k: int
) -> list[list[str]]:
    """The ``k`` words whose vectors are nearest to each query by cosine."""
    from brickwork.representation.nearest import top_k

    _, rows = top_k(unit(queries).astype(np.float32), unit(vectors).astype(np.float32), min(k, len(words)))
    return [[words[row] for row in found] for found in rows]


def flat(found: Mapping[str, Measured]) -> dict[str, float]:
    """The estimates by name."""
    return {name.replace(" ", "_"): one.estimate for name, one in found.items()}
