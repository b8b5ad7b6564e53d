"""First stages against exact search by NumPy, and their files against damage."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from brickwork.core.errors import ArtifactError
from brickwork.index.search import FlatVectors
from brickwork.index.shortlists import build_shortlist, load_shortlist, run_plan
from brickwork.index.shortlists.run import more_candidates
from brickwork.index.types import KINDS, Plan

ROWS, WIDTH, DIM = 3000, 32, 16


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    """Clusters in a space whose first dimensions matter most, as trained prefixes do."""
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


def overlap(results, wanted):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(results.tolist(), wanted.tolist())])


def test_flat_candidates_are_the_exact_ones(vectors, queries, shortlists):
    wanted = oracle(vectors, queries, DIM, 20)
    assert overlap(shortlists["flat"].search(queries, 20), wanted) == 1
    assert shortlists["flat"].search(queries[:1], 20)[0].tolist() == wanted[0].tolist()


@pytest.mark.parametrize(
    ("kind", "effort", "least"),
    [("int8", None, 0.99), ("binary", None, 0.6), ("hnsw", 200, 0.97), ("ivf", 64, 0.9), ("rabitq", 64, 0.8)],
)
def test_candidates_hold_nearly_all_of_the_nearest(vectors, queries, shortlists, kind, effort, least):
    results = shortlists[kind].search(queries, 100, effort=effort)
    assert results.shape == (40, 100)
    assert all(len(set(row)) == 100 for row in results.tolist())
    assert overlap(results, oracle(vectors, queries, DIM, 10)) >= least


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.001, 0.03, 0.3, 0.9]), keep=st.integers(1, 80)
)
@settings(max_examples=15, deadline=None)
def test_a_filter_holds_and_leaves_nobody_with_too_few(vectors, queries, shortlists, kind, seed, share, keep):
    allowed = np.random.default_rng(seed).random(ROWS) < share
    results = shortlists[kind].search(queries[:3], keep, allowed=allowed)
    wanted = min(keep, int(allowed.sum()))
    assert results.shape == (3, keep)
    for row in results:
        assert len(set(row[:wanted].tolist())) == wanted
        assert allowed[row[:wanted]].all()
        assert (row[wanted:] == -1).all()
    few = max(ROWS // 10 if kind == "hnsw" else ROWS // 50, 10 * keep)
    if 0 < wanted <= allowed.sum() < few:  # exact
        assert overlap(results[:, :wanted], oracle(vectors, queries[:3], DIM, wanted, allowed)) == 1


@pytest.mark.parametrize("kind", ["int8", "hnsw", "ivf", "rabitq"])
def test_a_filter_costs_little_recall(vectors, queries, shortlists, kind):
    allowed = np.arange(ROWS) % 4 == 0
    results = shortlists[kind].search(queries, 100, effort=64, allowed=allowed)
    assert overlap(results, oracle(vectors, queries, DIM, 10, allowed)) >= 0.9


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "rabitq"])
def test_effort_finds_more(vectors, queries, shortlists, kind):
    wanted = oracle(vectors, queries, DIM, 10)
    recalls = [overlap(shortlists[kind].search(queries, 10, effort=e), wanted) for e in (1, 256)]
    assert recalls[1] > recalls[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 17, 300])
@pytest.mark.parametrize("dim", [1, 7, WIDTH])
def test_small_matrices_and_odd_prefixes(vectors, queries, kind, rows, dim):
    results = build_shortlist(kind, vectors[:rows], dim).search(queries[:2], 20)
    for row in results:
        assert len(set(row[row >= 0].tolist())) == min(20, rows)
    assert build_shortlist(kind, vectors[:rows], dim).search(queries[:0], 20).shape == (0, 20)


def test_binary_counts_differing_signs_after_centring(vectors, queries, shortlists):
    prefixes = unit(vectors[:, :DIM])
    mean = prefixes.astype(np.float64).mean(axis=0)
    differing = ((unit(queries[:, :DIM]) > mean)[:, None] != (prefixes > mean)[None]).sum(axis=2)  # NumPy
    results = shortlists["binary"].search(queries, 30)
    assert (np.take_along_axis(differing, results, axis=1) == np.sort(differing, axis=1)[:, :30]).all()


def test_int8_stays_within_half_a_step_of_the_cosine(vectors, queries, shortlists):
    prefixes, asked = unit(vectors[:, :DIM]).astype(np.float64), unit(queries[:, :DIM]).astype(np.float64)
    scores = asked @ prefixes.T
    step = (prefixes.max(axis=0) - prefixes.min(axis=0)) / 255
    error = 2 * (np.abs(asked) * step).sum(axis=1)  # two rows, each off by half a step each way
    results = shortlists["int8"].search(queries, 20)
    lowest = np.take_along_axis(scores, results, axis=1).min(axis=1)
    assert (lowest >= np.sort(scores, axis=1)[:, -20] - error).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [WIDTH, 24])
def test_a_plan_ends_in_exact_cosines(vectors, queries, shortlists, kind, last):
    plan = Plan(stages=((DIM, 60), (last, 5)), kind=kind, effort=32)
    allowed = np.arange(ROWS) % 2 == 0
    scores, rows = run_plan(FlatVectors(vectors), shortlists[kind], queries, plan, allowed)
    wanted = more_candidates(60, allowed)
    assert wanted == 85  # half of the rows: √2 times as many
    candidates = shortlists[kind].search(queries, wanted, effort=32, allowed=allowed)
    a, b = unit(queries[:, :last]).astype(np.float64), unit(vectors[:, :last]).astype(np.float64)
    for query in range(len(queries)):
        wanted = np.sort(b[candidates[query]] @ a[query])[::-1][:5]  # NumPy
        assert scores[query] == pytest.approx(wanted, abs=1e-6)
        assert b[rows[query]] @ a[query] == pytest.approx(wanted, abs=1e-6)


def test_one_stage_gives_cosines_of_its_own_prefix(vectors, queries, shortlists):
    scores, rows = run_plan(FlatVectors(vectors), shortlists["flat"], queries, Plan(stages=((DIM, 5),)))
    assert rows.tolist() == oracle(vectors, queries, DIM, 5).tolist()
    wanted = np.sort(unit(queries[:, :DIM]) @ unit(vectors[:, :DIM]).T, axis=1)[:, ::-1][:, :5]
    assert scores == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("last", [WIDTH, 24])
def test_too_few_allowed_rows_leave_gaps_at_the_end(vectors, queries, shortlists, last):
    plan = Plan(stages=((DIM, 20), (last, 5)), kind="binary")
    scores, rows = run_plan(
        FlatVectors(vectors), shortlists["binary"], queries[:2], plan, np.arange(ROWS) < 3
    )
    assert [sorted(row) for row in rows.tolist()] == [[-1, -1, 0, 1, 2]] * 2
    assert (scores[:, 3:] == -np.inf).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_back_the_same_shortlist(tmp_path, vectors, queries, shortlists, kind):
    file = tmp_path / "shortlist.safetensors"
    shortlists[kind].save(file)
    more = np.concatenate([vectors, vectors[:10]])  # rows that came later are not covered
    loaded = load_shortlist(file, more)
    assert (loaded.kind, loaded.dim, len(loaded), loaded.nbytes()) == (
        kind,
        DIM,
        ROWS,
        shortlists[kind].nbytes(),
    )
    assert loaded.search(queries, 40).tolist() == shortlists[kind].search(queries, 40).tolist()
    loaded.save(tmp_path / "again.safetensors")
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(tmp_path, vectors, kind):
    for name in ("a", "b"):
        build_shortlist(kind, vectors, DIM, seed=3).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_faiss_sees_no_byte_that_was_changed(tmp_path, vectors, shortlists, kind, monkeypatch):
    file = tmp_path / "shortlist.safetensors"
    shortlists[kind].save(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr("faiss.deserialize_index", lambda data: pytest.fail("FAISS was given damaged bytes"))
    with pytest.raises(ArtifactError, match=r"shortlist.safetensors is damaged: its FAISS bytes.*--repair"):
        load_shortlist(file, vectors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ROWS + 1}, "the index has 3000 rows"),
        ({"rows": 0}, "is of 0 rows"),
        ({"width": 64}, "of width 64"),
        ({"dim": WIDTH + 1}, "cut to 33"),
        ({"dim": DIM + 1}, "is damaged: its FAISS index is not of kind int8"),
        ({"rows": ROWS - 1}, "is damaged: its FAISS index is not of kind int8"),
        ({"rows": "many"}, "is not a shortlist"),
        ({"format": 1}, "is not a shortlist of format 2"),
        ({"kind": "cube"}, "is not a shortlist"),
        ({"kind": "ivf"}, "is damaged: its FAISS index is not of kind ivf"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, vectors, shortlists, change, message):
    shortlists["int8"].save(tmp_path / "good")
    header = {"format": 2, "kind": "int8", "dim": DIM, "rows": ROWS, "width": WIDTH} | change
    save_file(load_file(tmp_path / "good"), tmp_path / "bad", {"shortlist": json.dumps(header)})
    with pytest.raises(ArtifactError, match=message):
        load_shortlist(tmp_path / "bad", vectors)


def test_a_file_of_other_tensors_is_no_shortlist(tmp_path, vectors):
    save_file({"weights": vectors}, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="is not a shortlist"):
        load_shortlist(tmp_path / "model.safetensors", vectors)


def test_memory_beside_the_vectors(vectors, shortlists):
    assert shortlists["flat"].nbytes() == ROWS * DIM * 4
    assert build_shortlist("flat", vectors, WIDTH).nbytes() == 0
    assert shortlists["int8"].nbytes() == ROWS * DIM
    assert shortlists["binary"].nbytes() == ROWS * DIM / 8
    graph, lists = (
        sum(array.nbytes for array in shortlists[kind]._engine.arrays().values()) for kind in ("hnsw", "ivf")
    )
    assert shortlists["hnsw"].nbytes() == pytest.approx(graph, rel=0.3)  # against FAISS's own bytes
    assert shortlists["ivf"].nbytes() == pytest.approx(lists, rel=0.5)  # lists are filled up to 32 rows
