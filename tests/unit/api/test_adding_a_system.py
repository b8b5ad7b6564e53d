"""docs/adding-a-system.md, followed literally: the system that it builds trains, is kept, and passes the battery."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import brickwork
import brickwork.studies
import brickwork.systems
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core import registry
from brickwork.core.errors import ArtifactError, ConfigError, DataError, Interrupted
from brickwork.core.flow import flow
from brickwork.representation.load import load_system
from brickwork.studies.bench import Bench
from brickwork.studies.records import claims_of
from brickwork.training.config import Stage

ROOT = Path(__file__).parents[3]
TOYS = ROOT / "tests" / "toy_systems"
PAGE = ROOT / "docs" / "adding-a-system.md"
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut there:brickwork.core.errors.BrickworkWarning")


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """A folder of systems that holds the files of the page."""
    folder = tmp_path_factory.mktemp("package")
    blocks = re.findall(
        r"^`src/brickwork/(\S+)`:\n\n```\w+\n(.*?)\n```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    names = [name for name, _ in blocks]
    assert [n for n in names if n.startswith("systems/")] == [
        f"systems/noisy_pairs/{name}" for name in ("__init__.py", "system.py", "recipes.py", "README.md")
    ]
    for name, text in blocks:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder / "systems"


@pytest.fixture
def added(systems, monkeypatch):
    """The system is there, in this process."""
    monkeypatch.setattr(brickwork.systems, "__path__", [*brickwork.systems.__path__, str(systems)])
    yield systems
    for name in [name for name in sys.modules if name.startswith("brickwork.systems.noisy_pairs")]:
        del sys.modules[name]


def test_it_is_small(systems):
    """What the page promises: about 60 lines for a text system, with its docstring."""
    assert len((systems / "noisy_pairs" / "system.py").read_text().splitlines()) <= 70


def test_it_is_listed(added):
    done = CliRunner().invoke(app, ["list", "--json"])
    assert done.exception is None, repr(done.exception)
    rows = [row for row in json.loads(done.stdout) if "noisy-pairs" in row.values()]
    assert rows
    assert rows[0]["jobs"] == [{"have": "pairs of texts", "want": "vectors that small changes do not move"}]


def test_it_trains_and_is_kept(added, tmp_path):
    assert "noisy-pairs" in registry.slugs()
    assert ("objective", "objectives.contrastive.info_nce") in flow("noisy-pairs")
    run = brickwork.override(brickwork.recipe("noisy-pairs", "smoke"), ["train.steps=30"])
    assert (run.system, run.recipe) == ("noisy-pairs", "smoke")
    summary = brickwork.train(run, tmp_path / "run")
    texts = ["a doctor repairs a boat", "who sells bread?"]
    loaded = brickwork.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.encode(texts), summary.representation.encode(texts))
    assert loaded.card["recipe"] == "smoke"
    assert load_system(tmp_path / "run").config == run.model


def test_the_house_says_what_does_not_fit(added):
    run = brickwork.recipe("noisy-pairs", "smoke")
    with pytest.raises(
        DataError, match=r"noisy-pairs does not learn from: it needs pairs of texts.*matryoshka"
    ):
        api.build(brickwork.override(run, ["data.source=digits"]))
    with pytest.raises(ConfigError) as refused:
        brickwork.override(run, ["model.noise=-1", "model.temperature=0"])
    assert str(refused.value).splitlines() == [
        "model.noise is -1.0; it must be at least 0",
        "model.temperature is 0.0; it must be above 0",
    ]


def test_its_claim_runs(added, monkeypatch):
    """Cut short: the way to a verdict is walked, with both arms and both seeds."""
    monkeypatch.setattr(
        brickwork.studies, "__path__", [*brickwork.studies.__path__, str(added.parent / "studies")]
    )
    (claim,) = claims_of("noisy-pairs")
    bench = Bench(max_steps=2)
    result = claim.run("smoke", [0, 1], bench)
    sys.modules.pop("brickwork.studies.noisy_pairs")
    assert len(result.effects) == 2
    assert [(arm.name, arm.trainings) for arm in result.arms] == [("noise", 2), ("none", 2)]
    assert [row["arm"] for row in result.table] == ["noise", "none"]
    assert bench.systems == {"noisy-pairs"}


def battery(systems):
    """Runs the battery on the systems of a folder, in another process; how many tests passed."""
    files = [f"tests/conformance/test_conformance_{name}.py" for name in ("config", "runs", "system")]
    slugs = " or ".join(path.name.replace("_", "-") for path in systems.iterdir() if path.is_dir())
    surroundings = {
        **os.environ,
        "BRICKWORK_MORE_SYSTEMS": str(systems),
        "BRICKWORK_UPDATE_GOLDEN": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", *files, "-k", slugs],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def test_it_passes_the_battery(systems):
    assert battery(systems) >= 20
    assert (systems / "noisy-pairs.json").is_file(), "its golden losses lie beside it"


# ---- a system without a gradient, that recommends and analyses (tests/toy_systems/class_means) ------------------------


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """The folder of a finished run of the toy."""
    monkeypatch.setattr(brickwork.systems, "__path__", [*brickwork.systems.__path__, str(TOYS)])
    summary = brickwork.train(brickwork.recipe("class-means", "smoke"), tmp_path / "run")
    assert summary.result.step == 5
    yield summary
    for name in [name for name in sys.modules if name.startswith("brickwork.systems.class_means")]:
        del sys.modules[name]


def test_a_system_that_counts_leaves_a_run_like_any_other(counting):
    names = {path.name for path in counting.folder.iterdir()}
    assert {"brickwork.json", "config.json", "metrics.jsonl", "evaluation.json", "report.html"} <= names
    data = api.build(brickwork.recipe("class-means", "smoke"))[1]
    train, test = (np.asarray(p.columns["input"]).reshape(len(p), -1) / 255 for p in (data.train, data.test))
    labels = np.asarray(data.train.columns["label"])
    means = np.stack([train[labels == number].mean(0) for number in range(10)])
    best = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
    assert counting.scores["accuracy"] == pytest.approx((best == data.test.columns["label"]).mean())
    loaded = brickwork.load(counting.folder)
    np.testing.assert_allclose(loaded.means.numpy(), means, rtol=1e-4, atol=1e-6)


def test_it_recommends_and_analyses(counting):
    loaded = brickwork.load(counting.folder)
    images = loaded.means.reshape(10, 8, 8, 1).numpy() * 255
    answers = predict_api.recommend(counting.folder, list(images), count=3)
    assert {name: len(column) for name, column in answers.items()} == dict.fromkeys(
        ("user", "rank", "item", "score"), 30
    )
    best = [item for item, rank in zip(answers["item"], answers["rank"]) if rank == 1]
    assert best == list(loaded.classes), "each mean is nearest to itself"
    table = predict_api.analyse(counting.folder, limit=20)["neighbours"]
    second = [item for item, rank in zip(answers["item"], answers["rank"]) if rank == 2]
    assert table["nearest"] == second
    with pytest.raises(ConfigError, match="count=0"):
        predict_api.recommend(counting.folder, list(images), count=0)
    with pytest.raises(ArtifactError, match=r"which cannot generate"):
        predict_api.generate(counting.folder, ["a"])


def test_a_dry_run_says_how_it_learns(counting):
    assert "rounds of its own" in api.plan(brickwork.recipe("class-means", "smoke"))["learns"]


def test_options_of_the_loop_are_refused(counting, tmp_path):
    run = brickwork.override(
        brickwork.recipe("class-means", "smoke"), ["train.steps=7", "train.device=cuda", "train.keep=3"]
    )
    staged = replace(run, stages=(Stage(name="one", trains=("nothing.*",)),))
    message = (
        r"rounds of its own, .*: train\.steps=7, train\.device=cuda, stages\.one, devices=2; leave them out"
    )
    with pytest.raises(ConfigError, match=message):
        brickwork.train(staged, tmp_path / "refused", devices=2)
    assert not (tmp_path / "refused").exists()
    with pytest.raises(ConfigError, match=r"train\.steps=7, train\.device=cuda; leave them out"):
        api.plan(run)


def test_a_signal_while_it_validates_at_the_end_is_heeded(counting, tmp_path, monkeypatch):
    """As in the loop: in evaluation mode and without gradients, once, and the signal ends the command."""
    system = type(counting.system)
    evaluate, calls = system.evaluate, []

    def stopped(self, examples):
        calls.append((self.training, torch.is_grad_enabled()))
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, examples)

    run = brickwork.recipe("class-means", "smoke")
    monkeypatch.setattr(system, "evaluate", stopped)
    with pytest.raises(Interrupted, match="stopped after round 5") as caught:
        brickwork.train(run, tmp_path / "stopped")
    assert caught.value.exit_code == 143
    assert calls == [(False, False)]
    monkeypatch.setattr(system, "evaluate", evaluate)
    resumed = brickwork.resume(tmp_path / "stopped")
    assert resumed.scores == counting.scores
    lines = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation" in line] == [5]


def test_the_toy_passes_the_battery(tmp_path):
    """Determinism, the same bits after a power cut, saved and loaded whole, damaged files, no dead option."""
    shutil.copytree(TOYS, tmp_path / "systems")
    assert battery(tmp_path / "systems") >= 10
