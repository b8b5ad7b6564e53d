"""Feature bias: features, many networks in one pass, shares and what is measured while training."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chi2_contingency
from typer.testing import CliRunner

from brickwork.api import predict as predict_api
from brickwork.api import train as training
from brickwork.cli.main import app
from brickwork.core.errors import ConfigError
from brickwork.representation.contract import build_system
from brickwork.systems.feature_bias.config import Config, Data, load_data
from brickwork.systems.feature_bias.features import KINDS, inner_xors, labels
from brickwork.systems.feature_bias.networks import Many, PrefixTransformer, ShowingMlp, prefix_mask
from brickwork.systems.feature_bias.recipes import smoke
from brickwork.systems.feature_bias.system import explained_variance
from brickwork.training.config import Stage


def all_bits(count):
    return torch.tensor(list(itertools.product((0, 1), repeat=count))).bool()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The smoke run: both features are learnt in 300 steps."""
    return training.train(smoke(), tmp_path_factory.mktemp("bias") / "run")


def task(bits=8, rows=64):
    return load_data(Data(bits=bits, limit=rows), 0)


@pytest.mark.parametrize("name", KINDS)
def test_a_feature_is_balanced_and_its_rule_is_what_it_is_called(name):
    bits = all_bits(KINDS[name].bits)
    value = KINDS[name].rule(bits)
    assert value.float().mean() == 0.5
    count = bits.sum(1)
    expected = count % 2 == 1 if "o" in name[:3] or "par" in name else count > bits.shape[1] / 2
    if name == "copy":
        expected = bits[:, 0]
    assert torch.equal(value, expected)
    # An affine function of the bits separates the classes of the easy ones and of no other: least squares says which.
    x = np.column_stack([bits.numpy(), np.ones(len(bits))])
    fitted = x @ np.linalg.lstsq(x, 2.0 * value.numpy() - 1, rcond=None)[0]
    assert bool(((fitted > 0) == value.numpy()).all() and np.abs(fitted).min() > 1e-6) == KINDS[name].easy


