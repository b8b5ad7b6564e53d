"""What is done to word vectors once they are learnt: principal directions or a bias taken out, a turn onto another space."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.vocabulary import Vocabulary
from brickwork.representation.vectors import WordVectors
from brickwork.systems.embedding_survey import alignment, bias, pooling
from brickwork.systems.embedding_survey.config import Config

_INLP_WORDS = 500
"""Words of each side that a classifier of a bias learns from."""
_HELD_OUT = 0.2
_LEAST_SEEDS = 5
_LOOKED_AT = 20_000  # words of the other language among which a translation is looked for


def changed(
    vectors: Float32[np.ndarray, "words dim"],
    vocabulary: Vocabulary,
    config: Config,
    pairs: Sequence[Sequence[str]],
    dictionary: Sequence[Sequence[str]],
    seed: int,
) -> tuple[Float32[np.ndarray, "words dim"], tuple[float, float] | None]:
    """The vectors of the words of a vocabulary after all changes that a configuration asks for, in this order: principal
    directions, debiasing, alignment; and the :func:`quality` of an alignment."""
    found = None
    if config.remove_top is not None:
        vectors = pooling.all_but_the_top(vectors, config.remove_top)
    if config.debias is not None:
        vectors = debiased(vectors, vocabulary, config.debias, pairs, seed)
    if config.target is not None:
        vectors, found = turned(vectors, vocabulary, config, dictionary, seed)
    return vectors.astype(np.float32), found


def debiased(
    vectors: np.ndarray, vocabulary: Vocabulary, how: str, pairs: Sequence[Sequence[str]], seed: int
) -> np.ndarray:
    """Hard debiasing by the pairs, or INLP on the words that lean most along their direction.

    Raises:
        DataError: none of the pairs is in the vocabulary.
    """
    ids = vocabulary.ids
    rows = [(ids[a], ids[b]) for a, b in pairs if a in ids and b in ids]
    if not rows:
        raise DataError(
            f"none of the {len(pairs)} pairs that define the bias ({', '.join('/'.join(p) for p in pairs[:3])} …) has both "
            "words in the vocabulary; give others, a lower min_count, or more texts"
        )
    if how == "hard":
        return bias.hard_debias(vectors, rows)
    first, second = (vectors[list(side)] for side in zip(*rows))
    axis = bias.direction(first, second)
    own, labels = bias.leaning(vectors, axis, _INLP_WORDS)
    return bias.inlp(vectors, own, labels, seed=seed)


def target_of(
    vocabulary: Vocabulary, config: Config, dictionary: Sequence[Sequence[str]]
) -> tuple[WordVectors, Int[np.ndarray, "pairs two"]]:
    """The vectors of the file that others are turned onto, and rows of words that are the same: here, there.

    Raises:
        ConfigError: the file has other dimensions.
        DataError: it cannot be read, or too few words are in both.
    """
    assert config.target is not None
    other = WordVectors.read(Path(config.target).expanduser())
    if other.matrix.shape[1] != config.dimensions:
        raise ConfigError(
            f"model.target={config.target} has {other.matrix.shape[1]} dimensions and model.dimensions is "
            f"{config.dimensions}; set model.dimensions={other.matrix.shape[1]}"
        )
    pairs = dictionary or [(word, word) for word in vocabulary.entries]
    rows = [(vocabulary.ids[a], other.places[b]) for a, b in pairs if a in vocabulary.ids and b in other]
    if len(rows) < _LEAST_SEEDS:
        raise DataError(
            f"{len(rows)} words are both here and in {config.target}, and a turn needs {_LEAST_SEEDS}; give pairs of words: "
            "--set data.dictionary=pairs.csv"
        )
    return other, np.array(rows)


def turned(
    vectors: np.ndarray,
    vocabulary: Vocabulary,
    config: Config,
    dictionary: Sequence[Sequence[str]],
    seed: int,
) -> tuple[np.ndarray, tuple[float, float]]:
    """Unit vectors, centred and turned onto those of a file by all words that are known to be the same; and how many find
    theirs when a fifth of these is held out (:func:`quality`)."""
    other, seeds = target_of(vocabulary, config, dictionary)
    here, there = alignment.centred(vectors), alignment.centred(other.matrix)
    held = np.random.default_rng(seed).random(len(seeds)) < _HELD_OUT
    found = quality(here, there, seeds[~held], seeds[held])
    turn = alignment.procrustes(here[seeds[:, 0]], there[seeds[:, 1]])
    return here @ turn.T, found


def quality(here: np.ndarray, there: np.ndarray, seeds: np.ndarray, held: np.ndarray) -> tuple[float, float]:
    """How many of the held-out words find theirs among the frequent words of the other space: by cosine, and by CSLS."""
    if not len(seeds):
        return 0.0, 0.0
    turn = alignment.procrustes(here[seeds[:, 0]], there[seeds[:, 1]])
    held = held[held[:, 1] < _LOOKED_AT][:2000]
    if not len(held):
        return 0.0, 0.0
    queries, targets = here[held[:, 0]] @ turn.T, there[:_LOOKED_AT]
    plain = alignment.hits(queries @ targets.T, held[:, 1]).mean()
    return float(plain), float(alignment.hits(alignment.csls(queries, targets), held[:, 1]).mean())
