import os
import subprocess
import sys
import warnings

import pytest
from typer.testing import CliRunner

from brickwork.api import evaluate as evaluating
from brickwork.cli.main import app
from brickwork.core import distributed, errors


@pytest.fixture
def failing(monkeypatch):
    """``evaluate`` that raises what it is given."""

    def use(error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(evaluating, "evaluate", fail)

    return use


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("option 'x' is wrong; use y"), 2),
        (errors.DataError("row 3 is empty; fill it"), 3),
        (errors.ArtifactError("model.safetensors was refused"), 4),
        (errors.NonFiniteError("term 'a' is NaN at step 7"), 5),
        (errors.ResourceError("the disk is full"), 6),
        (errors.MissingExtraError("onnx", "onnx", "exporting"), 7),
        (errors.BrickworkError("something else"), 1),
    ],
)
def test_an_error_is_one_message_and_its_documented_code(brickwork, failing, error, code):
    failing(error)
    result = brickwork("evaluate", "m", "d")
    assert result.code == code
    assert code in errors.EXIT_CODES
    assert result.err == f"error: {error}\n"
    assert result.out == ""


@pytest.mark.parametrize("code", [130, 143])
def test_a_stop_that_was_asked_for_is_no_error(brickwork, failing, code):
    failing(errors.Interrupted("stopped after step 7, which is saved", code))
    result = brickwork("evaluate", "m", "d")
    assert (result.code, result.err) == (code, "stopped after step 7, which is saved\n")


@pytest.mark.parametrize(("rank", "told"), [(0, "stopped\n"), (1, "")])
def test_of_several_processes_the_first_says_that_they_stopped(brickwork, failing, monkeypatch, rank, told):
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    failing(errors.Interrupted("stopped", 130))
    result = brickwork("evaluate", "m", "d")
    assert (result.code, result.err) == (130, told)


@pytest.mark.parametrize("words", [("--debug", "evaluate", "m", "d"), ("evaluate", "m", "d", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(brickwork, failing, words):
    failing(errors.DataError("row 3"))
    result = brickwork(*words)
    assert result.code == 3
    assert "Traceback" in result.err
    assert result.err.endswith("error: row 3\n")


def test_debug_by_environment(brickwork, failing, monkeypatch):
    failing(errors.DataError("row 3"))
    monkeypatch.setenv("BRICKWORK_DEBUG", "1")
    assert "Traceback" in brickwork("evaluate", "m", "d").err
    monkeypatch.setenv("BRICKWORK_DEBUG", "0")
    assert "Traceback" not in brickwork("evaluate", "m", "d").err


def test_ctrl_c_leaves_with_130(brickwork, failing):
    failing(KeyboardInterrupt())
    result = brickwork("evaluate", "m", "d")
    assert (result.code, result.err) == (130, "stopped\n")


@pytest.mark.parametrize(
    "words",
    [
        ("search", "x" * 300, "query"),
        ("index", "{model}", "{data}", "--out", "{data}/index"),
        ("encode", "{model}", "{data}", "--out", "{data}"),
        ("export", "{model}", "--to", "onnx", "--out", "{data}"),
        ("index", "{model}", "{data}", "--out", "x" * 300),
    ],
)
def test_names_that_no_folder_can_have_are_one_message(brickwork, tmp_path, words):
    from running_server import tiny_model

    places = {"model": tiny_model().save(tmp_path / "model"), "data": tmp_path / "data.txt"}
    places["data"].write_text("some words\n\nand others")
    result = brickwork(*(word.format(**places) for word in words))
    assert result.code in (2, 6)
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) == 1
    assert places["data"].is_file()


def test_a_defect_of_ours_is_not_hidden(brickwork, failing):
    failing(ZeroDivisionError("ours"))
    result = brickwork("evaluate", "m", "d")
    assert result.code == 1
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian",), "Did you mean 'train'?"),
        (("search", "only-an-index"), "Missing argument"),
        (("train", "matryoshka", "--stepz", "3"), "No such option: --stepz"),
        (("search", "i", "q", "--dim", "many"), "'--dim'"),
        (("claims", "matryoshka", "--scale", "huge"), "'huge'"),
    ],
)
def test_wrong_usage_is_2(brickwork, words, message):
    result = brickwork(*words)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "m", "d", "--dims", "48,x"), "--dims='48,x': write whole numbers"),
        (("index", "m", "d", "--out", "o", "--layers", "3,-1"), "--layers='3,-1': write whole numbers"),
        (("evaluate", "m", "d", "--column", "anchor"), "--column 'anchor': write it as role=name"),
        (("index", "m", "d", "--out", "o", "--column", "body=a"), "'body' is no role; known: anchor, group"),
        (
            ("train", "multimodn", "--column", "target=a"),
            "'target' is no role; what a table is to teach is said by --set data.table.targets=NAME",
        ),
        (("evaluate", "m", "d", "--column", "ancor=q"), "did you mean 'anchor'?"),
        (("info", "matrioshka"), "did you mean 'matryoshka'?"),
        (("train", "matryoshka", "--recipe", "smal"), "did you mean 'small'?"),
    ],
)
def test_wrong_values_name_the_option_and_the_way_out(brickwork, words, message):
    result = brickwork(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["export", "run", "--to", "onxx", "--out", "x"], "Did you mean 'onnx'?"),
        (["export", "run", "--to", "zzzz", "--out", "x"], "'bricks'"),
    ],
)
def test_a_value_that_is_no_choice_is_told_with_the_nearest_one(brickwork, words, hint):
    result = brickwork(*words)
    assert result.code == 2
    shown = " ".join(result.err.split())
    assert f"'{words[3]}' is not one of 'sentence-transformers', 'onnx'" in shown
    assert hint in shown
    assert "Value error" not in shown


def test_an_unknown_data_set_is_named(brickwork):
    result = brickwork("data", "nfcorpsu")
    assert result.code == 3
    assert "did you mean 'nfcorpus'?" in result.err


def test_warnings_are_notes_shown_once(brickwork, monkeypatch):
    def warn(*_, **__):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for _ in range(3):
                warnings.warn("12 invalid bytes\n  were replaced", stacklevel=1)
        return {"retrieval": [], "scores": {}}

    monkeypatch.setattr(evaluating, "evaluate", warn)
    result = brickwork("evaluate", "m", "d", "--json")
    assert result.err == "note: 12 invalid bytes were replaced\n"
    assert result.json == {"retrieval": [], "scores": {}}


def test_a_reader_that_goes_away_is_no_error():
    """As with ``brickwork data --json | true``: the other end of the pipe is closed before it reads."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "brickwork", "data", "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("seed", ["-5", "1" + "0" * 30])
def test_a_seed_that_generators_do_not_take(tmp_path, seed):
    words = ["train", "sie", "--recipe", "smoke", "--seed", seed, "--out", str(tmp_path / "run")]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code != 0
    assert f"seed={seed}: it must be from 0 to 9223372036854775807" in " ".join(answer.output.split())
    assert not (tmp_path / "run").exists()
