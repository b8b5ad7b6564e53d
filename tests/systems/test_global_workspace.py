"""What is special to the global workspace: its modules by hand, its parameters as the sheet counts them, routes, phases."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from battery_global_workspace import tiny_alignment, tiny_digits
from torch import nn

from brickwork.api import train as api
from brickwork.core.errors import ConfigError, DataError
from brickwork.representation.contract import build_system, restore_system
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.global_workspace.baselines import BaselineConfig
from brickwork.studies.global_workspace.setups import SCORES, scored
from brickwork.systems.global_workspace.align import r_squared
from brickwork.systems.global_workspace.config import (
    AlignConfig,
    ChainConfig,
    ReaderConfig,
)
from brickwork.systems.global_workspace.data import Addition
from brickwork.systems.global_workspace.modules import DigitReader, shift, turn
from brickwork.systems.global_workspace.sums import is_exact
from brickwork.training.config import Stage
from brickwork.training.loop import fit


def built(run, **task):
    run = api.recipe("global-workspace", run) if isinstance(run, str) else run
    run = replace(run, model=replace(run.model, task=replace(run.model.task, **task)))
    return api.build(run)


def count(system):
    return sum(p.numel() for p in system.parameters())


# ---- modules and routes -------------------------------------------------------------------------------------------


def test_increments_by_hand():
    """As matrices: the shift keeps what is in the last slot, the turn brings it to the first."""
    w = torch.rand(3, 5)
    saturating = np.eye(5, k=1)
    saturating[4, 4] = 1
    np.testing.assert_allclose(shift(w, {}), w.numpy() @ saturating, rtol=1e-6)
    np.testing.assert_allclose(turn(w, {}), w.numpy() @ np.roll(np.eye(5), 1, axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("route", "b", "exact"),
    [
        ("ICCO", 2, True),
        ("IIOCOCOO", 2, True),  # loading again and holding are idle
        ("OOIO", 0, True),
        ("CICCO", 2, False),  # increments before loading
        ("ICCOC", 2, False),  # does not end with output
        ("ICO", 2, False),
        ("OOOO", 0, False),  # never loaded
        ("ICICO", 2, False),
    ],
)
def test_exact_routes(route, b, exact):
    assert is_exact(np.array(["ICO".index(letter) for letter in route]), b) is exact


# ---- sizes, as the spec sheet counted them --------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "parameters"), [("onehot", 5731), ("serial", 4579)])
def test_size_of_the_chain(code, parameters):
    assert count(built("addition", code=code)[0]) == parameters


@pytest.mark.parametrize(
    ("task", "parameters"),
    [
        (BaselineConfig(network="lstm", width=64), 23_251),
        (BaselineConfig(network="transformer", width=32, num_layers=2, num_heads=4), 18_387),
    ],
)
def test_size_of_the_baselines(task, parameters):
    _, data = built("addition")
    assert count(task.build(data)) == parameters


def test_every_seed_of_a_split_has_the_same_scores():
    """Random splits too, of which some have a sum that no training pair has: a study compares the seeds."""
    names, new_sums = [], []
    for seed in range(3):
        run = api.recipe("global-workspace", "addition")
        run = replace(run, seed=seed, data=replace(run.data, addition=Addition(held_out="interp")))
        system, data = api.build(run)
        names.append(list(scored(Trained(system.eval(), data, seed, examples=0, seconds=0.0))))
        new_sums.append(bool((data.test.columns["new_sum"] * data.test.columns["held_out"]).any()))
    assert set(new_sums) == {True, False}
    assert names == [list(SCORES)] * 3


# ---- learning -----------------------------------------------------------------------------------------------------


def test_controller_learns_to_count_and_answers_unseen_pairs():
    """The claim at its smallest: 200 steps, no pairs of two large digits in training."""
    system, data = built("addition")
    train = replace(api.recipe("global-workspace", "addition").train, steps=200, save_every=0)
    Bench().fit(system, data.train, train, seed=0)
    scores = system.eval().evaluate(data.test)
    assert scores["accuracy: unseen pairs"] >= 0.95
    answers = system.predict({"a": ["9", 7], "b": [8.0, "9"]})
    assert answers["sum"].tolist() == [17, 16]
    assert all(len(route.split()) == 12 for route in answers["route"])


STAGES = api.recipe("global-workspace", "digits").stages
JOINT = (STAGES[0], Stage(name="joint", trains=("chain.*", "readout.*")))


@pytest.mark.parametrize(
    ("stages", "learning"),
    [
        (STAGES, [{"reader"}, {"chain.controller"}, {"chain.trained", "readout"}]),
        (JOINT, [{"reader"}, {"chain.controller", "chain.trained", "readout"}]),
    ],
    ids=["phases", "joint"],
)
def test_stages_train_their_own_parts(tmp_path, stages, learning):
    """A step of each stage moves its own parts and nothing else; the readout starts from the classes of the reader."""
    system, data = built(tiny_digits())
    seen = [{n: p.detach().clone() for n, p in system.named_parameters()}]
    system.after_step = lambda step: seen.append(
        {n: p.detach().clone() for n, p in system.named_parameters()}
    )
    short = tuple(replace(stage, steps=1) for stage in stages)
    train = replace(tiny_digits().train, steps=len(short))
    fit(system, data.train, train, tmp_path, seed=0, stages=short)
    for number, (before, after) in enumerate(pairwise(seen)):
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        if number == 1:  # start_stage
            assert {"readout.weight", "readout.bias"} <= moved
            moved -= {"readout.weight", "readout.bias"} if "readout" not in learning[1] else set()
        parts = {".".join(n.split(".")[: 2 if n.startswith("chain") else 1]) for n in moved}
        assert parts == learning[number]
    if len(stages) == 3:
        torch.testing.assert_close(seen[2]["readout.weight"], seen[1]["reader.head.weight"], rtol=0, atol=0)


def test_without_stages_everything_learns_at_once():
    system, data = built(tiny_digits())
    loss = system.loss({**system.collate(data.train.take(range(16))), "step": 0})
    assert set(loss.terms) == {"answer", "reader"}
    loss.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in system.parameters())


def test_hard_gates_anneal_while_the_controller_learns():
    system, _ = built(tiny_digits(), routing="hard")
    system.train()

    def temperature(stage, step):
        return system._temperature({"stage": stage, "stage_step": step, "step": 900})

    assert [temperature("controller", n) for n in (0, 200, 400, 800)] == pytest.approx([1.0, 0.65, 0.3, 0.3])
    assert temperature("joint", 0) == 1.0
    assert temperature("modules", 0) == pytest.approx(0.3)
    assert system.eval()._temperature({"step": 0}) == pytest.approx(0.3)


def test_alignment_translates_between_domains():
    """Two linear views of three dimensions, 60 of 300 rows paired: R² far above that of the mean."""
    from brickwork.data.types import Examples, TaskData

    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(400, 3)).astype(np.float32)
    views = {"left": hidden @ rng.normal(size=(3, 5)), "right": 10 + 7 * hidden @ rng.normal(size=(3, 4))}
    views = {name: values.astype(np.float32) for name, values in views.items()}
    train = {name: values[:300].copy() for name, values in views.items()}
    train["left"][60:180] = np.nan
    train["right"][180:] = np.nan
    rest = Examples({name: values[300:] for name, values in views.items()})
    data = TaskData(
        name="views", kind="domains", modality="numbers", train=Examples(train), validation=rest, test=rest
    )
    run = api.recipe("global-workspace", "small")
    model = replace(run.model, task=replace(run.model.task, workspace_dim=8, hidden=32, num_hidden=1))
    system = build_system("global-workspace", model, data, 0)
    optimiser = torch.optim.Adam(system.parameters(), 5e-3)
    batch = system.collate(train)
    for step in range(150):
        optimiser.zero_grad()
        system.loss({**batch, "step": step}).total.backward()
        optimiser.step()
    assert system.eval().evaluate(rest)["R²: mean"] > 0.8
    translated = system.predict({"left": views["left"][300:]})
    assert list(translated) == ["right"]
    assert r_squared(torch.from_numpy(translated["right"]), torch.from_numpy(views["right"][300:])) > 0.8
    lone = system.predict({"left": [[1.0] * 5, None], "right": [None, [1.0] * 4]})
    assert np.isnan(lone["left"]).all(1).tolist() == [True, False]
    assert system.workspace({"left": views["left"][:2]}).shape == (2, 8)


def test_r_squared_is_sklearns():
    from sklearn.metrics import r2_score

    torch.manual_seed(0)
    predicted, truth = torch.randn(2, 20, 1, dtype=torch.float64)
    assert r_squared(predicted, truth) == pytest.approx(r2_score(truth, predicted), rel=1e-9)


def test_readers_see_the_image():
    """The convolutional body is that of torch's functions on (B, C, H, W); ``mlp`` takes flat pixels."""
    import torch.nn.functional as F

    torch.manual_seed(0)
    reader = DigitReader((9, 6, 2), network="conv", hidden=3, width=4)
    images = torch.rand(5, 9, 6, 2)
    first, second, last = (m for m in reader.body if isinstance(m, nn.Conv2d | nn.Linear))
    x = F.relu(F.conv2d(images.permute(0, 3, 1, 2), first.weight, first.bias, stride=2, padding=2))
    x = F.relu(F.conv2d(x, second.weight, second.bias, stride=2, padding=1))
    expected = torch.tanh(x.flatten(1) @ last.weight.T + last.bias)
    torch.testing.assert_close(reader.body(images.flatten(1)), expected)
    flat = DigitReader((8, 8, 1), network="mlp", hidden=7, width=4)
    assert [m.in_features for m in flat.body if isinstance(m, nn.Linear)] == [64, 7, 7]


