"""The claims of matryoshka on known numbers: each gives each of its verdicts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from known_lab import DISTURBANCES, verdict

from brickwork.index.search import FlatVectors
from brickwork.studies.bench import Bench, Trained, built
from brickwork.studies.matryoshka import claims, setups


@pytest.fixture
def judged(monkeypatch):
    def judge(id, *, scale="small", **measures):
        for name, measure in measures.items():
            monkeypatch.setattr(claims, name, measure)
        return verdict("matryoshka", id, scale=scale)

    return judge


def by_arm(number, wobble=0.0, keys=None):
    """A measure that says ``number(arm, key)`` for every dimension, MRL's moved with the seed."""

    def measure(trained, *args):
        arm = trained.system.arm
        moved = wobble * DISTURBANCES[trained.seed] * (arm == "MRL")
        dims = keys or trained.system.run.model.dims
        own = [int(arm.removeprefix("FF-"))] if arm.startswith("FF-") and not args else dims
        return {m: number(arm, m, *args) + moved for m in own}

    return measure


@pytest.mark.parametrize(
    ("ours", "cut", "wobble", "scale", "result"),
    [
        (-0.5, 8.0, 0.1, "small", "supported"),
        (-0.5, 8.0, 1.0, "small", "undecided"),
        (0.5, 5.1, 0.1, "small", "undecided"),  # truncation is near
        (-2.0, 8.0, 0.1, "small", "refuted"),
        (0.5, 3.0, 0.1, "small", "refuted"),
        (0.5, 3.0, 0.1, "smoke", "not at this scale"),
    ],
)
def test_c1_prefixes(judged, ours, cut, wobble, scale, result):
    """MRL is ``ours`` above FF of any width, and ``cut`` above truncation at the smallest m; all else of SVD and FF-D."""

    def heads(arm, m):
        return 50 + m / 10 + ours * (arm == "MRL")

    def neighbours(arm, m, control="", *more):
        return 40.0 - cut * (control == "truncation") + 30 * (control == "SVD")

    outcome = judged("C1", scale=scale, linear=by_arm(heads, wobble), nearest=by_arm(neighbours, wobble))
    assert outcome.verdict == result
    assert outcome.effects[0] == pytest.approx(ours)
    assert "SVD of the ordinary model is -30.0 points" in outcome.note


@pytest.mark.parametrize(
    ("ratio", "loss", "wobble", "scale", "result"),
    [
        (3.0, 0.2, 0.1, "small", "supported"),
        (2.2, 0.2, 0.2, "small", "undecided"),
        (1.0, 0.2, 0.1, "small", "refuted"),
        (3.0, 1.5, 0.1, "small", "refuted"),
        (1.0, 0.2, 0.1, "smoke", "not at this scale"),
    ],
)
def test_c2_cascade(judged, ratio, loss, wobble, scale, result):
    def measure(models):
        moved = wobble * DISTURBANCES[models["MRL"].seed]
        return {
            "ratio": ratio + moved,
            "cascade accuracy": 50.0 - loss + moved,
            "best full-size accuracy": 50.0,
        }

    assert judged("C2", cascaded=measure, scale=scale).verdict == result


@pytest.mark.parametrize(
    ("graph", "flops", "quality", "wobble", "result"),
    [
        (0.1, 0.1, 90.0, 0.001, "supported"),
        (0.15, 0.1, 90.0, 0.02, "undecided"),
        (0.3, 0.1, 90.0, 0.001, "refuted"),  # as slow as at full size, whatever scans say
        (0.1, 0.5, 90.0, 0.001, "refuted"),
        (0.1, 0.1, 89.0, 0.001, "refuted"),
    ],
)
def test_c3_graph_against_graph(judged, graph, flops, quality, wobble, result):
    def searches(trained):
        moved = wobble * DISTURBANCES[trained.seed]
        return {
            ("scan", "milliseconds"): 8.0,
            ("scan, shortlist + rerank", "milliseconds"): 1.0,
            ("scan", "MFLOPs"): 15.0,
            ("scan, shortlist + rerank", "MFLOPs"): 1.0,
            ("HNSW", "milliseconds"): 0.3,
            ("HNSW, shortlist + rerank", "milliseconds"): graph + moved,
            ("HNSW", "MFLOPs"): 1.0,
            ("HNSW, shortlist + rerank", "MFLOPs"): flops,
            ("HNSW", "mAP@10"): 90.1,
            ("HNSW, shortlist + rerank", "mAP@10"): quality,
        }

    outcome = judged("C3", searches=searches)
    assert outcome.verdict == result
    assert outcome.note.startswith("Exact scans in place of the graphs: 8.0 times faster with 15.0 times")


@pytest.mark.parametrize(
    ("gain", "wobble", "result"), [(1.0, 0.1, "supported"), (0.2, 1.0, "undecided"), (-1.0, 0.1, "refuted")]
)
def test_c4_tail(judged, gain, wobble, result):
    """The head does not count."""

    def few_shots(trained, source):
        arm = trained.system.arm
        ours = arm == "MRL"
        dims = trained.system.run.model.dims if ours else [int(arm.removeprefix("FF-"))]
        tail = 20 + (gain + wobble * DISTURBANCES[trained.seed]) * ours
        return {(m, part): tail if part == "tail" else 90.0 * ours for m in dims for part in ("head", "tail")}

    assert judged("C4", few_shots=few_shots).verdict == result


