"""First stages against exact search by NumPy, and their files against damage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from brickwork.core.errors import ArtifactError
from brickwork.index.search import FlatVectors
from brickwork.index.shortlists import build_shortlist, load_shortlist, run_plan
from brickwork.index.types import KINDS, Plan

ROWS, WIDTH, DIM = 3000, 32, 16


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    """Clusters in a space whose first numbers matter most, as trained prefixes do."""
    rng = np.random.default_rng(0)
    scale = np.linspace(2, 0.3, WIDTH)
    centres = rng.standard_normal((60, WIDTH)) * scale
    return unit(centres[rng.integers(0, 60, ROWS)] + 0.5 * rng.standard_normal((ROWS, WIDTH)) * scale)


@pytest.fixture(scope="module")
def queries(vectors):
    rng = np.random.default_rng(1)
    return unit(vectors[rng.choice(ROWS, 40)] + 0.1 * rng.standard_normal((40, WIDTH)))


@pytest.fixture(scope="module")
def shortlists(vectors):
    return {kind: build_shortlist(kind, vectors, DIM) for kind in KINDS}


def oracle(vectors, queries, dim, keep, allowed=None):
    """The rows with the highest cosine of prefixes, by NumPy in float64."""
    a, b = (unit(x[:, :dim]).astype(np.float64) for x in (queries, vectors))
    scores = a @ b.T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return np.argsort(-scores, axis=1)[:, :keep]


def overlap(found, wanted):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), wanted.tolist())])


def test_flat_candidates_are_the_exact_ones(vectors, queries, shortlists):
    wanted = oracle(vectors, queries, DIM, 20)
    assert overlap(shortlists["flat"].search(queries, 20), wanted) == 1
    assert shortlists["flat"].search(queries[:1], 20)[0].tolist() == wanted[0].tolist()


@pytest.mark.parametrize(
    ("kind", "effort", "least"),
    [("int8", None, 0.99), ("binary", None, 0.6), ("hnsw", 200, 0.97), ("ivf", 64, 0.9)],
)
def test_candidates_hold_nearly_all_of_the_nearest(vectors, queries, shortlists, kind, effort, least):
    found = shortlists[kind].search(queries, 100, effort=effort)
    assert found.shape == (40, 100)
    assert all(len(set(row)) == 100 for row in found.tolist())
    assert overlap(found, oracle(vectors, queries, DIM, 10)) >= least
