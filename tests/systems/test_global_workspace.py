"""What is special to the global workspace: its modules by hand, its parameters as the sheet counts them, routes, phases."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from brickwork.api import train as api
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import seed_everything
from brickwork.studies.bench import Bench
from brickwork.systems.global_workspace.align import r_squared
from brickwork.systems.global_workspace.baselines import EncoderLayer
from brickwork.systems.global_workspace.chain import is_exact, shift, turn
from brickwork.systems.global_workspace.config import (
    AlignConfig,
    BaselineConfig,
    ChainConfig,
    GlobalWorkspaceConfig,
)
from brickwork.systems.global_workspace.sums import DigitReader
from brickwork.systems.global_workspace.system import restore


def built(recipe, **task):
    run = api.recipe("global-workspace", recipe)
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
    run = api.recipe("global-workspace", "addition")
    assert count(api.build(replace(run, model=GlobalWorkspaceConfig(task=task)))[0]) == parameters


def test_encoder_layer_is_torchs():
    torch.manual_seed(0)
    ours, theirs = EncoderLayer(8, 2), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    pairs = {
        "project": (theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias),
        "join": (theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias),
        "widen": (theirs.linear1.weight, theirs.linear1.bias),
        "narrow": (theirs.linear2.weight, theirs.linear2.bias),
    }
    with torch.no_grad():
        for name, (weight, bias) in pairs.items():
            getattr(ours, name).weight.copy_(weight)
            getattr(ours, name).bias.copy_(bias)
    x = torch.randn(4, 3, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


# ---- learning -----------------------------------------------------------------------------------------------------


def test_controller_learns_to_count_and_answers_unseen_pairs():
    """The claim at its smallest: 200 steps, pairs of two large digits never shown."""
    system, data = built("addition")
    train = replace(api.recipe("global-workspace", "addition").train, steps=200, save_every=0)
    Bench().fit(system, data.train, train, seed=0)
    scores = system.eval().evaluate(data.test)
    assert scores["accuracy: unseen pairs"] >= 0.95
    answers = system.predict({"a": ["9", 7], "b": [8.0, "9"]})
    assert answers["sum"].tolist() == [17, 16]
    assert all(len(route.split()) == 12 for route in answers["route"])


def test_phases_train_what_they_say():
    """Steps 0, 1, 2 of the smoke recipe: the encoder, the controller, the learned modules; nothing else moves."""
    system, data = built("smoke_digits")
    expected = ["reader", "chain.controller", "chain.trained", "readout"]
    moved = []
    for step in range(3):
        system.zero_grad()
        system.loss({**system.collate(data.train.take(range(16))), "step": step}).total.backward()
        moved.append(
            {n for n, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        )
        if step == 0:
            system.after_step(0)
            torch.testing.assert_close(system.readout.weight, system.reader.head.weight)
    assert {n.startswith("reader") for n in moved[0]} == {True}
    assert {n.startswith("chain.controller") for n in moved[1]} == {True}
    assert {n.startswith(("chain.trained", "readout")) for n in moved[2]} == {True}
    assert all(any(n.startswith(e) for names in moved for n in names) for e in expected)


def test_joint_training_reaches_controller_and_modules_together():
    system, data = built("smoke_digits", controller_steps=0)
    system.loss({**system.collate(data.train.take(range(16))), "step": 1}).total.backward()
    moved = {n for n, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(n.startswith("chain.controller") for n in moved)
    assert any(n.startswith("chain.trained") for n in moved)
    assert not any(n.startswith("reader") for n in moved)


def test_alignment_says_in_one_domain_what_another_says():
    """Two linear views of three numbers, 60 of 300 rows paired: R² far above that of the mean."""
    from brickwork.data.types import Examples, TaskData
    from brickwork.systems.global_workspace.system import build

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
    seed_everything(0)
    system = build(
        replace(run.model, task=replace(run.model.task, workspace_dim=8, hidden=32, num_hidden=1)), data
    )
    optimiser = torch.optim.Adam(system.parameters(), 5e-3)
    batch = system.collate(train)
    for step in range(150):
        optimiser.zero_grad()
        system.loss({**batch, "step": step}).total.backward()
        optimiser.step()
    assert system.eval().evaluate(rest)["R²: mean"] > 0.8
    said = system.predict({"left": views["left"][300:]})
    assert list(said) == ["right"]
    assert r_squared(torch.from_numpy(said["right"]), torch.from_numpy(views["right"][300:])) > 0.8
    lone = system.predict({"left": [[1.0] * 5, None], "right": [None, [1.0] * 4]})
    assert np.isnan(lone["left"]).all(1).tolist() == [True, False]
    assert system.workspace({"left": views["left"][:2]}).shape == (2, 8)


def test_r_squared_is_sklearns():
    from sklearn.metrics import r2_score

    torch.manual_seed(0)
    said, truth = torch.randn(20, 1, dtype=torch.float64), torch.randn(20, 1, dtype=torch.float64)
    assert r_squared(said, truth) == pytest.approx(r2_score(truth, said), rel=1e-9)


def test_readers_see_the_image():
    """The convolutional body is that of torch's functions on (B, C, H, W); without ``network`` it is a perceptron."""
    import torch.nn.functional as F

    torch.manual_seed(0)
    reader = DigitReader((9, 6, 2), network="conv", hidden=3, width=4)
    images = torch.rand(5, 9, 6, 2)
    first, second, last = (m for m in reader.body if isinstance(m, nn.Conv2d | nn.Linear))
    x = F.relu(F.conv2d(images.permute(0, 3, 1, 2), first.weight, first.bias, stride=2, padding=2))
    x = F.relu(F.conv2d(x, second.weight, second.bias, stride=2, padding=1))
    expected = torch.tanh(x.flatten(1) @ last.weight.T + last.bias)
    torch.testing.assert_close(reader.body(images.flatten(1)), expected)
    old = DigitReader.of({"hidden": 7, "width": 4, "steps": 1}, (8, 8, 1))
    assert [m.in_features for m in old.body if isinstance(m, nn.Linear)] == [64, 7, 7]


