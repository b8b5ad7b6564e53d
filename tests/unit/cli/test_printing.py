"""What is printed is the user's text as it is: no markup, no control characters, in any encoding; arguments in any too."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest
from rich.table import Table
from typer.testing import CliRunner

from brickwork.api import predict as predict_api
from brickwork.cli import models, output, searching, systems, training
from brickwork.cli.main import app
from brickwork.core.console import decoded, plain_console, styled, visible
from brickwork.core.errors import BrickworkError
from brickwork.index.results import Hit
from brickwork.training.progress import Progress

NASTY = "[red]calm[/b] [final].jpg :smile: \x1b[2J\x9b31m\x07"
SHOWN = r"[red]calm[/b] [final].jpg :smile: \x1b[2J\x9b31m\x07"


def printed(show, *arguments):
    """What a function prints on a wide terminal."""
    held = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(held):
        patch.setenv("COLUMNS", "200")
        show(*arguments)
    return held.getvalue()


def test_predictions_are_shown_as_they_are():
    out = printed(systems._show, ["id", NASTY], [{"id": NASTY, "label": 1.0}])
    assert out.count(SHOWN) == 2


def test_hits_are_shown_as_they_are():
    hit = Hit(title=NASTY, id="x", score=0.5, source="a[b].txt", text=f"text {NASTY}")
    out = printed(searching._show_hits, [hit])
    assert out.count(SHOWN) == 2
    assert "a[b].txt" in out


def test_a_source_that_is_the_title_is_shown_once():
    hit = Hit(title="ls.1.txt", id="x", score=0.5, source="ls.1.txt", text="text")
    assert printed(searching._show_hits, [hit]).splitlines()[0] == " 1  ls.1.txt  0.500"
    named = Hit(title="ls", id="x", score=0.5, source="ls.1.txt", text="text")
    assert printed(searching._show_hits, [named]).splitlines()[0] == " 1  ls  0.500  ls.1.txt"


def test_plans_and_measurements_are_shown_as_they_are():
    assert SHOWN in printed(training._show_plan, {"note": NASTY})
    cell = {"layers": 2, "dim": 4, "ndcg@10": 0.5}
    part = {
        "name": NASTY,
        "queries": 1,
        "documents": 1,
        "cells": [cell],
        "baselines": {NASTY: {"ndcg@10": 0.1}},
    }
    assert (
        printed(
            models._show_evaluation, {"data": {"test": 1}, "retrieval": [part], "scores": {NASTY: 0.5}}
        ).count(SHOWN)
        == 3
    )


def test_a_console_prints_strings_letter_by_letter():
    def show():
        table = Table(NASTY)
        table.add_row(NASTY)
        console = plain_console()
        console.print(NASTY)
        console.print(table)
        console.print(styled((NASTY, "bold"), NASTY))

    assert printed(show).count(SHOWN) == 5


def test_progress_is_shown_as_it_is():
    for terminal in (False, True):
        progress = Progress(plain_console(error=False))
        progress.console.file = io.StringIO()
        progress.console._force_terminal = terminal
        progress.console.width = 300
        progress.start(2, 0)
        progress.stage(NASTY)
        progress.validated(1, {NASTY: 0.5})
        progress.message(NASTY)
        progress.close()
        assert "[red]calm[/b] [final].jpg :smile:" in progress.console.file.getvalue()
        assert "\x1b[2J" not in progress.console.file.getvalue()


@pytest.mark.filterwarnings("default")
def test_errors_and_notes_are_shown_as_they_are(monkeypatch):
    def fails(*args, **kwargs):
        import warnings

        warnings.warn(NASTY, stacklevel=1)
        raise BrickworkError(NASTY)

    monkeypatch.setattr(predict_api, "predict", fails)
    result = CliRunner().invoke(app, ["predict", "m", "d"])
    assert result.stderr == f"note: {SHOWN}\nerror: {SHOWN}\n"


def test_a_line_is_exact_in_a_pipe_and_harmless_on_a_terminal(monkeypatch, capsys):
    output.line(NASTY)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.line(NASTY)
    assert capsys.readouterr().out == f"{NASTY}\n{SHOWN}\n"


def test_visible_keeps_lines_and_letters():
    assert visible("a\tb\nc é 漢 👍") == "a\tb\nc é 漢 👍"
    assert visible("\u202egpj.exe\r\x7f") == r"\u202egpj.exe\r\x7f"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp1252"])
@pytest.mark.parametrize("as_json", [False, True])
def test_every_encoding_prints_every_letter(monkeypatch, encoding, as_json):
    text = "café ☕ 👍 \udce9"
    monkeypatch.setattr("brickwork.representation.load.load", lambda model: model)
    monkeypatch.setattr(predict_api, "generate", lambda model, prompts, **options: [text])
    monkeypatch.setattr(predict_api, "predict", lambda *args, **options: {"id": [text]})
    more = ["--json"] if as_json else []
    for words in (["generate", "m", "so "], ["predict", "m", "d"]):
        result = CliRunner(charset=encoding).invoke(app, [*words, *more])
        assert result.exit_code == 0, result.exception
        if as_json:
            (row,) = json.loads(result.stdout_bytes.decode(encoding))
            assert text in row.values()
        else:
            assert "caf" in result.stdout_bytes.decode(encoding)


def test_arguments_are_text_whatever_bytes_they_came_as():
    assert decoded("café") == "café"
    assert decoded(os.fsdecode("café".encode("latin-1"))) == "caf�"
    assert decoded("caf\udcc3\udca9") == "café"  # UTF-8 that a locale of ASCII could not read
    assert decoded("a\ud800b") == "a�b"


_PROGRAM = """
import sys
from brickwork.api import predict
from brickwork.representation import load
load.load = lambda model: model
predict.generate = lambda model, prompts, **options: [repr([p.encode("utf-8") for p in prompts])]
from brickwork.cli.main import main
main()
"""


@pytest.mark.parametrize("settings", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_a_prompt_of_other_bytes_reaches_generate_as_text(settings):
    words = [sys.executable, "-c", _PROGRAM, "generate", "m", "caf\u00e9".encode(), b"caf\xe9"]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **settings}, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert rb"b'caf\xc3\xa9', b'caf\xef\xbf\xbd'" in done.stdout


@pytest.mark.parametrize("command", [["list"], ["info", "multimodn"], ["data"]])
def test_pages_of_the_command_line_fit_ascii(command):
    result = CliRunner(charset="ascii").invoke(app, command)
    assert result.exit_code == 0, result.exception
    result.stdout_bytes.decode("ascii")


_LOADS = """
import sys
from brickwork.api import predict
from brickwork.representation import load

