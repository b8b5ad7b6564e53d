"""What is measured of a series: search across its models, and how well each knows its own classes."""

from statistics import fmean
from typing import Any

import numpy as np
import torch

from brickwork.data.types import Examples
from brickwork.evaluation.compatibility import CompatibilityMatrix, compatibility_matrix, satisfied_triplets
from brickwork.studies.bench import Trained
from brickwork.systems.stationary_compat.rehearsal import of_classes

Side = tuple[list[np.ndarray], np.ndarray]
_QUALITIES = {
    "AC": "average_compatibility",
    "AA": "average_accuracy",
    "cross": "mean_cross",
    "self": "mean_self",
    "cross − old self": "mean_gain",
}


def sides(trained: Trained) -> dict[str, tuple[Side, Side]]:
    """What is searched → queries and gallery, each with the unit vectors of every model (rows, D) and the labels (rows)."""
    results = {}
    for name, examples in trained.system.searched.items():
        x = [
            model.representation().encode(examples.columns["input"], precision="fp32")
            for model in trained.system.models
        ]
        labels = _labels(examples)
        queries, gallery = (([v[start::2] for v in x], labels[start::2]) for start in (1, 0))
        results[name] = queries, gallery
    return results


def matrices(trained: Trained) -> dict[str, CompatibilityMatrix]:
    """What is searched → the compatibility matrix of a series."""
    return {
        name: compatibility_matrix(*queries, *gallery, search=trained.system.setup.search)
        for name, (queries, gallery) in trained.measured(sides).items()
    }


def compatibility(trained: Trained) -> dict[tuple[str, str], float]:
    """(what is searched, quality of its matrix) → points; AC is a share."""
    return {
        (name, quality): getattr(matrix, attribute)
        for name, matrix in trained.measured(matrices).items()
        for quality, attribute in _QUALITIES.items()
    }


def after_replacements(trained: Trained) -> dict[str, float]:
    """Of all pairs of a model that came with a replacement and an older one, searched among all classes, in percent.

    ``cross``: the mean cross-test; ``left``: its share of the old self-test; ``improved``: the pairs in which it is at least
    the old self-test. ``chance``: of a guess.
    """
    matrix = trained.measured(matrices)["all classes"]
    pairs = [
        (matrix.values[i][j], matrix.values[j][j]) for i in trained.system.setup.servers for j in range(i)
    ]
    return {
        "cross": 100 * fmean(cross for cross, _ in pairs),
        "left": 100 * fmean(cross / own for cross, own in pairs),
        "improved": 100 * fmean(cross >= own for cross, own in pairs),
        "chance": 100 * (matrix.chance or 0.0),
    }


def kept_triplets(trained: Trained) -> dict[tuple[str, str], float]:
    """(what is searched, ``share``) → percent of triplets that keep both inequalities, over all pairs of a newer and an
    older model."""
    kept = {}
    for name, ((queries, query_labels), (gallery, labels)) in trained.measured(sides).items():
        shares = [
            satisfied_triplets(old, new, query_labels, old_gallery, labels)
            for number, new in enumerate(queries)
            for old, old_gallery in zip(queries[:number], gallery)
        ]
        kept[name, "share"] = round(100 * fmean(shares), 2)
    return kept


def cosines(trained: Trained) -> dict[tuple[str, str], float]:
    """(what is searched, pair) → mean cosine of queries with gallery rows of their class, and with others.

    "old" is a query by the model of the gallery, "new" by a newer one; over all pairs of models. These are what the
    inequalities of the definition compare triplet by triplet.
    """
    means = {}
    for name, ((queries, query_labels), (gallery, labels)) in trained.measured(sides).items():
        same = query_labels[:, None] == labels[None, :]
        pairs = [(new, old) for new in range(len(queries)) for old in range(new)]
        for who in ("old", "new"):
            tables = [queries[old if who == "old" else new] @ gallery[old].T for new, old in pairs]
            means[name, f"{who}, same class"] = fmean(float(table[same].mean()) for table in tables)
            means[name, f"{who}, other class"] = fmean(float(table[~same].mean()) for table in tables)
    return means


def own_accuracy(trained: Trained) -> float:
    """How well the models of a series classify, with their own classifiers, validation examples of the classes so far."""
    accuracies = []
    model: Any
    for step, model in enumerate(trained.system.models):
        rows = of_classes(trained.data.validation, trained.system.setup.seen(step))
        z = model.representation().encode(rows.columns["input"], normalize=False, precision="fp32")
        with torch.no_grad():
            slots = model.classifier(torch.from_numpy(z)).argmax(1)
        accuracies.append((slots == model.slot_of[_labels(rows)]).float().mean().item())
    return fmean(accuracies)


def _labels(examples: Examples) -> np.ndarray:
    return np.asarray(examples.columns["label"], dtype=np.int64)
