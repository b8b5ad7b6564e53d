"""What is measured of a series: search across its models, and how well each knows its own classes."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.studies.bench import Trained

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples
    from brickwork.evaluation.compatibility import CompatibilityMatrix


def matrices(trained: Trained) -> "dict[str, CompatibilityMatrix]":
    """The compatibility matrix of a series on each set that it is searched on."""
    from brickwork.evaluation.compatibility import compatibility_matrix

    made = {}
    for name, examples in trained.system.searched.items():
        labels = _labels(examples)
        vectors = [vectors_of(model, examples) for model in trained.system.models]
        made[name] = compatibility_matrix(
            [x[1::2] for x in vectors],
            labels[1::2],
            [x[::2] for x in vectors],
            labels[::2],
            search=trained.system.setup.search,
        )
    return made


def compatibility(trained: Trained) -> dict[tuple[str, str], float]:
    """(what was searched, number of its matrix) → points."""
    numbers = {
        (name, what): value
        for name, matrix in trained.measured(matrices).items()
        for what, value in {
            "AC": matrix.average_compatibility,
            "AA": matrix.average_accuracy,
            "cross": matrix.mean_cross,
            "self": matrix.mean_self,
            "cross − old self": matrix.mean_gain,
        }.items()
    }
    return {place: value for place, value in numbers.items() if value is not None}


def after_replacements(trained: Trained) -> dict[str, float]:
    """Of all pairs of a model that came with a replacement and an older one, searched among all classes, in percent.

    ``cross``: the mean cross-test; ``left``: its share of the old self-test; ``improved``: the pairs in which it is at least
    the old self-test. ``chance``: of a guess.
    """
    matrix = trained.measured(matrices)["all classes"]
    pairs = [(i, j) for i in trained.system.setup.servers for j in range(i)]
    cross = [matrix.values[i][j] for i, j in pairs]
    own = [matrix.values[j][j] for _, j in pairs]
    return {
        "cross": 100 * fmean(cross),
        "left": 100 * fmean(new / old for new, old in zip(cross, own)),
        "improved": 100 * fmean(new >= old for new, old in zip(cross, own)),
        "chance": 100 * (matrix.chance or 0.0),
    }


def kept_triplets(trained: Trained) -> dict[tuple[str, str], float]:
    """(what was searched, ``share``) → percent of triplets that keep both inequalities, over all pairs of a newer and an
    older model."""
    from brickwork.evaluation.compatibility import satisfied_triplets

    kept = {}
    for name, examples in trained.system.searched.items():
        labels = _labels(examples)
        x = [vectors_of(model, examples) for model in trained.system.models]
        shares = [
            satisfied_triplets(x[j][1::2], x[i][1::2], labels[1::2], x[j][::2], labels[::2])
            for i in range(len(x))
            for j in range(i)
        ]
        kept[name, "share"] = round(100 * fmean(shares), 2)
    return kept


def own_accuracy(trained: Trained) -> float:
    """How well the models of a series classify, with their own classifiers, validation examples of the classes so far."""
    import torch

    rights = []
    model: Any
    for step, model in enumerate(trained.system.models):
        rows = classes_of(trained.data.validation, trained.system.setup.seen(step))
        z = model.representation().encode(rows.columns["input"], normalize=False, precision="fp32")
        with torch.no_grad():
            slots = model.classifier(torch.from_numpy(z)).argmax(1)
        labels = torch.from_numpy(_labels(rows))
        rights.append((slots == model.slot_of[labels]).float().mean().item())
    return fmean(rights)


def classes_of(examples: "Examples", classes: Sequence[int]) -> "Examples":
    """The examples of these classes."""
    from brickwork.systems.stationary_compat.rehearsal import of_classes

    return of_classes(examples, set(classes))


def vectors_of(model: Any, examples: "Examples") -> "np.ndarray":
    """Unit vectors in float32."""
    return model.representation().encode(examples.columns["input"], precision="fp32")


def _labels(examples: "Examples") -> Any:
    import numpy as np

    return np.asarray(examples.columns["label"], dtype=np.int64)