def test_features_of_a_set_are_independent():
    """Of all inputs each pair of values occurs equally often; of drawn ones a χ² test sees no dependence."""
    names = ("majority5", "xor2", "parity3")
    every = labels(names, all_bits(10))
    for a, b in itertools.combinations(range(3), 2):
        assert (every[:, a] & every[:, b]).float().mean() == 0.25
    drawn = labels(names, torch.from_numpy(task(10, 4000).train.columns["bits"]).bool())
    counts = [[int(((drawn[:, 0] == i) & (drawn[:, 1] == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    assert chi2_contingency(counts).pvalue > 1e-3


def test_inner_xors_make_up_the_parity_of_four():
    bits = all_bits(4)
    inner = inner_xors(bits)
    assert torch.equal(inner[:, 0] ^ inner[:, 1], KINDS["parity4"].rule(bits))


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_many_networks_are_each_as_if_alone(kind):
    """Outputs and gradients of networks in one pass against each network called by itself."""
    torch.manual_seed(0)

    def make():
        return ShowingMlp(6, (5, 4), 2, 0.0) if kind == "mlp" else PrefixTransformer(6, 8, 1, 2)

    torch.manual_seed(1)
    many = Many(make, 3)
    torch.manual_seed(1)
    alone = [make() for _ in range(3)]
    bits, answers = torch.randint(0, 2, (3, 7, 6)).float(), torch.randint(0, 2, (3, 7, 2)).float()
    logits, hidden = many(bits, answers)
    logits.square().sum().backward()
    for place, network in enumerate(alone):
        own, shown = network(bits[place], answers[place])
        torch.testing.assert_close(logits[place], own)
        torch.testing.assert_close(hidden[-1][place], shown[-1])
        own.square().sum().backward()
        name, weight = next(iter(network.named_parameters()))
        torch.testing.assert_close(many.weights[name.replace(".", "/")].grad[place], weight.grad)


def test_a_prefix_does_not_see_what_is_written_and_an_output_not_what_comes():
    mask = prefix_mask(3, 2)
    assert not mask[:3, 3:].any()
    assert mask[3, :4].all()
    assert not mask[3, 4]
    network = PrefixTransformer(4, 8, 2, 3).eval()
    bits = torch.randint(0, 2, (5, 4)).float()
    one, other = torch.zeros(5, 3), torch.ones(5, 3)
    for a, b in zip(network(bits, one)[1], network(bits, other)[1]):
        assert torch.equal(a, b)
    changed = one.clone()
    changed[:, 1] = 1
    before, after = network(bits, one)[0], network(bits, changed)[0]
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_the_loss_is_the_sum_of_cross_entropies_by_hand():
    data = task()
    system = build_system("feature-bias", smoke().model, data, 0)
    batch = system.collate({"bits": data.train.columns["bits"]})
    total = system.loss({**batch, "step": 0}).total
    expected = 0.0
    for bank in system.banks.values():
        own = bank.read(batch["bits"])
        logits, truth, _ = bank(own)
        for r in range(2):
            assert torch.equal(own[r], batch["bits"][:, bank.order[r]])
            for f in range(2):
                expected += F.binary_cross_entropy_with_logits(logits[r, :, f], truth[r, :, f].float())
    torch.testing.assert_close(total, expected)


def test_a_stage_called_first_trains_one_feature_alone():
    data = task()
    system = build_system("feature-bias", replace(smoke().model, first=1), data, 0)
    batch = {**system.collate({"bits": data.train.columns["bits"]}), "step": 0}
    assert set(system.loss(batch).terms) == {"task/0", "task/1", "control/0", "control/1"}
    first = system.loss({**batch, "stage": "first"}).terms
    assert set(first) == {"task/0", "control/0", "control/1"}
    torch.testing.assert_close(first["task/0"], system.loss(batch).terms["task/1"])


@pytest.mark.parametrize("of", ["label", "input"])
def test_prevalence_masks_the_loss_and_with_it_the_bits(of):
    config = replace(smoke().model, control=False, prevalence=(1.0, 0.25), prevalence_of=of)
    data = task(rows=4000)
    system = build_system("feature-bias", config, data, 0).train()
    batch = {**system.collate({"bits": data.train.columns["bits"]}), "step": 3}
    with torch.no_grad():
        share = system.loss(batch).terms["task/1"] / system.eval().loss(batch).terms["task/1"]
    assert float(share) == pytest.approx(0.25, abs=0.03)
    system.train()
    counts = system._counts(batch, system.banks["task"].read(batch["bits"]))
    assert counts[..., 1].float().mean() == pytest.approx(0.25, abs=0.02)
    assert counts[..., 0].all()
    own = system.banks["task"].read(batch["bits"])
    without = system._without(own, counts)
    assert not without[..., 1:3][~counts[..., 1]].any()
    assert torch.equal(without[..., 3:], own[..., 3:])


def test_explained_variance_is_the_distance_of_class_means():
    """p(1 − p)·‖μ₁ − μ₀‖² by hand, less (total variance)/(B − 1), which is what shuffled labels give on average."""
    torch.manual_seed(0)
    phi, truth = torch.randn(1, 400, 5, dtype=torch.float64), torch.rand(1, 400, 1) < 0.3
    phi[..., 0] += 3 * truth[..., 0]
    one, other = phi[0, truth[0, :, 0]], phi[0, ~truth[0, :, 0]]
    p = truth.double().mean()
    total = (phi - phi.mean(1, keepdim=True)).square().sum(-1).mean()
    expected = p * (1 - p) * (one.mean(0) - other.mean(0)).square().sum() - total / 399
    torch.testing.assert_close(explained_variance(phi, truth)[0, 0], expected)
    shuffles = [explained_variance(phi, truth[:, torch.randperm(400)]).item() for _ in range(300)]
    assert abs(np.mean(shuffles)) < 4 * np.std(shuffles) / 300**0.5


def test_the_run_learns_both_features_and_represents_the_easy_one_more(run):
    assert run.scores["accuracy_copy"] > 0.99
    assert run.scores["accuracy_xor2"] > 0.99
    gap = run.scores["share_copy_layer_2"] - run.scores["share_xor2_layer_2"]
    assert gap > run.scores["equal_apart_layer_2"]


def test_what_is_measured_while_training_and_the_page(run):
    import brickwork

    found = brickwork.load(run.folder)
    held = load_data(smoke().data, 0).test.select(range(1500))
    tables = found.analyse(held)
    watched = tables["watched"]
    assert sorted(set(watched["step"])) == [100, 200, 300]
    last = [
        i
        for i in range(len(watched["step"]))
        if watched["step"][i] == 300 and watched["layer"][i] == "layer 2"
    ]
    shares = tables["shares"]
    for i in last:  # variance while training over the variance of the vectors is the share, on other inputs
        rows = [
            j
            for j in range(len(shares["layer"]))
            if shares["networks"][j] == "task"
            and shares["layer"][j] == "layer 2"
            and shares["feature"][j] == watched["feature"][i]
        ]
        variance = np.mean([shares["alone"][j] * shares["variance"][j] for j in rows])
        assert watched["variance"][i] == pytest.approx(variance, rel=0.15)
    page = predict_api.inspect(run.folder).read_text()
    assert "Shares by layer" in page
    assert "While they learn" in page
    assert page.count("two equal features") >= 1


def test_alone_and_added_agree_since_features_are_independent(run):
    import brickwork

    tables = brickwork.load(run.folder).analyse(load_data(smoke().data, 0).test.select(range(800)))["shares"]
    np.testing.assert_allclose(tables["alone"], tables["added"], atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ("copy", "xor9")}, "'xor9' is none; choose among copy, majority5"),
        ({"features": ("copy",)}, "features needs two or more"),
        ({"prevalence": (1.0,)}, "prevalence has 1 numbers for 2 features"),
        ({"prevalence": (1.0, 0.0)}, "prevalence"),
        ({"first": 2}, "first=2 names no feature"),
        ({"network": "transformer", "dropout": 0.1}, "dropout has no effect with network='transformer'"),
        ({"network": "transformer", "width": 7}, "width=7 must be even"),
        ({"width": 8}, "width has no effect with network='mlp'"),
        ({"prevalence_of": "input"}, "prevalence_of has no effect with no prevalence"),
        ({"widths": ()}, "widths="),
    ],
)
def test_wrong_options_are_named(change, message):
    assert any(message in problem for problem in Config(**change).validate())


def test_features_that_need_more_bits_than_there_are_and_other_data_are_refused():
    with pytest.raises(ConfigError, match="read 7 bits of their own, and there are 4"):
        build_system("feature-bias", Config(), task(4), 0)
    with pytest.raises(ConfigError, match="brickwork inspect MODEL TABLE"):
        load_data(Data(source="items.csv"), 0)
    result = CliRunner().invoke(app, ["train", "feature-bias", "--data", "items.csv", "--dry-run"])
    assert result.exit_code != 0


def test_stages_train_one_after_the_other(tmp_path):
    config = smoke()
    stages = (Stage(name="first", steps=20), Stage(name="all"))
    short = replace(
        config, stages=stages, train=replace(config.train, steps=40), model=replace(config.model, watch=0)
    )
    assert training.train(short, tmp_path / "run").scores["accuracy_copy"] > 0.4