def test_a_convolutional_reader_is_kept_and_answers():
    run = api.recipe("global-workspace", "smoke_digits")
    reader = replace(run.model.task.reader, network="conv")
    system, data = built("smoke_digits", reader=reader)
    again = restore(system.architecture(), None)
    again.load_state_dict(system.state_dict())
    rows = {name: data.test.columns[name][:20] for name in ("first", "second")}
    assert again.predict(rows)["sum"].tolist() == system.predict(rows)["sum"].tolist()
    system.loss({**system.collate(data.train.take(range(8))), "step": 0}).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in system.reader.parameters())


def test_attention_shares_are_used_to_predict():
    """Two domains say a third: with attention the shares of a row are those of the module, not equal ones."""
    system, data = built("smoke_align", fusion_weights="attention")
    system.loss({**system.collate(data.train.columns), "step": 0}).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in system.attention.parameters())
    columns = {name: data.test.columns[name][:4] for name in ("upper", "lower")}
    x, there = system._latents(system.collate(columns))
    with torch.no_grad():
        z = system.space.encode(x)
        shares = system.attention(z, there)
        w = system.space.fusion(sum(shares[name][:, None] * z[name] for name in z))
        said = system.scalings[2].back(system.space.decode(w, ["label"])["label"])
    np.testing.assert_allclose(system.predict(columns)["label"], said.numpy(), rtol=1e-5, atol=1e-6)
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
    system, _ = built("smoke_align")
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
        api.build(replace(chain, data=replace(chain.data, source="addition/digits/mod10")))
    digits = api.recipe("global-workspace", "digits")
    with pytest.raises(ConfigError, match="/mod10"):
        api.build(replace(digits, data=replace(digits.data, source="addition/digits")))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ChainConfig(controller_steps=5), "need a reader"),
        (ChainConfig(routing="sigmoid", entropy_weight=0.1), "leave it at 0"),
        (BaselineConfig(num_heads=2), "not for lstm"),
        (AlignConfig(fusion_weights="attention", broadcast=0.0), "give that a weight"),
        (BaselineConfig(network="transformer", width=9, num_heads=2), "not divisible"),
    ],
)
def test_options_without_effect_are_refused(config, message):
    assert any(message in problem for problem in config.validate())
