import json
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from brickwork.cli.main import app
from brickwork.core.errors import EXIT_CODES

COMMANDS = typer.main.get_command(app).commands
NAMES = (
    *"train resume demo claims compare inspect evaluate choose encode classify predict generate".split(),  # noqa: SIM905
    *"index search serve export list info data doctor".split(),  # noqa: SIM905
)


def test_all_commands_are_there():
    assert sorted(COMMANDS) == sorted(NAMES)


def test_help_is_fast_and_does_not_import_torch():
    """Processor time, not time on the wall: other work on the machine does not count. Best of three."""
    code = (
        "import sys; sys.argv = ['brickwork', '--help']\n"
        "from brickwork.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted(m for m in sys.modules if m in "
        "('torch', 'transformers', 'numpy', 'sklearn', 'rich', 'pyarrow')), file=sys.stderr)"
    )
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.stderr.strip() == "[]"
    assert min(spent) < 0.3
    assert all(name in done.stdout for name in NAMES)


def test_help_documents_every_exit_code(brickwork):
    page = brickwork("--help")
    assert page.code == 0
    for code, meaning in EXIT_CODES.items():
        assert f"{code}  {meaning}" in page.out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_an_example_and_quiet(brickwork, name):
    page = brickwork(name, "--help")
    assert page.code == 0
    _, _, examples = page.out.partition("Example:\n")
    assert f"$ brickwork {name}" in examples
    assert "--quiet" in page.out


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_only_use_options_that_exist(name):
    """Each word of an example that looks like an option must be one of the command."""
    command = COMMANDS[name]
    known = {name for parameter in command.params for name in parameter.opts}
    lines = [line.split("$", 1)[1].split() for line in command.epilog.splitlines() if "$" in line]
    assert lines
    for words in lines:
        assert words[:2] == ["brickwork", name]
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("name", [v for v in NAMES if v not in ("demo", "serve", "export", "inspect")])
def test_commands_whose_output_is_data_give_json(name):
    assert "--json" in {name for parameter in COMMANDS[name].params for name in parameter.opts}


def test_both_ways_to_start(brickwork):
    root = Path(__file__).resolve().parents[3]
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"brickwork": "brickwork.cli.main:main"}
    done = subprocess.run(
        [sys.executable, "-m", "brickwork", "data", "--json"], capture_output=True, text=True, check=True
    )
    assert "python" in {entry["name"] for entry in json.loads(done.stdout)}


def test_version(brickwork):
    import brickwork as package

    assert brickwork("--version").out == f"brickwork {package.__version__}\n"
