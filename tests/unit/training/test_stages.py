"""Stages: one run, several optimisers; what each trains, what it is told, and to the same bits after any stop."""

import io
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from brickwork.api.report import card, stage_facts
from brickwork.core.config import override
from brickwork.core.errors import ConfigError, Interrupted
from brickwork.data.samplers import BatchSampler
from brickwork.training.checkpoint import checkpoint_path, steps_saved
from brickwork.training.config import Stage, TrainConfig, shortened, stage_lengths
from brickwork.training.forecast import forecast
from brickwork.training.loop import fit
from brickwork.training.progress import Progress
from brickwork.training.run import RunConfig, run_from_dict, run_to_dict
from brickwork.training.stages import plan_stages
from toy_system import Toy, toy_data

CONFIG = TrainConfig(
    steps=12, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=4, log_every=3
)
STAGES = (
    Stage(name="warm", steps=5, trains=("first.*",), data="other", learning_rate=0.1, schedule="constant"),
    Stage(name="main", trains=("second.*", "log_scale"), loss="late"),
)
OTHER = {"other": toy_data(24, seed=3)}


class Staged(Toy):
    """Draws in the loss, changes a weight at the start of a stage, and remembers what it was told."""

    def __init__(self, seed=0):
        super().__init__(dropout=0.3, seed=seed)
        self.told, self.started, self.frozen = [], [], []

    def start_stage(self, stage):
        self.started.append(stage)
        with torch.no_grad():
            self.second.bias.add_(torch.randn(4))

    def loss(self, batch):
        self.told.append((batch["step"], batch["stage"], batch["stage_step"], batch["indices"]))
        self.frozen.append([name for name, p in self.named_parameters() if not p.requires_grad])
        return super().loss(batch)


