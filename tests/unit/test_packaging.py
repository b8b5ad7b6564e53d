"""What is installed without extras: encoding, indexing and searching work, and the rest says which extra it needs."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from brickwork.core.errors import _EXTRA_OF, MissingExtraError, missing_extra
from brickwork.encoders.build import minilm_package_folder

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements):
    return {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(lines) for extra, lines in PROJECT["optional-dependencies"].items()}
SCRIPT = """
import sys
for name in {hidden}:
    sys.modules[name] = None  # as if it were not installed
import brickwork
from brickwork.cli.main import main

model, folder = sys.argv[1:]
open(folder + "/a.csv", "w").write("id,text\\na,a fish\\nb,a pear\\n")
assert brickwork.load(model).encode(["a"]).shape == (1, 384)
index = brickwork.build_index(model, folder + "/a.csv", folder + "/index")
assert index.search("fruit")[0][0].id == "b"
for command in (["search", folder + "/index", "fruit"], ["list"], ["serve", folder + "/index"],
                ["train", "matryoshka", "--recipe", "smoke", "--out", folder + "/run"]):
    sys.argv = ["brickwork", *command]
    try:
        main()
    except SystemExit as leave:
        print("LEFT", command[0], leave.code)
"""


@pytest.mark.skipif(minilm_package_folder() is None, reason="the packaged MiniLM is not installed")
def test_without_extras_it_encodes_indexes_and_searches(tmp_path):
    hidden = sorted(
        module for module, extra in _EXTRA_OF.items() if "pydantic" not in module
    )  # typer brings it
    script = SCRIPT.format(hidden=hidden)
    command = [sys.executable, "-c", script, str(minilm_package_folder()), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True)
    left = re.findall(r"LEFT (\w+) (\d+)", result.stdout)
    assert left == [("search", "0"), ("list", "0"), ("serve", "7"), ("train", "7")], result.stderr
    for extra in ("serve", "train"):
        hint = rf"error: this command needs the package '\w+': pip install 'brickwork\[{extra}\]'"
        assert re.search(hint, result.stderr)


def test_modules_of_extras_stand_in_the_extra_that_brings_them():
    for module, extra in _EXTRA_OF.items():
        (package,) = {name.lower().replace("_", "-") for name in packages_distributions()[module]}
        assert package in EXTRAS[extra], module
        assert package not in CORE


def test_only_modules_of_extras_get_the_hint():
    assert isinstance(missing_extra(ModuleNotFoundError(name="sklearn.metrics")), MissingExtraError)
    assert missing_extra(ModuleNotFoundError(name="sklearned")) is None
    assert missing_extra(ModuleNotFoundError()) is None


def test_every_package_that_is_imported_is_declared():
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.partition(".")[0])
    imported -= {"brickwork", *sys.stdlib_module_names}
    declared = CORE.union(*EXTRAS.values())
    brought_by = packages_distributions()
    assert imported <= brought_by.keys(), imported - brought_by.keys()
    packages = {module: {d.lower().replace("_", "-") for d in brought_by[module]} for module in imported}
    assert {module for module, those in packages.items() if not those & declared} == set()
