"""The grid and sentence similarity against per-cell loops in float64; the validator against by-hand cases."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.data.types import Examples, RetrievalSet, TaskData
from brickwork.evaluation import online
from brickwork.evaluation.grid import GridResult, compare, evaluate_grid
from brickwork.evaluation.online import make_validator, small_size
from brickwork.evaluation.retrieval import score
from brickwork.evaluation.significance import paired_bootstrap
from brickwork.evaluation.similarity import similarity_grid, spearman

WIDTH = 16
AXES = ElasticAxes(dims=(2, 4, 8, WIDTH), layers=(1, 2))


class WordVectors(nn.Module):
    """A text is the sum of random vectors of its characters; each depth has other vectors."""

    def __init__(self, seed=0, axes=AXES):
        super().__init__()
        self.axes = axes
        self.tables = torch.randn(3, 256, axes.full_dim, generator=torch.Generator().manual_seed(seed))
        self.fingerprint = f"characters-{seed}"
        self.calls = []

    @property
    def encoder(self):
        return self

    def representation(self):
        return SimpleNamespace(encoder=self, axes=self.axes)

    def raw(self, texts, layers):
        rows = [self.tables[layers, list(text.encode())].sum(0) for text in texts]
        return torch.stack(rows).numpy()

    def prompted(self, texts, role=None):
        return texts

    def encode(self, inputs, dim=None, layers=None, role=None):
        self.calls.append((len(inputs), max(map(len, inputs))))
        vectors = torch.from_numpy(self.raw(inputs, layers or 2))[:, : dim or WIDTH]
        return nn.functional.normalize(vectors, dim=-1)


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    """Stands in for the one-pass encoding; counts the texts that pass."""
    passed = []

    def fake(encoder, texts, *, layers, **_):
        passed.extend(texts)
        return {depth: encoder.raw(texts, depth) for depth in layers}

    def at_one_size(encoder, inputs, dim, layers, *, precision):
        assert precision == "fp32", "numbers of a run are compared"
        return encoder.encode(inputs, dim, layers).numpy()

    monkeypatch.setattr("brickwork.representation.encode.encode_exits", fake)
    monkeypatch.setattr(online, "encode", at_one_size)
    return passed


@pytest.fixture
def retrieval():
    rng = np.random.default_rng(0)

    def text(n):
        return "".join(chr(97 + c) for c in rng.integers(0, 26, n))

    queries, documents = [text(3) for _ in range(20)], [text(5) for _ in range(50)]
    relevant = [{int(d): 1 for d in rng.choice(50, 3, replace=False)} for _ in queries]
    return RetrievalSet(name="toy", queries=queries, documents=documents, relevant=relevant, titles=None)


def cosines(left, right, dim):
    left, right = left[:, :dim].astype(np.float64), right[:, :dim].astype(np.float64)
    return (left / np.linalg.norm(left, axis=1, keepdims=True)) @ (
        right / np.linalg.norm(right, axis=1, keepdims=True)
    ).T


def test_every_cell_equals_its_own_search(retrieval, exits):
    model = WordVectors()
    results = evaluate_grid(model, retrieval, metrics=("ndcg@10", "recall@5"), measure=False)
    assert len(exits) == 70  # every text once, for all eight sizes
    assert {(c.dim, c.layers) for c in results.cells} == {(d, n) for d in AXES.dims for n in AXES.layers}
    for cell in results.cells:
        left, right = (model.raw(t, cell.layers) for t in (retrieval.queries, retrieval.documents))
        ranked = np.argsort(-cosines(left, right, cell.dim), axis=1, kind="stable")
        expected = score(ranked, retrieval.relevant, ("ndcg@10", "recall@5"))
        for metric in expected:
            np.testing.assert_allclose(cell.scores[metric], expected[metric], atol=1e-6)
            assert cell.mean(metric) == pytest.approx(expected[metric].mean(), abs=1e-6)


def test_words_are_told_what_share_of_full_size_each_size_keeps(retrieval):
    told = []

    class Words:
        milliseconds = 0.25

        def rank(self, queries, documents, top, kept):
            told.append((queries.shape[1], kept))
            return np.tile(np.arange(top), (len(queries), 1))

    results = evaluate_grid(WordVectors(), retrieval, measure=False, words=Words())
    full = results.cell(WIDTH, 2).mean("ndcg@10")
    wanted = [(c.dim, min(1.0, c.mean("ndcg@10") / full)) for c in results.cells]
    np.testing.assert_allclose(sorted(told), sorted(wanted))
    expected = score(np.tile(np.arange(10), (20, 1)), retrieval.relevant, ("ndcg@10",))["ndcg@10"]
    for cell in results.cells:
        np.testing.assert_allclose(cell.hybrid["ndcg@10"], expected, atol=1e-6)


def test_costs_and_json(retrieval):
    results = evaluate_grid(WordVectors(), retrieval, dims=[4, 16], layers=[1])
    small = results.cell(4, 1).cost
    assert (small.scan_flops, small.vector_bytes) == (2 * 50 * 4, 16)
    assert small.encode_milliseconds > 0
    assert small.scan_milliseconds > 0
    assert small.encode_flops is None  # this model has no tokenizer to count with
    assert GridResult.from_dict(json.loads(json.dumps(results.to_dict()))) == results
    with pytest.raises(KeyError, match="dim=8"):
        results.cell(8, 1)


def test_sizes_and_metrics_are_checked_before_any_encoding(retrieval, exits):
    for options, message in (
        ({"dims": [17]}, "dim=17"),
        ({"layers": [3]}, "layers=3"),
        ({"metrics": ("ndgc@10",)}, "ndcg"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_grid(WordVectors(), retrieval, **options)
    assert exits == []


def test_comparison_is_the_paired_bootstrap_of_each_cell(retrieval):
    before, after = (evaluate_grid(WordVectors(seed), retrieval, measure=False) for seed in (0, 1))
    results = compare(before, after)
    assert len(results) == 8
    for entry in results:
        left, right = (
            np.array(grid.cell(entry.dim, entry.layers).scores["ndcg@10"]) for grid in (before, after)
        )
        alone = paired_bootstrap(left, right)
        assert (entry.before, entry.after) == (pytest.approx(left.mean()), pytest.approx(right.mean()))
        assert entry.difference.low == pytest.approx(alone.low)
        assert entry.difference.high == pytest.approx(alone.high)
    other = GridResult.from_dict({**after.to_dict(), "name": "other"})
    with pytest.raises(ValueError, match="different sets"):
        compare(before, other)


def test_spearman_is_the_textbook_formula_and_zero_for_a_constant():
    # Without ties: 1 − 6 Σ d² / (n (n² − 1)).
    rng = np.random.default_rng(0)
    a, b = rng.permutation(20).astype(float), rng.permutation(20).astype(float)
    assert spearman(a, b) == pytest.approx(1 - 6 * ((a - b) ** 2).sum() / (20 * 399))
    assert spearman(np.ones(5), np.arange(5.0)) == 0
    assert spearman(np.array([1.0]), np.array([1.0])) == 0


def scored_examples(num=30):
    """Distinct pairs of distinct texts: equal cosines would leave the ranks to rounding."""
    rng = np.random.default_rng(1)
    texts = ["".join(chr(97 + c) for c in rng.integers(0, 26, 4)) for _ in range(20)]
    chosen = rng.choice(100, size=num, replace=False)
    return Examples(
        columns={
            "anchor": [texts[i // 10] for i in chosen],
            "positive": [texts[10 + i % 10] for i in chosen],
            "score": rng.random(num).tolist(),
        }
    )


def test_similarity_grid_equals_scipy_per_cell(exits):
    model, examples = WordVectors(), scored_examples()
    results = similarity_grid(model, examples)
    assert len(exits) == len(set(exits))  # every text once
    columns = examples.take(range(30))
    for (dim, layers), value in results.items():
        left, right = (model.raw(columns[name], layers) for name in ("anchor", "positive"))
        expected = stats.spearmanr(np.diag(cosines(left, right, dim)), columns["score"]).statistic
        assert value == pytest.approx(expected, abs=1e-3)  # float32 may swap two near-equal cosines
    assert len(results) == 8


def task(kind, **parts):
    empty = Examples(columns={name: [] for name in next(iter(parts.values())).columns})
    defaults = {"train": empty, "validation": empty, "test": empty}
    return TaskData(name="toy", kind=kind, modality="text", **{**defaults, **parts})


def pairs(num=40, **more):
    texts = [f"{chr(97 + i % 26)}{chr(97 + i // 26)}{i}" for i in range(num)]
    return Examples(columns={"anchor": texts, "positive": texts, "group": list(range(num)), **more})


def test_validator_on_pairs_that_are_equal_is_perfect_and_leaves_the_mode():
    model = WordVectors().train()
    model.frozen = nn.Dropout().eval()  # a part that is not trained stays in evaluation mode
    validate = make_validator(task("pairs", validation=pairs()), seed=0)
    results = validate(model)
    assert results == {"ndcg@10": pytest.approx(1), "ndcg@10/2x1": pytest.approx(results["ndcg@10/2x1"])}
    assert list(results) == ["ndcg@10", "ndcg@10/2x1"]
    assert model.training
    assert not model.frozen.training
    assert validate(model) == results


def test_validator_equals_trec_style_scores_on_unlike_pairs():
    rng = np.random.default_rng(3)
    anchors = ["".join(chr(97 + c) for c in rng.integers(0, 26, 4)) for _ in range(30)]
    examples = pairs(30, anchor=anchors)
    model = WordVectors()
    positives = examples.take(range(30))["positive"]
    ranked = np.argsort(-cosines(model.raw(anchors, 2), model.raw(positives, 2), WIDTH), axis=1)
    expected = score(ranked, [{i: 1} for i in range(30)], ("ndcg@10",))["ndcg@10"].mean()
    results = make_validator(task("pairs", validation=examples), seed=0)(model)
    assert results["ndcg@10"] == pytest.approx(expected, abs=1e-6)


def test_one_group_answers_as_one():
    # By hand: two groups; every document of the own group is relevant, and all texts of a group are alike.
    texts = ["aaaa", "aaaaa", "zzzz", "zzzzz"]
    examples = Examples(columns={"anchor": texts, "positive": texts, "group": [0, 0, 1, 1]})
    results = make_validator(task("pairs", validation=examples), seed=0)(WordVectors())
    assert results["ndcg@10"] == pytest.approx(1)


def test_validator_is_bounded(monkeypatch):
    model = WordVectors()
    long = [f"{i}" + "x" * 5000 for i in range(600)]
    examples = Examples(columns={"anchor": long, "positive": long, "group": list(range(600))})
    make_validator(task("pairs", validation=examples), seed=0)(model)
    texts = sum(call[0] for call in model.calls) / 2  # two sizes
    assert max(call[1] for call in model.calls) <= online.TEXT_CHARACTERS
    assert texts <= online.MAX_QUERIES + online.MAX_CHARACTERS / online.TEXT_CHARACTERS


def test_validator_on_triplets_scored_labelled_and_nothing():
    model = WordVectors()
    triplets = pairs(20, negative=[f"n{i}" for i in range(20)])
    assert make_validator(task("triplets", validation=triplets), seed=0)(model)["ndcg@10"] == pytest.approx(1)
    scored = scored_examples()
    results = make_validator(task("scored", validation=scored), seed=0)(model)
    columns = scored.take(range(30))
    left, right = (model.raw(columns[name], 2) for name in ("anchor", "positive"))
    expected = stats.spearmanr(np.diag(cosines(left, right, WIDTH)), columns["score"]).statistic
    assert results["spearman"] == pytest.approx(expected, abs=1e-3)
    labelled = Examples(columns={"input": ["aaaa", "aaab", "zzzz", "zzzy"] * 3, "label": [0, 0, 1, 1] * 3})
    results = make_validator(task("labelled", train=labelled, validation=labelled), seed=0)(model)
    assert results["accuracy"] == 1
    one = pairs(1)
    assert make_validator(task("pairs", validation=one), seed=0)(model) == {}


def test_small_size_is_a_trained_one():
    assert small_size(ElasticAxes(dims=(24, 48, 96, 192, 384), layers=(1, 2, 3, 4, 5, 6))) == (48, 3)
    assert small_size(ElasticAxes(dims=(64,), layers=(4,))) == (64, 4)


def test_a_system_without_sizes_gives_one_number():
    model = WordVectors(axes=ElasticAxes(dims=(WIDTH,), layers=(2,)))
    assert list(make_validator(task("pairs", validation=pairs()), seed=0)(model)) == ["ndcg@10"]
