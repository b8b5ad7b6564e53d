"""``mapped``: the steps train the full depth, then every exit gets a map; and texts are cut shorter while it trains."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose

import brickwork
from brickwork.api import train as api
from brickwork.core.config import from_dict, override
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.core.types import Finishes, HasBaseline
from brickwork.data.retrieval import retrieval_from_pairs
from brickwork.encoders.config import TextEncoderConfig
from brickwork.evaluation.measure import measure
from brickwork.representation.contract import build_system
from brickwork.representation.encode import encode_exits
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.systems.matryoshka_2d import mapped
from brickwork.systems.matryoshka_2d.config import Config

pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")
DIMS = (8, 16, 32)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """States in float32, so that they can be compared."""
    monkeypatch.setattr(mapped, "PRECISION", "fp32")
    monkeypatch.setattr(mapped, "STEPS", 40)


def build(data, encoder, **options):
    return build_system("matryoshka-2d", Config(encoder=encoder, variant="mapped", **options), data, seed=0)


def moved(system, amount=0.1):
    """Weights as if steps had led somewhere."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in system.encoder.named_parameters():
            if not name.startswith("exits."):
                value += amount * torch.randn(value.shape, generator=generator)
    return system


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_before_it_is_finished_every_exit_is_bare_and_steps_train_the_full_depth(pairs, tiny_text):
    system = build(pairs, tiny_text)
    texts = pairs.train.columns["anchor"][:6]
    mapped_vectors = encode_exits(system.encoder, texts, [0, 2, 4], precision="fp32")
    batch = {**system.collate(pairs.train.take(range(8))), "step": 3}
    loss = system.loss(batch)
    assert set(loss.terms) == {"layer_4_dim_32"}
    loss.total.backward()
    assert all(p.grad is None for p in system.encoder.exits.parameters())
    system.encoder.exits = None
    bare = encode_exits(system.encoder, texts, [0, 2, 4], precision="fp32")
    for layers, vectors in bare.items():
        assert_allclose(mapped_vectors[layers], vectors, atol=1e-6)
    with torch.no_grad():
        anchor, positive = (
            F.normalize(system.encoder(batch[name], [4])[4]) for name in ("anchor", "positive")
        )
    results = float(
        F.cross_entropy(anchor @ positive.T / 0.05, torch.arange(8))
    )  # InfoNCE by torch's own function
    assert float(loss.total.detach()) == pytest.approx(results, abs=1e-4)


def test_weights_end_half_way_and_full_vectors_are_theirs_turned(pairs, tiny_text, monkeypatch):
    """Without steps for the maps: dot products of full vectors are those of an encoder with the mean of both weights."""
    monkeypatch.setattr(mapped, "STEPS", 0)
    start, end = build(pairs, tiny_text), moved(build(pairs, tiny_text))
    assert isinstance(end, Finishes)
    half = {
        name: (a + b) / 2
        for (name, a), (_, b) in zip(start.encoder.state_dict().items(), end.encoder.state_dict().items())
    }
    told = [line.partition(": ")[2] for line in end.finish(pairs.train)]
    assert told == [
        "reading 64 texts (anchor, 1 of 2) …",
        "reading 64 texts (positive, 2 of 2) …",
        "solving and training 5 …",
    ]
    start.encoder.load_state_dict(half)
    start.encoder.exits = None
    texts = pairs.train.columns["positive"][:20]
    theirs = encode_exits(start.encoder.eval(), texts, [4], precision="fp32")[4]
    ours = end.encode(texts, normalize=False, precision="fp32")
    assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4 * np.abs(theirs @ theirs.T).max())
    for layers in (0, 1, 3):  # ridge: near the full vectors
        exits = end.encode(texts, layers=layers, precision="fp32")
        assert (exits * unit(ours)).sum(1).mean() > 0.9, layers


def test_maps_are_trained_on_every_prefix(pairs, tiny_text, monkeypatch):
    """They rank the pairs that they learnt from better than the solved ones do, at each size of each exit."""

    def ranks(system, dim, layers):
        a, p = (
            system.encode(pairs.train.columns[c], dim=dim, layers=layers, precision="fp32")
            for c in ("anchor", "positive")
        )
        return -np.log(np.exp(a @ p.T / 0.05)[range(64), range(64)] / np.exp(a @ p.T / 0.05).sum(1)).mean()

    trained = build(pairs, tiny_text, dims=DIMS)
    list(trained.finish(pairs.train))
    monkeypatch.setattr(mapped, "STEPS", 0)
    solved = build(pairs, tiny_text, dims=DIMS)
    list(solved.finish(pairs.train))
    for dim in DIMS:
        for layers in (0, 2, 4):
            assert ranks(trained, dim, layers) < ranks(solved, dim, layers) - 0.05, (dim, layers)


def test_fewer_texts_than_dimensions_are_told(pairs, tiny_text, monkeypatch):
    monkeypatch.setattr(mapped, "STEPS", 0)
    system = build(pairs, tiny_text, dims=DIMS)
    with pytest.warns(BrickworkWarning, match="30 texts are few for vectors of 32 dimensions"):
        list(system.finish(pairs.train.select(range(15))))


@pytest.mark.parametrize("kind", ["triplets", "scored"])
def test_other_data_has_its_own_loss(kind, request, tiny_text, monkeypatch):
    monkeypatch.setattr(mapped, "STEPS", 3)
    data = request.getfixturevalue(kind)
    system = build(data, tiny_text, layers=(2, 4), max_texts=60)
    list(system.finish(data.train))
    assert system.representation().axes.layers == (2, 4)
    assert np.isfinite(system.encode(["one text"], layers=2)).all()


