"""How codes lie: their angles, how many directions they use, their neighbours, what they say of each other.

Shape legend: N rows, D dimensions.
"""

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import naming_extras
from brickwork.evaluation.probes import normalise
from brickwork.representation.nearest import top_k


def mean_cosine(codes: Float[np.ndarray, "n dim"]) -> float:
    """The mean cosine of two different rows: near 1 if all codes lie in one narrow cone."""
    unit = normalise(codes).astype(np.float64)
    total = np.square(unit.sum(0)).sum()
    return float((total - np.square(unit).sum()) / (len(unit) * (len(unit) - 1)))


def effective_rank(codes: Float[np.ndarray, "n dim"]) -> float:
    """How many directions the codes use: exp of the entropy of the centred codes' singular values (Roy & Vetterli 2007)."""
    values = np.linalg.svd(codes.astype(np.float64) - codes.mean(0), compute_uv=False)
    if not values.sum():
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def leave_one_out_accuracy(codes: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"]) -> float:
    """The share of rows whose nearest other row, by cosine, has their label."""
    unit = normalise(codes)
    _, rows = top_k(unit, unit, 2)
    itself = rows[:, 0] == np.arange(len(unit))
    nearest = np.where(itself, rows[:, 1], rows[:, 0])
    return float((labels[nearest] == labels).mean())


@naming_extras("an estimate of information")
def ksg_information(
    x: Float[np.ndarray, "n dx"], y: Float[np.ndarray, "n dy"], *, neighbours: int = 3
) -> float:
    """Mutual information of two samples in nats, from distances to nearest neighbours.

    Maths: ψ(k) + ψ(N) − ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩, n_x and n_y the rows strictly nearer than the k-th neighbour of the joint
    maximum norm  (Kraskov, Stögbauer, Grassberger 2004, eq. 8). It is biased downwards where the information is high, which
    needs about exp(I) rows. Rows that are equal in all numbers must be few.
    """
    from scipy.special import digamma
    from sklearn.neighbors import KDTree, NearestNeighbors

    both = np.concatenate([x, y], axis=1)

    neighbourhood = NearestNeighbors(n_neighbors=neighbours, metric="chebyshev").fit(both)
    radius = np.nextafter(neighbourhood.kneighbors()[0][:, -1], 0)
    counts = [
        KDTree(np.ascontiguousarray(part), metric="chebyshev").query_radius(part, radius, count_only=True)
        for part in (x, y)
    ]
    means = sum(digamma(np.maximum(count, 1)).mean() for count in counts)  # a row counts itself: n + 1
    return float(digamma(neighbours) + digamma(len(x)) - means)
