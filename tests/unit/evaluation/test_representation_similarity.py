"""Similarity of representations, against the definition of each written out, and known limits."""

from itertools import permutations

import numpy as np
import pytest

from brickwork.evaluation.representation_similarity import cknna, debiased_cka, linear_cka, unbiased_hsic


def vectors(rows, dim, seed):
    return np.random.default_rng(seed).normal(size=(rows, dim))


def rotation(dim, seed):
    return np.linalg.qr(vectors(dim, dim, seed))[0]


def test_linear_cka_is_the_cosine_of_centred_gram_matrices():
    """Kornblith et al. 2019, eq. 4 with linear kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), HSIC ∝ tr(K H L H)."""
    x, y = vectors(20, 5, 0), vectors(20, 7, 1)
    centre = np.eye(20) - 1 / 20
    k, gram_y = x @ x.T, y @ y.T

    def hsic(a, b):
        return np.trace(a @ centre @ b @ centre)

    expected = hsic(k, gram_y) / np.sqrt(hsic(k, k) * hsic(gram_y, gram_y))
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-12)


def test_unbiased_hsic_is_the_u_statistic():
    """The mean over all ordered quadruples of different rows of h = K_ij (L_ij + L_kl − 2 L_ik) (Gretton et al. 2005)."""
    x, y = vectors(7, 3, 2), vectors(7, 4, 3)
    k, gram_y = x @ x.T, y @ y.T
    terms = [
        k[a, b] * (gram_y[a, b] + gram_y[c, d] - 2 * gram_y[a, c]) for a, b, c, d in permutations(range(7), 4)
    ]
    assert unbiased_hsic(k, gram_y) == pytest.approx(np.mean(terms), abs=1e-12)


@pytest.mark.parametrize("measure", [linear_cka, debiased_cka, cknna])
def test_rotation_and_scale_do_not_matter(measure):
    x = vectors(40, 6, 4)
    y = 3.0 * x @ rotation(6, 5)
    assert measure(x, y) == pytest.approx(1.0, abs=1e-9)


def test_only_the_biased_one_finds_likeness_in_noise():
    x, y = vectors(60, 200, 6), vectors(60, 200, 7)
    assert linear_cka(x, y) > 0.5
    assert abs(debiased_cka(x, y)) < 0.1


def test_cknna_of_all_neighbours_is_the_debiased_cka():
    x, y = vectors(15, 4, 8), vectors(15, 9, 9)
    assert cknna(x, y, neighbours=14) == pytest.approx(debiased_cka(x, y), abs=1e-12)


def test_cknna_counts_what_is_near_on_both_sides():
    """By loops over pairs, with the masked matrices in the place of the whole ones (Huh et al. 2024, appendix A)."""
    x, y, k = vectors(12, 3, 10), vectors(12, 3, 11), 4
    gram_x, gram_y = x @ x.T, y @ y.T

    def near(gram, row):
        return set(sorted((o for o in range(12) if o != row), key=lambda o: -gram[row, o])[:k])

    def masked(gram, *sides):
        result = np.zeros_like(gram)
        for i in range(12):
            for j in range(12):
                if all(j in near(side, i) for side in sides):
                    result[i, j] = gram[i, j]
        return result

    def alike(a, b):
        return unbiased_hsic(masked(a, a, b), masked(b, a, b))

    expected = alike(gram_x, gram_y) / np.sqrt(alike(gram_x, gram_x) * alike(gram_y, gram_y))
    assert cknna(x, y, neighbours=k) == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="3 and 4 rows"):
        linear_cka(vectors(3, 2, 0), vectors(4, 2, 0))
    with pytest.raises(ValueError, match="at least 4"):
        debiased_cka(vectors(3, 2, 0), vectors(3, 2, 0))
    with pytest.raises(ValueError, match="there are 4 other rows"):
        cknna(vectors(5, 2, 0), vectors(5, 2, 0), neighbours=5)
    assert np.isnan(linear_cka(np.ones((5, 2)), vectors(5, 2, 0)))
