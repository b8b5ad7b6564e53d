"""What is shown on a terminal and elsewhere."""

import io
import shutil

from rich.console import Console

import brickwork.training.progress as progress_module
from brickwork.training.checkpoint import checkpoint_path
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from brickwork.training.progress import Progress
from toy_system import Toy, toy_data


def console(**options):
    return Console(file=io.StringIO(), width=160, highlight=False, **options)


def test_plain_lines_come_every_few_seconds_and_at_the_end(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    shown = Progress(console())
    shown.start(steps=100, done=0)
    shown.validated(0, {"ndcg@10": 0.25})
    for step in range(1, 101):
        clock[0] = step * 0.5
        shown.update(step, loss=1 / step, examples_per_second=1234.4)
    shown.close()
    shown.message("[measuring]")
    lines = shown.console.file.getvalue().splitlines()
    assert lines[0] == "step 0/100  ndcg@10 0.250"
    assert lines[1] == ("step 10/100  loss 0.1000  1,234 examples/s  elapsed 0:05  left 0:45")
    assert len(lines) == 1 + 10 + 1
    assert lines[-1] == "[measuring]"


def test_of_many_numbers_the_first_are_shown():
    shown = Progress(console())
    shown.start(steps=10, done=0)
    shown.validated(0, {f"m{n}": n / 10 for n in range(9)})
    (line,) = shown.console.file.getvalue().splitlines()
    assert line == "step 0/10  m0 0.000  m1 0.100  m2 0.200  m3 0.300  m4 0.400  m5 0.500  and 3 more"


def test_time_left_counts_from_where_a_resume_began(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    shown = Progress(console())
    shown.start(steps=1000, done=990)
    clock[0] = 7200.0
    shown.update(995, loss=1.0, examples_per_second=1.0)
    assert "elapsed 2:00:00  left 2:00:00" in shown.console.file.getvalue()


def test_a_terminal_gets_a_bar_with_everything():
    shown = Progress(console(force_terminal=True))
    shown.start(steps=10, done=0)
    shown.validated(0, {"ndcg@10": 0.5})
    shown.update(4, loss=0.125, examples_per_second=88.0)
    shown.close()
    text = shown.console.file.getvalue()
    for part in ("4/10", "loss 0.1250", "ndcg@10 0.500 at 0", "88 examples/s", "left"):
        assert part in text


def test_the_loop_says_what_it_runs_on(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shown = Progress(console())
    config = TrainConfig(steps=2, batch_size=8, precision="fp32", device="cpu")
    fit(
        Toy(), toy_data(), config, tmp_path, seed=0, progress=shown, validate=lambda system: {"quality": 0.75}
    )
    lines = shown.console.file.getvalue().splitlines()
    assert lines[0] == "cpu, 1 process, 1 thread (OMP_NUM_THREADS); fp32, as asked for"
    assert (
        lines[1]
        == "a checkpoint after every step (train.save_every); validation every 100 steps (train.validate_every)"
    )
    assert any(line.startswith("step 2/2  loss ") for line in lines)
    assert lines[-1] == "step 2/2  quality 0.750"


def test_without_progress_nothing_is_printed(tmp_path, capfd):
    config = TrainConfig(steps=2, batch_size=8, precision="fp32", device="cpu")
    fit(Toy(), toy_data(), config, tmp_path, seed=0)
    assert capfd.readouterr() == ("", "")


def test_a_resume_says_where_it_goes_on(tmp_path):
    config = TrainConfig(
        steps=4, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2
    )

    def printed():
        shown = Progress(console())
        fit(Toy(), toy_data(), config, tmp_path, seed=0, resume=True, progress=shown)
        return shown.console.file.getvalue()

    assert "goes on" not in printed()
    assert "all 4 steps were taken before" in printed()
    # The newest checkpoint is lost: the one before it is what there is.
    shutil.rmtree(checkpoint_path(tmp_path, 4))
    assert "goes on after step 2 of 4" in printed()
