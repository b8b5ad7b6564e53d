"""How much two representations of the same inputs are alike: CKA, without its bias, and over near neighbours only.

| measure    | question                                              | source                                        |
|------------|-------------------------------------------------------|-----------------------------------------------|
| linear CKA | are the similarities between inputs the same?         | Kornblith et al. 2019, arXiv 1905.00414, eq. 5 |
| debiased   | the same, 0 on average for unrelated representations  | Song et al. 2012 (HSIC_1); arXiv 2010.15327    |
| CKNNA      | the same, only between neighbours in both             | Huh et al. 2024, arXiv 2405.07987, appendix A  |

None of them changes under a rotation or a common scale of either side. Linear CKA of unrelated vectors is far from 0 unless
there are many more rows than dimensions; the debiased one is not.

Shape legend: N rows (the same inputs in the same order), D and E dimensions; M = N, or an error.
"""

import numpy as np
from jaxtyping import Bool, Float

Gram = Float[np.ndarray, "n n"]


def linear_cka(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m e"]) -> float:
    """Linear CKA of two representations, 0 … 1; NaN where one side is constant.

    Maths: ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), columns centred.

    Raises:
        ValueError: different numbers of rows, or fewer than two.
    """
    x, y = _aligned(x, y, 2)
    x, y = x - x.mean(0), y - y.mean(0)
    cross, own_x, own_y = (float(np.linalg.norm(a.T @ b)) for a, b in ((y, x), (x, x), (y, y)))
    return cross**2 / (own_x * own_y) if own_x * own_y else float("nan")


def debiased_cka(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m e"]) -> float:
    """CKA with the unbiased estimate of HSIC in all three places: about 0 for unrelated representations, or below.

    NaN where the estimate for one side alone is not positive, as for a constant one.

    Raises:
        ValueError: different numbers of rows, or fewer than four.
    """
    x, y = _aligned(x, y, 4)
    k, l = x @ x.T, y @ y.T  # noqa: E741 - as in the paper
    return _normalised(unbiased_hsic(k, l), unbiased_hsic(k, k), unbiased_hsic(l, l))


def cknna(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m e"], *, neighbours: int = 10) -> float:
    """CKA between rows that are among the nearest ``neighbours`` of each other on both sides; with N − 1 it is
    :func:`debiased_cka`. Neighbours are those of the highest inner product. NaN as there.

    Raises:
        ValueError: different numbers of rows, fewer than four, or not 1 to N − 1 neighbours.
    """
    x, y = _aligned(x, y, 4)
    if not 1 <= neighbours < len(x):
        raise ValueError(f"neighbours={neighbours}; there are {len(x) - 1} other rows")
    k, l = x @ x.T, y @ y.T  # noqa: E741 - as in the paper
    near_k, near_l = _near(k, neighbours), _near(l, neighbours)
    both = near_k & near_l
    return _normalised(
        unbiased_hsic(k * both, l * both),
        unbiased_hsic(k * near_k, k * near_k),
        unbiased_hsic(l * near_l, l * near_l),
    )


def unbiased_hsic(k: Gram, l: Gram) -> float:  # noqa: E741 - as in the paper
    """The unbiased estimate of HSIC from two matrices of inner products, whose diagonals do not count.

    Maths: [tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2)·1ᵀK̃L̃1] / (n(n−3))  (Song et al. 2012, eq. 5).
    """
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    inner = float((k * l.T).sum())
    totals = float(k.sum() * l.sum()) / ((n - 1) * (n - 2))
    crossed = float(k.sum(0) @ l.sum(1)) * 2 / (n - 2)
    return (inner + totals - crossed) / (n * (n - 3))


def _near(gram: Gram, neighbours: int) -> Bool[np.ndarray, "n n"]:
    """Which rows are the nearest others of each row."""
    others = gram.copy()
    np.fill_diagonal(others, -np.inf)
    chosen = np.argsort(-others, axis=1, kind="stable")[:, :neighbours]
    near = np.zeros(gram.shape, dtype=bool)
    np.put_along_axis(near, chosen, True, axis=1)
    return near


def _normalised(cross: float, own_x: float, own_y: float) -> float:
    return cross / float(np.sqrt(own_x * own_y)) if own_x > 0 and own_y > 0 else float("nan")


def _aligned(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} rows; both sides must be of the same inputs")
    if len(x) < least:
        raise ValueError(f"{len(x)} rows; at least {least} are needed")
    return x.astype(np.float64), y.astype(np.float64)
