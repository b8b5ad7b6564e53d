"""Social bias of word vectors: how strong an association is, and two ways to take it out.

A test has two sets of target words, x and y, and two of attributes, a and b: is x nearer to a, and y to b, than chance?

Shape legend: V words, D dimensions, X, Y, A, B words of the four sets.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import DataError

ROLES = ("target x", "target y", "attribute a", "attribute b")
DEFINE = ("define a", "define b")
_EXACT = 200_000
"""Up to so many partitions all are counted."""
_DRAWN = 100_000
_RESAMPLES = 2000
_ROUNDING = 1e-6  # of cosines of vectors in float32
_ROUNDS = 35  # of INLP, at most
_CHANCE = 0.55  # accuracy from which on a classifier is worth another round


@dataclass(frozen=True, kw_only=True)
class Association:
    """``effect``: difference of means in standard deviations, with its bootstrap interval; ``difference``: the same in
    cosines, which the standard deviation of vectors without a bias does not make large; ``p``: the share of partitions
    of the targets with a statistic as large; ``exact``: whether all of them were counted."""

    effect: float
    difference: float
    low: float
    high: float
    p: float
    exact: bool


def unit(vectors: Float[np.ndarray, "words dim"]) -> Float[np.ndarray, "words dim"]:
    """Rows of length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def associations(
    words: Float[np.ndarray, "words dim"], a: Float[np.ndarray, "a dim"], b: Float[np.ndarray, "b dim"]
) -> Float[np.ndarray, " words"]:
    """s(w) = mean over a of cos(w, a) − mean over b of cos(w, b)."""
    w = unit(words)
    values: np.ndarray = (w @ unit(a).T).mean(1) - (w @ unit(b).T).mean(1)
    return values


def effect_size(x: Float[np.ndarray, " x"], y: Float[np.ndarray, " y"], ddof: int = 0) -> float:
    """(mean of s over x − mean over y) / standard deviation over both; 0 where that is 0, or rounding of vectors in float32:
    cosines that a direction was taken out of."""
    spread = float(np.std(np.concatenate([x, y]), ddof=ddof))
    return float(x.mean() - y.mean()) / spread if spread > _ROUNDING else 0.0