def train(system, folder, config=CONFIG, stages=STAGES, **options):
    return fit(system, toy_data(), config, folder, seed=5, stages=stages, variants=OTHER, **options)


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_equals_two_trainings_by_hand(tmp_path):
    """torch's AdamW built again for each stage over its own parameters; a constant rate, then half a cosine of its own."""
    config = replace(CONFIG, warmup=0.0, weight_decay=0.1, clip_norm=0.3)
    system = Toy()
    result = fit(system, toy_data(), config, tmp_path, seed=5, stages=STAGES, variants=OTHER)

    expected, losses = Toy(), []
    first, second = expected.first, expected.second
    parts = [
        (range(0, 5), OTHER["other"], [first.weight], [first.bias], 0.1),
        (range(5, 12), toy_data(), [second.weight], [second.bias, expected.log_scale], 0.02),
    ]
    for number, (steps, data, matrices, rest, rate) in enumerate(parts):
        sampler = BatchSampler(len(data), 8, seed=5)
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
        for step in steps:
            expected.zero_grad()
            loss = expected.loss(expected.collate(data.take(sampler.indices(step)))).total
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*matrices, *rest], 0.3)
            optimizer.step()
            if number == 1:
                cosine.step()
            losses.append(loss.item())
    assert result.losses == pytest.approx(losses, rel=1e-5)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(system.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_stage_trains_its_own_and_is_told_its_place(tmp_path):
    system = Staged()
    system.second.weight.requires_grad_(False)  # frozen by the system; the second stage names it
    before = {name: value.clone() for name, value in system.state_dict().items()}
    train(system, tmp_path / "one", replace(CONFIG, steps=5), STAGES[:1])
    changed = [n for n, v in system.state_dict().items() if not torch.equal(v, before[n])]
    assert changed == ["first.weight", "first.bias", "second.bias"], "the last by start_stage alone"
    assert not system.second.weight.requires_grad, "as the system had it"
    assert system.first.weight.requires_grad
    assert system.first.weight.grad is None

    system = Staged()
    train(system, tmp_path / "two")
    assert system.started == ["warm", "late"]
    assert [told[:3] for told in system.told] == [
        *((step, "warm", step) for step in range(5)),
        *((step, "late", step - 5) for step in range(5, 12)),
    ]
    assert system.told[2][3] == BatchSampler(24, 8, seed=5).indices(2)
    assert system.told[7][3] == BatchSampler(40, 8, seed=5).indices(7)
    assert system.frozen[4] == ["log_scale", "second.weight", "second.bias"]
    assert system.frozen[5] == ["first.weight", "first.bias"]


def test_one_unlimited_stage_is_a_run_without_stages(tmp_path):
    plain, staged = Toy(dropout=0.3), Toy(dropout=0.3)
    one = fit(plain, toy_data(), CONFIG, tmp_path / "plain", seed=5)
    other = train(staged, tmp_path / "staged", stages=(Stage(name="all"),))
    assert one.losses == other.losses
    assert same(plain, staged)


def kill(system, step):
    """Stops with a signal that is seen after step ``step + 1``, as a user would."""
    losses = system.loss

    def loss(batch):
        if batch["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(batch)

    system.loss = loss
    return system


class PowerCut(Exception):
    """Not one of ours: the loop has no chance to save."""


def cut(system, step):
    losses = system.loss

    def loss(batch):
        if batch["step"] == step:
            raise PowerCut
        return losses(batch)

    system.loss = loss
    return system


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    system, folder = Staged(), tmp_path_factory.mktemp("whole")
    return system, train(system, folder, validate=lambda s: {"quality": 0.5}), folder


@pytest.mark.parametrize("step", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("how", [kill, cut])
def test_stop_and_resume_to_the_same_bits(tmp_path, whole, step, how):
    """In the first stage, in its last step, at the first step of the second, and within that."""
    expected, result, folder = whole
    validate = {"validate": lambda s: {"quality": 0.5}}
    with pytest.raises(Interrupted if how is kill else PowerCut):
        train(how(Staged(), step), tmp_path, **validate)
    saved = steps_saved(tmp_path)
    if step == 5:
        assert 5 in saved, "a stage ends with a checkpoint"
    resumed = Staged(seed=77)
    with torch.no_grad():  # whatever it starts from is replaced by the checkpoint
        for parameter in resumed.parameters():
            parameter.add_(1.0)
    if not saved:
        resumed = Staged()
    again = train(resumed, tmp_path, resume=True, **validate)
    done = saved[-1] if saved else 0
    assert again.losses == result.losses[done:]
    assert same(expected, resumed)
    assert [(r["step"], r["stage"]) for r in records(tmp_path)] == [
        (r["step"], r["stage"]) for r in records(folder)
    ]
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, other = (checkpoint_path(path, 12) / name for path in (folder, tmp_path))
        assert one.read_bytes() == other.read_bytes()


def test_records_name_the_stage(whole):
    _, _, folder = whole
    lines = records(folder)
    assert [(r["step"], r["stage"]) for r in lines if "loss" in r] == [
        (1, "warm"), (3, "warm"), (5, "warm"), (6, "main"), (9, "main"), (12, "main"),
    ]  # fmt: skip
    assert [(r["step"], r["stage"]) for r in lines if "validation" in r] == [
        (0, "warm"), (5, "warm"), (12, "main"),
    ]  # fmt: skip
    rates = {r["step"]: r["learning_rate"] for r in lines if "loss" in r}
    assert rates[3] == 0.1
    assert rates[12] < rates[9] < 0.02
    assert [r["epoch"] for r in lines if r["step"] == 6] == [8 / 40]


def test_stages_of_another_run_are_not_resumed(tmp_path):
    train(Toy(), tmp_path)
    longer = (replace(STAGES[0], steps=6), STAGES[1])
    with pytest.raises(ConfigError, match=r"stages\.warm\.steps was 5 and is 6"):
        train(Toy(), tmp_path, stages=longer, resume=True)
    with pytest.raises(ConfigError, match=r"stages\.main\.loss was late and is None"):
        train(Toy(), tmp_path, stages=(replace(STAGES[0], steps=None),), resume=True)


def test_a_part_that_a_stage_adds_is_refused(tmp_path):
    """It could not be loaded: a system is rebuilt without its stages."""

    class Growing(Toy):
        def start_stage(self, stage):
            if stage == "late":
                self.extra = torch.nn.Linear(2, 2)
                self.second = torch.nn.Linear(16, 5)

    with pytest.raises(
        ConfigError, match=r"start_stage\('late'\).*: extra\.bias, extra\.weight, second\.bias, second"
    ):
        train(Growing(), tmp_path)


def test_a_number_that_is_not_finite_names_the_stage(tmp_path):
    data = toy_data()
    data.columns["anchor"][:] = float("nan")
    with pytest.raises(Exception, match=r"at step 5 \(stage 'main'\)"):
        fit(Toy(), data, CONFIG, tmp_path, seed=5, stages=STAGES, variants=OTHER)


def test_progress_names_the_stage_and_counts_over_all():
    shown = Progress(Console(file=io.StringIO(), width=160, highlight=False))
    shown.start(steps=12, done=0)
    shown.stage("warm")
    shown.validated(0, {"quality": 0.5})
    shown.stage("main")
    shown.update(12, loss=1.0, examples_per_second=3.0)
    lines = shown.console.file.getvalue().splitlines()
    assert lines[0] == "warm, step 0/12  quality 0.500"
    assert lines[1].startswith("main, step 12/12  loss 1.0000")
    shown = Progress(Console(file=io.StringIO(), width=160, force_terminal=True))
    shown.start(steps=12, done=0)
    shown.stage("warm")
    shown.update(3, loss=1.0, examples_per_second=3.0)
    shown.close()
    assert "training: warm" in shown.console.file.getvalue()


def test_a_dry_run_measures_each_stage():
    results = forecast(Staged(), toy_data(), CONFIG, seed=0, stages=STAGES, variants=OTHER)
    one, two = results["stages"]
    assert [(s["name"], s["steps"]) for s in (one, two)] == [("warm", 5), ("main", 7)]
    assert one["parameters"]["trainable"] == 8 * 16 + 16
    assert two["parameters"]["trainable"] == 16 * 4 + 4 + 1
    assert results["forecast_seconds"] == pytest.approx(
        5 * one["seconds_per_step"] + 7 * two["seconds_per_step"]
    )
    assert results["epochs"] == pytest.approx(5 * 8 / 24 + 7 * 8 / 40)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Stage(name="a", steps=5)], r"train\.steps=12, but the stages have 5 steps together"),
        ([Stage(name="a", steps=12), Stage(name="b")], r"leaves nothing for stage 'b'.*more than 12"),
        ([Stage(name="a"), Stage(name="b")], "a and b do not say their steps"),
        ([Stage(name="a", steps=6), Stage(name="a", steps=6)], "'a' is the name of two stages"),
    ],
)
def test_lengths_that_do_not_fit(stages, message):
    with pytest.raises(ConfigError, match=message):
        stage_lengths(CONFIG, stages)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (Stage(name="a", trains=("frst.*",)), r"a\.trains: no parameter matches 'frst\.\*': did you mean 'first\.\*'"),
        (Stage(name="a", data="othr"), r"stages\.a\.data=othr.*did you mean 'other'"),
    ],
)  # fmt: skip
def test_what_a_stage_names_must_be_there(tmp_path, stage, message):
    with pytest.raises(ConfigError, match=message):
        train(Toy(), tmp_path, stages=(stage,))