def test_a_convolutional_reader_is_kept_and_answers():
    run = tiny_digits()
    reader = replace(run.model.task.reader, network="conv")
    system, data = built(tiny_digits(), reader=reader)
    again = restore_system("global-workspace", json.loads(json.dumps(system.architecture())), None)
    again.load_state_dict(system.state_dict())
    rows = {name: data.test.columns[name][:20] for name in ("first", "second")}
    assert again.predict(rows)["sum"].tolist() == system.predict(rows)["sum"].tolist()
    system.loss({**system.collate(data.train.take(range(8))), "step": 0, "stage": "reader"}).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in system.reader.parameters())


def test_attention_shares_are_used_to_predict():
    """Two domains predict a third: with attention the shares of a row are those of the module, not equal ones."""
    system, data = built(tiny_alignment(), fusion_weights="attention")
    system.loss({**system.collate(data.train.columns), "step": 0}).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in system.attention.parameters())
    columns = {name: data.test.columns[name][:4] for name in ("upper", "lower")}
    x, there = system._latents(system.collate(columns))
    with torch.no_grad():
        z = system.space.encode(x)
        shares = system.attention(z, there)
        w = system.space.fusion(sum(shares[name][:, None] * z[name] for name in z))
        label = system.scalings[2].back(system.space.decode(w, ["label"])["label"])
    np.testing.assert_allclose(system.predict(columns)["label"], label.numpy(), rtol=1e-5, atol=1e-6)
    assert (shares["upper"] - 0.5).abs().min() > 1e-4


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 12], "b": [1, 2]}, "column 'a', row 1 is 12"),
        ({"a": [1, 2], "b": [1, "x"]}, "column 'b', row 1 is 'x'"),
        ({"a": [1, 2], "b": [1, 2.5]}, "column 'b', row 1 is 2.5"),
        ({"a": [1, 2]}, "column 'b' is missing"),
    ],
)
def test_bad_digits_are_named(columns, message):
    system, _ = built("addition")
    with pytest.raises(DataError, match=message):
        system.predict(columns)


