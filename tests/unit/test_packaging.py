"""What is installed without extras: encoding, indexing and searching work, and the rest says which extra it needs."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from brickwork.core.errors import _EXTRA_OF, MissingExtraError, missing_extra, naming_extras
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
        hint = rf"error: [\w ]+ needs the package '\w+': pip install 'brickwork\[{extra}\]'"
        assert re.search(hint, result.stderr)


def packages_of(module: str) -> set[str]:
    """Which packages bring a module; its own name where it is not installed, as OpenVINO need not be."""
    brought_by = packages_distributions().get(module, [module])
    return {name.lower().replace("_", "-") for name in brought_by}


def test_modules_of_extras_stand_in_the_extra_that_brings_them():
    for module, extra in _EXTRA_OF.items():
        (package,) = packages_of(module)
        assert package in EXTRAS[extra], module
        assert package not in CORE


def test_only_modules_of_extras_get_the_hint():
    assert isinstance(missing_extra(ModuleNotFoundError(name="sklearn.metrics")), MissingExtraError)
    assert missing_extra(ModuleNotFoundError(name="sklearned")) is None
    assert missing_extra(ModuleNotFoundError()) is None


def test_other_errors_pass_by_the_hint():
    with pytest.raises(ModuleNotFoundError, match="sklearned"), naming_extras("this"):
        raise ModuleNotFoundError("no sklearned", name="sklearned")
    with pytest.raises(KeyError), naming_extras("this"):
        raise KeyError


HIDDEN = [
    ("sklearn", "from brickwork.systems.multimodn import MultiModNClassifier"),
    ("sklearn", "from brickwork.systems.multimodn.estimators import MultiModNRegressor"),
    ("sklearn", "from brickwork.evaluation.baselines import rank_tfidf; rank_tfidf(['a'], ['a'], 1)"),
    ("sklearn", "from brickwork.data.sets.images import load_images; load_images('digits', 'all')"),
    ("scipy", "from brickwork.evaluation.significance import seed_interval; seed_interval([1.0, 2.0])"),
    ("jinja2", "import brickwork; brickwork.train(brickwork.recipe('matryoshka-2d', 'smoke'), 'RUN')"),
    ("bm25s", "import brickwork; brickwork.evaluate('nowhere', 'nothing')"),
    ("uvicorn", "from brickwork.service.config import ServiceConfig\nfrom brickwork.service.server import serve\n"
     "serve(ServiceConfig(target='nothing'))"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "code"), HIDDEN)
def test_python_names_the_extra_too(module, code, monkeypatch, tmp_path):
    for name in ("estimators", "targets"):  # those that import it at their top
        monkeypatch.delitem(sys.modules, f"brickwork.systems.multimodn.{name}", raising=False)
    for name in [module, *(loaded for loaded in sys.modules if loaded.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    hint = rf"needs the package '{module}': pip install 'brickwork\[{_EXTRA_OF[module]}\]'"
    with pytest.raises(MissingExtraError, match=hint):
        exec(code.replace("RUN", str(tmp_path / "run")), {})


def test_public_functions_that_import_a_package_of_an_extra_name_it():
    bare = []
    for path in (ROOT / "src/brickwork").rglob("*.py"):
        room = path.relative_to(ROOT / "src/brickwork").parts[0]
        if room in ("systems", "studies", "service", "cli"):  # entered through the interface, which does
            continue
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            tried = {n for node in ast.walk(function) if isinstance(node, ast.Try) for n in ast.walk(node)}
            imports = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            modules = {
                name.partition(".")[0]
                for node in imports
                if node not in tried
                for name in (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                )
            }
            named = any("naming_extras" in ast.unparse(line) for line in function.decorator_list)
            if modules & set(_EXTRA_OF) and not named:
                bare.append(f"{path.name}: {function.name}")
    assert not bare


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
    assert {module for module in imported if not packages_of(module) & declared} == set()
