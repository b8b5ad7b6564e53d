"""A comparison of arms on a user's data: every training as the run says, kept, gone on with, and judged by its interval."""

import json
from dataclasses import replace

import pytest

from brickwork.api import compare as compare_api
from brickwork.api import train as api
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import write_json
from brickwork.studies.bench import Bench
from brickwork.training.run import run_to_dict


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The folder of a run, and what was trained, by a bench whose models are as good as their arm and seed."""
    run = api.with_sizes(override(api.recipe("emoe", "smoke"), ["model.used=2"]))
    write_json(tmp_path / "config.json", run_to_dict(run))
    (tmp_path / "brickwork.json").write_text("{}")
    asked = []
    quality = {"plain": 0.8, "EMoE": 0.9, "random groups": 0.7, "group dropout": 0.8}

    class System:
        def __init__(self, run):
            self.run = run

        def evaluate(self, examples):
            name = self.run.recipe.removeprefix("compare: ")
            disturbed = 0.01 * self.run.seed * (name == "group dropout") * (-1) ** self.run.seed
            spread = 0.001 * self.run.seed * (name in ("EMoE", "random groups"))
            return {"accuracy": quality[name] + 0.02 * self.run.seed + disturbed + spread}

    class Trained:
        def __init__(self, run):
            self.system = System(run)
            self.data = type("Data", (), {"test": None, "validation": None})()

    def train(self, run):
        asked.append(run)
        return Trained(run)

    monkeypatch.setattr(Bench, "train", train)
    monkeypatch.setattr(compare_api, "read_run", lambda folder: run)
    return tmp_path, run, asked


def test_every_arm_has_the_budget_of_the_run_and_differences_are_paired(trained):
    folder, run, asked = trained
    result = compare_api.compare(folder, seeds=3)
    arms = {arm.name: arm for arm in result.arms}
    assert list(arms) == ["plain", "EMoE", "random groups", "group dropout"]
    assert arms["EMoE"].accuracies == pytest.approx([90, 92.1, 94.2])
    assert arms["EMoE"].difference == pytest.approx(10.1)  # the seeds' own differences cancel
    assert arms["EMoE"].words == "better"
    assert arms["random groups"].words == "worse"
    assert arms["group dropout"].words == "no difference shown"
    assert {(one.train, one.stages, one.data) for one in asked} == {(run.train, run.stages, run.data)}
    models = {one.recipe: one.model for one in asked}
    assert models["compare: plain"] == replace(run.model, choose="all", used=None)
    assert models["compare: EMoE"] == run.model
    assert models["compare: random groups"] == replace(run.model, grouping="random")
    assert models["compare: group dropout"] == replace(run.model, choose="random")
    page = result.page.read_text()
    assert "EMoE: better; random groups: worse" in page


def test_it_goes_on_where_it_was_stopped(trained):
    folder, _, asked = trained
    compare_api.compare(folder, seeds=1)
    assert len(asked) == 4
    result = compare_api.compare(folder, seeds=2)
    assert [one.seed for one in asked] == [0] * 4 + [1] * 4
    assert len(json.loads((folder / "compare.json").read_text())["accuracy"]["plain"]) == 2
    assert result.seeds == (0, 1)


def test_one_seed_judges_nothing(trained):
    result = compare_api.compare(trained[0], seeds=1)
    assert result.arms[1].interval is None
    assert "one seed says nothing" in result.arms[1].words


def test_seeds_that_agree_to_the_digit_judge_nothing():
    """One question more of 120 in both of two seeds leaves no spread to judge by."""
    arm = compare_api.ArmResult(
        name="EMoE", accuracies=(90.83, 92.5), learning_rate=1e-4, difference=0.83, interval=(0.83, 0.83)
    )
    assert "says nothing" in arm.words
    assert replace(arm, difference=0.0, interval=(0.0, 0.0)).words == "no difference shown"


def test_rates_are_chosen_for_each_arm(trained):
    folder, run, asked = trained
    result = compare_api.compare(folder, seeds=1, rates=True)
    tried = {round(one.train.learning_rate / run.train.learning_rate, 3) for one in asked}
    assert {0.5, 1.0, 2.0} <= tried
    assert all(arm.learning_rate == run.train.learning_rate for arm in result.arms)  # at a tie its own


def test_what_cannot_be_compared_is_refused(trained, monkeypatch):
    folder, _, _ = trained
    with pytest.raises(ConfigError, match="seeds=0"):
        compare_api.compare(folder, seeds=0)
    other = api.recipe("dylora", "smoke")
    monkeypatch.setattr(compare_api, "read_run", lambda folder: other)
    with pytest.raises(ArtifactError, match="dylora, which names nothing to be compared with"):
        compare_api.compare(folder)