def test_bad_domains_are_named():
    system, _ = built(tiny_alignment())
    with pytest.raises(DataError, match="was made for 32"):
        system.predict({"upper": np.zeros((2, 5))})
    with pytest.raises(DataError, match="it knows upper, lower, label"):
        system.predict({"other": [1.0]})


def test_data_of_the_other_kind_names_the_recipe():
    chain, align = api.recipe("global-workspace", "addition"), api.recipe("global-workspace", "small")
    with pytest.raises(DataError, match="--recipe small"):
        api.build(replace(chain, data=align.data))
    with pytest.raises(DataError, match="addition or digits"):
        api.build(replace(align, data=chain.data))
    with pytest.raises(ConfigError, match=r"need task.reader"):
        api.build(replace(chain, data=replace(chain.data, addition=Addition(digits="digits", modulo=10))))
    digits = api.recipe("global-workspace", "digits")
    with pytest.raises(ConfigError, match=r"data\.addition\.modulo=10"):
        api.build(replace(digits, data=replace(digits.data, addition=Addition(digits="digits"))))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ChainConfig(increment_hidden=5), "need a reader"),
        (ChainConfig(reader=ReaderConfig()), "set increment_hidden"),
        (ChainConfig(routing="sigmoid", entropy_weight=0.1), "leave it at 0"),
        (BaselineConfig(num_heads=2), "not for lstm"),
        (AlignConfig(fusion_weights="attention", broadcast=0.0), "give that a weight"),
        (BaselineConfig(network="transformer", width=9, num_heads=2), "not divisible"),
    ],
)
def test_options_without_effect_are_refused(config, message):
    assert any(message in problem for problem in config.validate())