def weat(
    x: Float[np.ndarray, "x dim"],
    y: Float[np.ndarray, "y dim"],
    a: Float[np.ndarray, "a dim"],
    b: Float[np.ndarray, "b dim"],
    *,
    seed: int = 0,
    ddof: int = 0,
) -> Association:
    """The word embedding association test (Caliskan, Bryson, Narayanan 2017) of vectors of the four sets.

    The interval is a percentile bootstrap over the words of x and of y.

    Raises:
        DataError: fewer than two words in a set of targets, or no attributes.
    """
    if min(len(x), len(y)) < 2 or not min(len(a), len(b)):
        raise DataError("a test of bias needs at least two words of each target and one of each attribute")
    s_x, s_y = associations(x, a, b), associations(y, a, b)
    p, exact = _permuted(s_x, s_y, seed)
    rng = np.random.default_rng(seed)
    drawn = [
        effect_size(rng.choice(s_x, len(s_x)), rng.choice(s_y, len(s_y)), ddof) for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Association(
        effect=effect_size(s_x, s_y, ddof),
        difference=float(s_x.mean() - s_y.mean()),
        low=float(low),
        high=float(high),
        p=p,
        exact=exact,
    )


def _permuted(x: Float[np.ndarray, " x"], y: Float[np.ndarray, " y"], seed: int) -> tuple[float, bool]:
    """The share of partitions of all targets, into sets as large as these, whose Σ_x s − Σ_y s is at least the observed."""
    pooled = np.concatenate([x, y])
    # Σ_x − Σ_y = 2 Σ_x − Σ: of a partition its x alone decides.
    observed = x.sum() - 1e-12 * max(1.0, float(np.abs(pooled).sum()))
    if math.comb(len(pooled), len(x)) <= _EXACT:
        members = np.fromiter(
            (i for chosen in combinations(range(len(pooled)), len(x)) for i in chosen), np.int64
        )
        sums = pooled[members.reshape(-1, len(x))].sum(1)
        return float((sums >= observed).mean()), True
    rng = np.random.default_rng(seed)
    above = 0
    for start in range(0, _DRAWN, 1000):
        order = rng.random((min(1000, _DRAWN - start), len(pooled))).argsort(1)[:, : len(x)]
        above += int((pooled[order].sum(1) >= observed).sum())
    return (above + 1) / (_DRAWN + 1), False


def defining_pairs(lists: Mapping[tuple[str, str], Sequence[str]]) -> list[tuple[str, str]]:
    """Pairs of the sets ``define a`` and ``define b`` of every test, else of its attributes, in order.

    Raises:
        DataError: the two lists of a test are not equally long; names it.
    """
    pairs: list[tuple[str, str]] = []
    for test in dict.fromkeys(name for name, _ in lists):
        own = (DEFINE[0], DEFINE[1]) if (test, DEFINE[0]) in lists else (ROLES[2], ROLES[3])
        a, b = (list(lists.get((test, role), ())) for role in own)
        if len(a) != len(b):
            raise DataError(
                f"the test '{test}' has {len(a)} words of '{own[0]}' and {len(b)} of '{own[1]}'; a direction is taken from "
                "pairs: give as many of both, in the same order, or rows of 'define a' and 'define b'"
            )
        pairs += list(zip(a, b))
    return pairs


def direction(
    first: Float[np.ndarray, "pairs dim"], second: Float[np.ndarray, "pairs dim"]
) -> Float[np.ndarray, " dim"]:
    """The first principal direction of pairs, each centred on its own mean, from second to first (Bolukbasi et al. 2016)."""
    half = (unit(first) - unit(second)) / 2
    _, _, found = np.linalg.svd(np.concatenate([half, -half]), full_matrices=False)
    sign = 1.0 if float((half @ found[0]).sum()) >= 0 else -1.0
    axis: np.ndarray = sign * found[0]
    return axis


def hard_debias(
    matrix: Float[np.ndarray, "words dim"], pairs: Sequence[tuple[int, int]]
) -> Float[np.ndarray, "words dim"]:
    """Unit vectors without the direction of the ``pairs`` (rows), which themselves are set to be equally far from all
    others: ν ± √(1 − ‖ν‖²) b, ν their mean less its part along b (Bolukbasi et al. 2016, hard debiasing).

    Raises:
        DataError: no pairs.
    """
    if not pairs:
        raise DataError("no pair of words that define the bias is in the vocabulary; give others")
    words = unit(matrix.astype(np.float64))
    one, other = (np.array(side) for side in zip(*pairs))
    b = direction(words[one], words[other])
    result = unit(words - np.outer(words @ b, b))
    middle = (words[one] + words[other]) / 2
    middle = middle - np.outer(middle @ b, b)
    rest = np.sqrt(np.maximum(1 - (middle**2).sum(1), 0))[:, None] * b
    # Which of a pair stands on which side stays.
    side = np.sign((words[one] - words[other]) @ b)[:, None]
    result[one], result[other] = middle + side * rest, middle - side * rest
    return result


def inlp(
    matrix: Float[np.ndarray, "words dim"], rows: Sequence[int], labels: Sequence[int], *, seed: int = 0
) -> Float[np.ndarray, "words dim"]:
    """Vectors from which no linear classifier tells the ``labels`` of ``rows``: again and again one is learnt, and what it
    looks at is projected away, until it does no better than chance on held-out rows (Ravfogel et al. 2020).

    Raises:
        DataError: fewer than ten rows, or of one label alone.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    y = np.asarray(labels)
    counts = np.bincount(y, minlength=2)
    if len(y) < 10 or counts.min() < 5:
        raise DataError("a classifier of bias needs at least five words of each side")
    vectors = unit(matrix.astype(np.float64))
    removed = np.zeros((0, vectors.shape[1]))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for _ in range(min(_ROUNDS, vectors.shape[1] - 1)):
        own = vectors[list(rows)] - vectors[list(rows)] @ removed.T @ removed
        if removed.size and cross_val_score(LogisticRegression(), own, y, cv=folds).mean() < _CHANCE:
            break
        w = LogisticRegression().fit(own, y).coef_[0]
        w = w - w @ removed.T @ removed
        length = np.linalg.norm(w)
        if length < 1e-9:
            break
        removed = np.concatenate([removed, (w / length)[None]])
    result: np.ndarray = vectors - vectors @ removed.T @ removed
    return result


def leaning(
    matrix: Float[np.ndarray, "words dim"],
    axis: Float[np.ndarray, " dim"],
    count: int,
    leave: Sequence[int] = (),
) -> tuple[list[int], list[int]]:
    """The ``count`` words that lean most to either side of a direction, and their sides (1 along it, 0 against)."""
    along = unit(matrix) @ axis
    order = [int(row) for row in np.argsort(along) if int(row) not in set(leave)]
    count = min(count, len(order) // 2)
    return order[:count] + order[-count:], [0] * count + [1] * count


def recovered(
    matrix: Float[np.ndarray, "words dim"], rows: Sequence[int], labels: Sequence[int], seed: int = 0
) -> float:
    """How well two clusters of words still agree with sides that were known before: accuracy of k-means, ½ … 1 (Gonen &
    Goldberg 2019)."""
    from sklearn.cluster import KMeans

    found = KMeans(2, n_init=10, random_state=seed).fit_predict(unit(matrix)[list(rows)])
    agree = float((found == np.asarray(labels)).mean())
    return max(agree, 1 - agree)
