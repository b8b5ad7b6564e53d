"""Scores of clusters against pairs counted one by one; coherence of topics against its formula on small counts."""

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from brickwork.evaluation.clustering import clustering_scores, npmi


def by_pairs(given, found):
    a = b = c = n = 0
    for i, j in itertools.combinations(range(len(given)), 2):
        same, together = given[i] == given[j], found[i] == found[j]
        a += same and together
        b += together and not same
        c += same and not together
        n += 1
    chance = (a + b) * (a + c) / n
    most = ((a + b) + (a + c)) / 2
    ari = (a - chance) / (most - chance) if most != chance else 1.0
    return ari, 2 * a / (2 * a + b + c) if a + b + c else 1.0


@pytest.mark.parametrize("seed", range(5))
def test_pairs_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    given, found = rng.integers(0, 4, 40), rng.integers(0, 3, 40)
    ari, paired = by_pairs(given, found)
    scores = clustering_scores(given, found)
    assert scores["ari"] == pytest.approx(ari)
    assert scores["paired f"] == pytest.approx(paired)


def test_the_same_groups_by_other_names():
    assert clustering_scores(["a", "a", "b"], [7, 7, 1]) == {"ari": 1.0, "v": 1.0, "paired f": 1.0}


def test_all_alone_and_all_together():
    """V rewards many groups, the paired F few: why the Rand index is the one to go by."""
    given = [0] * 4 + [1] * 4
    alone, together = clustering_scores(given, range(8)), clustering_scores(given, [0] * 8)
    assert alone["ari"] == together["ari"] == 0
    assert alone["v"] == pytest.approx(
        2 * 1 * (1 / 3) / (1 + 1 / 3)
    )  # homogeneity 1, completeness ln 2 / ln 8
    assert together["v"] == 0
    assert alone["paired f"] == 0
    assert together["paired f"] == pytest.approx(2 * 12 / (12 + 28))


def test_alone_everywhere_there_are_no_pairs():
    assert clustering_scores([0, 1, 2], [2, 1, 0])["paired f"] == 1.0


def test_coherence_by_its_formula():
    bags = csr_matrix(np.array([[2, 1, 0, 1], [1, 3, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1]], float))
    p = {(0, 1): 2 / 4, (0, 2): 0.0, (1, 2): 0.0}
    single = [3 / 4, 2 / 4, 1 / 4]
    value = math.log(p[0, 1] / (single[0] * single[1])) / -math.log(p[0, 1])
    assert npmi([[0, 1]], bags) == pytest.approx([value])
    assert npmi([[0, 1, 2]], bags) == pytest.approx([(value - 1 - 1) / 3])
    assert npmi([[3, 0]], bags) == pytest.approx([0.0])  # a word that is everywhere says nothing
    assert math.isnan(npmi([[0]], bags)[0])


def test_words_that_are_always_together_and_never():
    bags = csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], float))
    assert npmi([[0, 1], [0, 2]], bags) == pytest.approx([1.0, -1.0])
    assert npmi([[0, 1]], csr_matrix(np.ones((2, 2)))) == [1.0]
