"""A comparison of arms on a user's data: every training as the run says, kept, gone on with, and judged by its interval."""

import json
import math
from dataclasses import replace

import pytest

from brickwork.api import compare as compare_api
from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError, DataError, Interrupted
from brickwork.core.files import write_json
from brickwork.studies.bench import Bench
from brickwork.training.run import run_to_dict

POINTS = "points of accuracy"


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
    assert list(result.measures) == [POINTS]
    arms = {arm.name: arm for arm in result.measures[POINTS]}
    assert list(arms) == ["plain", "EMoE", "random groups", "group dropout"]
    assert arms["EMoE"].values == pytest.approx([90, 92.1, 94.2])
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
    assert len(json.loads((folder / "compare.json").read_text())["scores"]["plain"]) == 2
    assert result.seeds == (0, 1)


def test_one_seed_judges_nothing(trained):
    result = compare_api.compare(trained[0], seeds=1)
    arm = result.measures[POINTS][1]
    assert arm.interval is None
    assert "one seed says nothing" in arm.words


def test_seeds_that_agree_to_the_digit_judge_nothing():
    """One question more of 120 in both of two seeds leaves no spread to judge by."""
    arm = compare_api.ArmResult(
        name="EMoE", values=(90.83, 92.5), learning_rate=1e-4, difference=0.83, interval=(0.83, 0.83)
    )
    assert "says nothing" in arm.words
    assert replace(arm, difference=0.0, interval=(0.0, 0.0)).words == "no difference shown"


def test_rates_are_chosen_for_each_arm(trained):
    folder, run, asked = trained
    result = compare_api.compare(folder, seeds=1, rates=True)
    tried = {round(one.train.learning_rate / run.train.learning_rate, 3) for one in asked}
    assert {0.5, 1.0, 2.0} <= tried
    assert all(
        arm.learning_rate == run.train.learning_rate for arm in result.measures[POINTS]
    )  # at a tie its own


def test_what_cannot_be_compared_is_refused(trained, monkeypatch):
    folder, _, _ = trained
    with pytest.raises(ConfigError, match="seeds=0"):
        compare_api.compare(folder, seeds=0)
    other = api.recipe("matryoshka", "smoke")
    monkeypatch.setattr(compare_api, "read_run", lambda folder: other)
    with pytest.raises(ArtifactError, match="matryoshka, which names nothing to be compared with"):
        compare_api.compare(folder)


def test_it_says_how_far_it_is_and_what_is_kept_when_it_is_stopped(trained, monkeypatch):
    folder, _, asked = trained
    told, train, clock = [], Bench.train, iter(map(float, range(0, 10_000, 60)))
    monkeypatch.setattr(compare_api.time, "monotonic", lambda: next(clock))
    compare_api.compare(folder, seeds=2, progress=told.append)
    assert told[0] == "training 1 of 8: plain, seed 0"
    assert told[2] == "training 3 of 8: random groups, seed 0; about 9 min left"

    def stopped(self, run):
        if len(asked) == 10:
            raise Interrupted(
                "interrupted; finished claims are recorded: the same command goes on there", 130
            )
        return train(self, run)

    monkeypatch.setattr(Bench, "train", stopped)
    with pytest.raises(
        Interrupted, match=r"10 trainings are kept in .*compare\.json: the same command goes on"
    ) as error:
        compare_api.compare(folder, seeds=3)
    assert error.value.exit_code == 130
    assert "claims" not in str(error.value)


SCORES = {
    "emoe": ({"accuracy": 0.5, "accuracy_groups_2": 0.25}, {POINTS: 50}),
    "dylora": (
        {"accuracy": 0.75, "accuracy_rank_1": 0.25, "accuracy_rank_2": 0.5, "recommended_rank": 2.0},
        {f"{POINTS} at rank r": 75, f"{POINTS}, mean over ranks": 50},
    ),
    "m2mkd": ({"accuracy": 0.75, "teacher": 0.5, "gflops whole": 9.0}, {POINTS: 75}),
    "multimodn": (
        {"sick/auroc": 0.75, "sick/balanced_accuracy": 0.5, "age/r2": 0.5, "age/mae": 3.0},
        {"points of AUROC of sick": 75, "hundredths of R² of age": 50},
    ),
}


@pytest.mark.parametrize("slug", registry.able("compares"))
def test_systems_name_their_controls_and_what_is_compared(slug):
    system = registry.load(slug, "system").System
    given, wanted = SCORES[slug]
    assert system.compared(given) == pytest.approx(wanted)
    config = api.recipe(slug, "smoke").model
    arms = system.controls(config)
    assert config in arms.values()
    assert next(iter(arms.values())) != config, "first the plain way"
    assert not [problem for arm in arms.values() for problem in arm.validate()]
    assert len(set(map(repr, arms.values()))) == len(arms)
    # What one is compared with does not depend on which of the arms the run was.
    assert list(system.controls(next(iter(arms.values())))) == list(arms)


def test_perplexities_are_compared_as_nats():
    system = registry.load("dylora", "system").System
    made = system.compared(
        {"perplexity": math.e, "perplexity_rank_1": math.e**3, "perplexity_untouched": 99.0}
    )
    assert list(made.values()) == pytest.approx([-1, -2])


def test_what_is_not_defined_in_one_split_is_not_compared(trained, monkeypatch):
    folder, _, _ = trained
    system = registry.load("emoe", "system").System
    monkeypatch.setattr(
        system,
        "compared",
        staticmethod(lambda s: {"a": s["accuracy"], **({"b": 1.0} if s["accuracy"] > 0.75 else {})}),
    )
    assert list(compare_api.compare(folder, seeds=2).measures) == ["a"]
    monkeypatch.setattr(system, "compared", staticmethod(lambda s: {}))
    with pytest.raises(DataError, match="nothing can be measured on the held-out rows"):
        compare_api.compare(folder, seeds=2, rates=True)
