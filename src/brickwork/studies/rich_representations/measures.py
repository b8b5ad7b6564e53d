"""What is measured of vectors: new labels and old ones, by classifiers that are fitted on them; percent throughout.

The classifier is that of users (evaluation/new_labels.py): standardised vectors, weight decay by cross-validation. So wide
vectors are not favoured by a regularisation that suits narrow ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.data.types import Examples
from brickwork.evaluation.codes import effective_rank
from brickwork.evaluation.new_labels import learn_labels
from brickwork.evaluation.probes import few_shot, normalise
from brickwork.evaluation.representation_similarity import debiased_cka
from brickwork.representation.encode import encode
from brickwork.studies.bench import Trained
from brickwork.systems.rich_representations.data import split_new
from brickwork.systems.rich_representations.transfer import untrained

SHOTS = (5, 50)
TESTED = 1500
"""Images of new classes that are tested on, at most."""
EPISODES = 300


def new_examples(trained: Trained) -> Examples:
    """The images of the classes that were not trained on."""
    return split_new(trained.data.test, trained.system.classes)[1]


def blocks(members: Sequence[Any], inputs: Any) -> list[Float[np.ndarray, "rows _"]]:
    """The vectors of each network, as it gives them."""
    return [
        encode(m, inputs, m.embedding_dim, m.num_layers, normalize=False, precision="fp32") for m in members
    ]


def networks(system: Any) -> list[Any]:
    """The members of a system, or the one network that it is."""
    return list(system.members.members)


def probed(parts: Sequence[np.ndarray], labels: np.ndarray, shots: int, seed: int) -> float:
    """Accuracy on what is left of labelled rows, of a classifier from ``shots`` of each label."""
    vectors = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1).astype(np.float64)
    names, places = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(places))
    learn = np.concatenate([order[places[order] == place][:shots] for place in range(len(names))])
    test = np.setdiff1d(order, learn)[:TESTED]
    model = learn_labels(vectors[learn], places[learn], [str(n) for n in names], kind="linear", seed=seed)
    return 100 * model.accuracy(vectors[test], places[test])


def shots_of(labels: np.ndarray) -> list[int]:
    """The numbers of shots that leave something to test on."""
    return [shots for shots in SHOTS if shots < int(np.bincount(labels).max())]


def new_labels(trained: Trained) -> dict[tuple[str, int], float]:
    """``(vectors, shots)`` → accuracy of the first member alone, and of all joined."""
    inputs, labels = drawn(trained)
    own = blocks(networks(trained.system), inputs)
    return _by_shots({"one": own[:1], "all": own}, labels, trained.seed)


def controls(trained: Trained) -> dict[tuple[str, int], float]:
    """The same of what training has to beat: untrained networks of the same widths, and the pixels that networks see."""
    inputs, labels = drawn(trained)
    members = networks(trained.system)
    fresh = blocks(untrained(members[0], len(members), trained.seed), inputs)
    every = {"untrained": fresh[:1], "untrained, as wide": fresh, "pixels": [seen(members[0], inputs)]}
    return _by_shots(every, labels, trained.seed)


def seen(member: Any, inputs: np.ndarray) -> np.ndarray:
    """Images as a network has them behind its first step: squares of pixels averaged."""
    side = member.config.shrink
    n, height, width, channels = (
        len(inputs),
        inputs.shape[1] // side,
        inputs.shape[2] // side,
        inputs.shape[3],
    )
    whole = inputs[:, : height * side, : width * side]
    squares = whole.reshape(n, height, side, width, side, channels)
    return squares.astype(np.float32).mean(axis=(2, 4))


def _by_shots(
    every: dict[str, list[np.ndarray]], labels: np.ndarray, seed: int
) -> dict[tuple[str, int], float]:
    return {
        (name, shots): probed(parts, labels, shots, seed)
        for name, parts in every.items()
        for shots in shots_of(labels)
    }


def by_members(trained: Trained) -> dict[int, float]:
    """Number of members → accuracy on new labels with the most shots."""
    inputs, labels = drawn(trained)
    own = blocks(networks(trained.system), inputs)
    shots = max(shots_of(labels))
    return {k: probed(own[:k], labels, shots, trained.seed) for k in range(1, len(own) + 1)}


def old_labels(trained: Trained) -> dict[str, float]:
    """Accuracy on the classes that were trained on: of the first member with its head, and of the whole system."""
    known, _ = split_new(trained.data.test, trained.system.classes)
    known = known.select(range(min(TESTED, len(known))))
    y = np.asarray(known.columns["label"])
    system = trained.system
    whole = 100 * float((system.probabilities(known.columns["input"]).argmax(1) == y).mean())
    if not len(system.heads):
        return {"one": whole, "all": whole}
    stage, system.stage = system.stage, "member 1"
    one = 100 * float((system.probabilities(known.columns["input"]).argmax(1) == y).mean())
    system.stage = stage
    return {"one": one, "all": whole}


def facts(trained: Trained) -> dict[str, float]:
    """Parameters of the encoder, features, rank of the vectors on new classes, and how alike members are."""
    inputs = np.asarray(new_examples(trained).columns["input"])[:500]
    members = networks(trained.system)
    own = blocks(members, inputs)
    joint = np.concatenate([(b - b.mean(0)) / (b.std() or 1.0) for b in own], axis=1)
    pairs = [debiased_cka(a, b) for i, a in enumerate(own) for b in own[:i]]
    return {
        "parameters": float(sum(p.numel() for m in members for p in m.parameters())),
        "features": float(joint.shape[1]),
        "rank": effective_rank(joint),
        "CKA": float(np.mean(pairs)) if pairs else float("nan"),
    }


def episodes(trained: Trained, ways: int, shots: int) -> dict[str, float]:
    """Mean accuracy of episodes on new classes: each query to the nearest mean by cosine, blocks at equal length."""
    inputs, labels = drawn(trained, 60)
    members = networks(trained.system)
    own = [normalise(block) for block in blocks(members, inputs)]
    fresh = [normalise(block) for block in blocks(untrained(members[0], 1, trained.seed), inputs)]
    pixels = seen(members[0], inputs).reshape(len(inputs), -1) / 127.5 - 1
    every = {"one": own[0], "all": np.concatenate(own, axis=1), "untrained": fresh[0], "pixels": pixels}
    how: dict[str, int] = {"ways": ways, "shots": shots, "episodes": EPISODES, "seed": trained.seed}
    return {name: 100 * float(few_shot(v, labels, **how).mean()) for name, v in every.items()}


def drawn(trained: Trained, each: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of new classes in a random order, at most ``each`` of every class (0: as many as are learnt from and tested
    on), and their classes, counted from 0."""
    examples = new_examples(trained)
    labels = np.asarray(examples.columns["label"], dtype=np.int64)
    labels = labels - labels.min()
    each = each or max(shots_of(labels)) + TESTED // int(labels.max() + 1)
    rng = np.random.default_rng(trained.seed)
    order = rng.permutation(len(labels))
    chosen = [order[labels[order] == label][:each] for label in np.unique(labels)]
    rows = rng.permutation(np.concatenate(chosen))
    return np.asarray(examples.columns["input"])[rows], labels[rows]