@pytest.mark.parametrize(
    ("gap", "wobble", "result"),
    [(1.0, 0.1, "supported"), (-1.0, 1.0, "undecided"), (2.0, 0.1, "refuted"), (-2.0, 0.1, "refuted")],
)
def test_c5_corruptions(judged, gap, wobble, result):
    def corrupted(trained):
        ours = trained.system.arm == "MRL"
        moved = (gap + wobble * DISTURBANCES[trained.seed]) * ours
        return {"none": 50.0 + 9 * ours, "noise": 40.0 + moved, "blur": 30.0 + moved}

    assert judged("C5", corrupted=corrupted).verdict == result


@pytest.mark.parametrize(
    ("ours", "cut", "wobble", "result"),
    [
        (52.0, 40.0, 0.1, "supported"),
        (51.5, 40.0, 1.0, "undecided"),
        (50.0, 35.0, 0.1, "refuted"),  # below the model trained for 32 alone
        (52.0, 45.0, 0.1, "refuted"),
    ],
)
def test_c6_text(judged, ours, cut, wobble, result):
    """A model trained for 32 alone has 52 points, the ordinary one 75 at full size: 90 % cannot be had."""

    def recalls(trained, part="test", dims=None):
        arm = trained.system.arm
        if arm == "FF-32":
            return {32: 52.0}
        moved = wobble * DISTURBANCES[trained.seed] * (arm == "MRL")
        values = {m: (ours if arm == "MRL" else cut) if m == 32 else 75.0 for m in (8, 16, 32, 64, 128, 256)}
        return {m: value + moved for m, value in values.items()}

    outcome = judged("C6", recalls=recalls)
    assert outcome.verdict == result
    assert f"MRL keeps {ours / 75:.1%}" in outcome.note
    assert f"alone has {52 / 75:.1%}" in outcome.note


# ---- what the arms are and what is measured ------------------------------------------------------------------------


@pytest.mark.parametrize("run", [setups.digits(), setups.text("smoke")], ids=["labels", "pairs"])
def test_a_fixed_feature_model_learns_from_its_first_m_features_alone(run):
    """The backbone keeps its width, and nothing but the first m features has a gradient."""
    data = Bench().data(run)
    *dims, full = run.model.dims
    for name, arm in setups.fixed_features(run).items():
        m = int(name.removeprefix("FF-"))
        system = built(replace(run, model=replace(run.model, **arm)), data)
        batch = {**system.collate(data.train.take(range(16))), "step": 0}
        leaves = {side: z.detach().requires_grad_() for side, z in system.embed(batch).items()}
        system.loss_from(leaves, batch).total.backward()
        assert tuple(system.trained) == (m,)
        for leaf in leaves.values():
            assert leaf.shape[1] == full
            assert leaf.grad[:, :m].abs().sum(0).min() > 0
            assert not leaf.grad[:, m:].any()
    assert [f"FF-{m}" for m in (*dims, full)] == list(setups.fixed_features(run))


def test_characters_are_more_classes_than_dimensions():
    run = setups.characters()
    assert max(run.model.dims) == run.model.encoder.embedding_dim
    assert run.data.source == "omniglot_small"


def test_a_graph_finds_what_a_scan_finds_and_counts_what_it_compares():
    vectors = np.random.default_rng(0).standard_normal((500, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    database, queries = FlatVectors(vectors), vectors[:20]
    for stages in ([(32, 10)], [(16, 200), (32, 10)]):
        graph = setups.GraphSearch(database, stages)
        scores, rows = graph(queries)
        assert (rows == database.search(queries, stages=stages)[1]).mean() > 0.95
        rerank = sum(2 * size * stages[0][1] for size, _ in stages[1:])
        dim = stages[0][0]
        compared = (graph.flops - rerank) / (2 * dim)
        assert 200 < compared < 2000  # efSearch 256 of 500 vectors; a vector may be met on several levels
        one = graph(queries[:1])
        assert np.allclose(one[0], scores[:1], atol=1e-5)


def test_a_cascade_that_stops_at_once_is_compared_with_the_smallest_model_as_good(monkeypatch):
    """Prefixes of 2 and 4 dimensions are always right and sure; FF-2 is right in half of the cases, FF-4 always."""
    labels = np.tile([0, 1], 300)
    sure = torch.nn.functional.one_hot(torch.from_numpy(labels), 2).numpy() * 20.0
    wrong = np.where((np.arange(600) % 4 < 2)[:, None], sure, sure[:, ::-1])
    system = SimpleNamespace(trained=(2, 4))
    part = SimpleNamespace(columns={"input": np.zeros(600), "label": labels})
    models = {
        name: Trained(SimpleNamespace(name=name, **vars(system)), SimpleNamespace(test=part), 0, 1, 1.0)
        for name in ("MRL", "FF-2", "FF-4")
    }
    monkeypatch.setattr(
        setups,
        "_test_logits",
        lambda trained, dims: dict.fromkeys(dims, wrong if trained.system.name == "FF-2" else sure),
    )
    scores = setups.cascaded(models)
    assert scores["cascade accuracy"] == 100
    assert scores["FF dim of equal accuracy"] == 4
    assert scores["expected dim"] == 2
    assert scores["ratio"] == 2