def test_a_part_smaller_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match="has 6 examples"):
        plan_stages(CONFIG, toy_data(), (Stage(name="a", data="few"),), {"few": toy_data(6)})


def test_sharing_the_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="fsdp cannot change between stages"):
        train(Toy(), tmp_path, strategy="fsdp")
    assert not (tmp_path / "env.json").exists()


def test_a_run_with_stages_as_json_and_on_the_command_line():
    from brickwork.api.train import recipe

    run = replace(recipe("matryoshka", "smoke"), train=CONFIG, stages=STAGES)
    assert run_from_dict(run_to_dict(run)) == run
    changed = override(run, ["stages.warm.steps=3", "stages.1.learning_rate=0.5", "stages.warm.trains=a,b.*"])
    assert changed.stages[0].steps == 3
    assert changed.stages[0].trains == ("a", "b.*")
    assert changed.stages[1].learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"did you mean 'stages\.warm\.steps'"):
        override(run, ["stages.warm.step=3"])
    with pytest.raises(ConfigError, match="leaves nothing for stage 'main'"):
        override(run, ["stages.warm.steps=12"])
    with pytest.raises(ConfigError, match=r"stages\[0\]\.steps=0 must be at least 1"):
        override(run, ["stages.warm.steps=0"])


def test_card_and_report_say_the_stages(whole):
    run = RunConfig(system="toy", recipe="toy", model=None, train=CONFIG, stages=STAGES)
    assert stage_facts(run) == {"stages": "warm: 5 steps, main: 7 steps"}
    assert stage_facts(replace(run, stages=())) == {}
    members = [Stage(name=f"member {n}", steps=4) for n in (1, 2, 3)]
    many = replace(run, train=replace(CONFIG, steps=14), stages=(*members, Stage(name="head")))
    assert stage_facts(many) == {"stages": "member 1 to member 3: 4 steps each, head: 2 steps"}

    class Data:
        name, train = "toy", toy_data()

    assert card(run, Data, whole[1], None)["stages"] == "warm: 5 steps, main: 7 steps"


def test_a_shorter_run_keeps_every_stage():
    config, stages = shortened(replace(CONFIG, steps=120), (replace(STAGES[0], steps=3), STAGES[1]), 20)
    assert stage_lengths(config, stages) == [1, 19]
    assert [stage.name for stage in stages] == ["warm", "main"]
    config, stages = shortened(CONFIG, STAGES, 6)
    assert (config.steps, stage_lengths(config, stages)) == (6, [2, 4])
    assert shortened(CONFIG, STAGES, 12) == (CONFIG, STAGES)
    assert shortened(CONFIG, (), 5) == (replace(CONFIG, steps=5), ())
    assert stage_lengths(*shortened(CONFIG, STAGES, 1)) == [1, 1]


@example([10] * 4, 6)
@example([10] * 6, 9)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 60))
def test_a_shorter_run_has_its_steps_and_one_of_each_stage(lengths, steps):
    """Also of stages that are all as long, where each is rounded up: 4 of 10 steps in 6, 6 of 10 in 9."""
    whole = sum(lengths)
    stages = [Stage(name=str(number), steps=length) for number, length in enumerate(lengths)]
    short = stage_lengths(*shortened(replace(CONFIG, steps=whole), stages, steps))
    assert min(short) >= 1
    assert sum(short) == min(whole, max(steps, len(lengths)))