def generate(model, prompts, **options):
    from transformers import BertModel
    BertModel.from_pretrained(model)
    return list(prompts)

load.load = lambda model: model
predict.generate = generate
from brickwork.cli.main import main
main()
"""


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_quiet_switches_off_the_bars_of_other_libraries(tmp_path, quiet):
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertModel(BertConfig(**sizes, intermediate_size=8)).save_pretrained(tmp_path)
    words = [sys.executable, "-c", _LOADS, "generate", str(tmp_path), "so", *quiet]
    environment = {
        name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"
    }
    done = subprocess.run(words, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert (b"%|" in done.stderr) != bool(quiet)
    assert not quiet or done.stderr == b""


def test_quiet_still_tells_what_was_lost(tmp_path):
    """Rows without a usable score are left out of the training: that is said with ``-q`` as well, and nothing else is."""
    scores = ("0.5", "nan", "0.9")
    rows = "".join(f"a {number},b {number},{scores[number % 3]}\n" for number in range(60))
    (tmp_path / "s.csv").write_text("sentence1,sentence2,score\n" + rows)
    options = ["--recipe", "static", "--set", "train.steps=2", "--set", "train.batch_size=8", "-q"]
    arguments = ["train", "matryoshka", "--data", tmp_path / "s.csv", "--out", tmp_path / "r", *options]
    done = subprocess.run(
        [sys.executable, "-m", "brickwork", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (told,) = done.stderr.splitlines()
    assert told.startswith("note: 20 skipped: 'score' is empty")
