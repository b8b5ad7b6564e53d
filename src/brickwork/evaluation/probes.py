"""How much of a label is in a vector: linear probe, nearest neighbours, nearest class mean.

The constants of each protocol are fixed here and travel with the result, so that numbers stay comparable.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import naming_extras
from brickwork.representation.nearest import top_k
from brickwork.representation.truncate import truncate

LINEAR_PROTOCOL: dict[str, Any] = {
    "scaling": "standardised on train",
    "C": 1.0,
    "max_iter": 1000,
    "solver": "lbfgs",
}
FEW_SHOT_QUERIES = 15


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Accuracy, the correctness of each test row, and the protocol that gave it."""

    accuracy: float
    correct: tuple[bool, ...]
    protocol: dict[str, Any] = field(default_factory=dict)


def _result(predicted: np.ndarray, labels: np.ndarray, protocol: dict[str, Any]) -> ProbeResult:
    correct = predicted == labels
    return ProbeResult(accuracy=float(correct.mean()), correct=tuple(correct.tolist()), protocol=protocol)


def normalise(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows at unit length, in float32; a row of zeros stays zeros."""
    return truncate(vectors, vectors.shape[1])


@naming_extras("a linear probe")
def linear_probe(
    train: Float[np.ndarray, "n dim"],
    train_labels: Int[np.ndarray, " n"],
    test: Float[np.ndarray, "m dim"],
    test_labels: Int[np.ndarray, " m"],
) -> ProbeResult:
    """Logistic regression on standardised features (scikit-learn; constants in ``LINEAR_PROTOCOL``)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(C=LINEAR_PROTOCOL["C"], max_iter=LINEAR_PROTOCOL["max_iter"])
    probe = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told in the result instead
        probe.fit(train, train_labels)
    converged = int(model.n_iter_.max()) < LINEAR_PROTOCOL["max_iter"]
    return _result(
        probe.predict(test), test_labels, {"probe": "linear", **LINEAR_PROTOCOL, "converged": converged}
    )


def knn_probe(
    train: Float[np.ndarray, "n dim"],
    train_labels: Int[np.ndarray, " n"],
    test: Float[np.ndarray, "m dim"],
    test_labels: Int[np.ndarray, " m"],
    *,
    k: int = 1,
) -> ProbeResult:
    """The majority label of the k nearest training vectors by cosine; of tied labels, the nearest."""
    _, rows = top_k(normalise(test), normalise(train), k)
    votes = train_labels[rows]
    # How many neighbours share the label of each neighbour; argmax takes the first, so the nearest, of a tie.
    support = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    predicted = votes[np.arange(len(votes)), support.argmax(axis=1)]
    return _result(predicted, test_labels, {"probe": "knn", "k": k, "metric": "cosine"})


def leave_one_out(vectors: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"]) -> ProbeResult:
    """Each vector with the label of the nearest other one by cosine."""
    _, rows = top_k(normalise(vectors), normalise(vectors), 2)
    others = np.where(rows[:, 0] == np.arange(len(rows)), rows[:, 1], rows[:, 0])
    return _result(labels[others], labels, {"probe": "knn", "k": 1, "metric": "cosine, leave one out"})


def nearest_class_mean(
    support: Float[np.ndarray, "n dim"],
    support_labels: Int[np.ndarray, " n"],
    queries: Float[np.ndarray, "m dim"],
) -> Int[np.ndarray, " m"]:
    """The label whose mean of normalised support vectors has the highest cosine with each query."""
    classes, place = np.unique(support_labels, return_inverse=True)
    sums = np.zeros((len(classes), support.shape[1]), dtype=np.float32)
    np.add.at(sums, place, normalise(support))
    return classes[(normalise(queries) @ normalise(sums).T).argmax(axis=1)]


def few_shot(
    features: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    *,
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
) -> Float[np.ndarray, " episodes"]:
    """The accuracy of each of ``episodes`` n-shot k-way tasks under :func:`nearest_class_mean`.

    Every episode draws ``ways`` classes that have more than ``shots`` examples, ``shots`` support examples
    and up to ``FEW_SHOT_QUERIES`` queries of each. Two calls with one seed draw the same episodes, so that
    two embeddings of the same rows can be compared in pairs.
    """
    classes, counts = np.unique(labels, return_counts=True)
    eligible = classes[counts > shots]
    if len(eligible) < ways:
        raise ValueError(
            f"{ways}-way {shots}-shot needs {ways} classes of {shots + 1}; there are {len(eligible)}"
        )
    members = {int(c): np.flatnonzero(labels == c) for c in eligible}
    rng = np.random.default_rng(seed)
    accuracies = np.empty(episodes)
    for episode in range(episodes):
        support, queries = [], []
        for chosen in rng.choice(eligible, size=ways, replace=False):
            rows = rng.permutation(members[int(chosen)])
            support.append(rows[:shots])
            queries.append(rows[shots : shots + FEW_SHOT_QUERIES])
        s, q = np.concatenate(support), np.concatenate(queries)
        accuracies[episode] = (nearest_class_mean(features[s], labels[s], features[q]) == labels[q]).mean()
    return accuracies