def test_a_run_from_end_to_end_and_again_from_its_last_step(tmp_path, monkeypatch):
    """The run is stopped while maps are learnt: what the steps left is there, and the same model comes out."""
    monkeypatch.setattr(mapped, "STEPS", 5)
    run = override(api.recipe("matryoshka-2d", "smoke_mapped"), ["train.steps=2", "data.limit=100"])
    whole = api.train(run, tmp_path / "whole", measure=False)
    model = brickwork.load(tmp_path / "whole")
    assert model.axes.layers == (0, 1, 2, 3)
    system, data = api.build(run)

    def stopped(examples):
        yield "a line"
        raise KeyboardInterrupt

    system.finish = stopped
    with pytest.raises(KeyboardInterrupt):
        api.train(run, tmp_path / "stopped", prepared=(system, data))
    resumed = api.train(run, tmp_path / "stopped", resume=True, measure=False)
    assert resumed.representation.fingerprint == whole.representation.fingerprint == model.fingerprint
    further = replace(run, start=str(tmp_path / "whole"))
    assert api.train(further, tmp_path / "further", measure=False).representation.axes == model.axes


def test_options_without_effect_and_too_little_data_are_refused(pairs, tiny_text):
    for options in (
        {"kl_weight": 0.5},
        {"student_weight": 2.0},
        {"detach_teacher": False},
        {"compression_dim": 8},
    ):
        with pytest.raises(
            ConfigError, match="has no effect with variant 'mapped', whose steps train the full"
        ):
            from_dict(Config, {"variant": "mapped", **options})
    with pytest.raises(ConfigError, match="adapt=frozen leaves the steps of 'mapped' nothing to train"):
        from_dict(Config, {"variant": "mapped", "encoder": {"adapt": "frozen"}})
    few = replace(pairs, train=pairs.train.select(range(9)))
    with pytest.raises(DataError, match="9 examples are too few to learn maps from"):
        build(few, tiny_text)


def test_texts_are_cut_shorter_while_it_trains(pairs, tiny_text):
    system = build(pairs, replace(tiny_text, train_tokens=5))
    columns = pairs.train.take(range(6))
    batch = system.collate(columns)
    tokenizer = type(system.encoder.tokenizer).from_str(system.encoder.tokenizer.to_str())
    tokenizer.enable_truncation(5)
    wanted = [e.ids for e in tokenizer.encode_batch(columns["positive"])]
    assert batch["positive"].lengths.tolist() == [len(row) for row in wanted]
    assert batch["positive"].ids.tolist() == [token for row in wanted for token in row]
    assert batch["positive"].max_length == 5
    assert system.encoder.truncated == 0  # cut for a step is not cut from what is found
    assert system.encoder.tokenize(columns["positive"]).max_length > 5
    never_more = build(pairs, replace(tiny_text, max_tokens=5, train_tokens=64)).collate(columns)
    assert torch.equal(never_more["positive"].ids, batch["positive"].ids)
    with pytest.raises(ConfigError, match="train_tokens is 2; it must be at least 3"):
        from_dict(Config, {"encoder": {"train_tokens": 2}})


def test_evaluate_measures_the_closed_form_beside_it(pairs, tiny_text, tmp_path, monkeypatch):
    """Of a run on a pretrained model: the same sizes, the same examples; it is what the recipe would have made."""
    plain = build_system("matryoshka-2d", Config(encoder=tiny_text), pairs, seed=0)
    folder = tmp_path / "pretrained"
    export_sentence_transformers(plain.eval().representation(), folder)
    monkeypatch.setattr("brickwork.systems.matryoshka_2d.closed_form.PRECISION", "fp32")
    encoder = TextEncoderConfig(backbone=str(folder), max_tokens=32)
    config = Config(encoder=encoder, variant="mapped", dims=(8, 32), layers=(2, 4))
    system = build_system("matryoshka-2d", config, pairs, seed=0)
    kind = type(system)
    assert isinstance(kind, HasBaseline)
    name, ours = kind.baseline(config, system.axes, pairs.train, 0)
    assert (name, ours.axes.dims, ours.axes.layers) == ("the closed form", (8, 32), (2, 4))
    solved = replace(config, variant="closed_form")
    theirs = build_system("matryoshka-2d", solved, pairs, seed=0)
    list(theirs.fit(pairs.train, start=0))
    texts = pairs.train.columns["anchor"][:5]
    for layers in (2, 4):
        assert_allclose(
            ours.encode(texts, layers=layers), theirs.eval().encode(texts, layers=layers), atol=1e-6
        )
    assert kind.baseline(solved, system.axes, pairs.train, 0) is None  # it is that itself
    fresh = build(pairs, tiny_text)
    assert kind.baseline(fresh.config, fresh.axes, pairs.train, 0) is None  # fresh weights
    task = replace(pairs, retrieval={"t": retrieval_from_pairs("t", pairs.train)})
    results = measure(system.representation(), task, simple=(name, ours), time_queries=False).summary()
    (part,) = results["retrieval"]
    assert part["simple"]["name"] == "the closed form"
    assert {(c["dim"], c["layers"]) for c in part["simple"]["cells"]} == {
        (d, n) for d in (8, 32) for n in (2, 4)
    }
