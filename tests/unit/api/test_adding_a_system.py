"""docs/adding-a-system.md, followed literally: the system that it builds trains, is kept, and passes the battery."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import brickwork
import brickwork.systems
from brickwork.core import registry
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.flow import flow
from brickwork.representation.load import load_system

ROOT = Path(__file__).parents[3]
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
        brickwork.api.train.build(brickwork.override(run, ["data.source=digits"]))
    with pytest.raises(ConfigError) as refused:
        brickwork.override(run, ["model.noise=-1", "model.temperature=0"])
    assert str(refused.value).splitlines() == [
        "model.noise is -1.0; it must be at least 0",
        "model.temperature is 0.0; it must be above 0",
    ]


def test_it_passes_the_battery(systems):
    files = [f"tests/conformance/test_conformance_{name}.py" for name in ("config", "runs", "system")]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", *files, "-k", "noisy"]
    surroundings = {
        **os.environ,
        "BRICKWORK_MORE_SYSTEMS": str(systems),
        "BRICKWORK_UPDATE_GOLDEN": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path]),
    }
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15
    assert (systems / "noisy-pairs.json").is_file(), "its golden losses lie beside it"
