"""Training when the machine fails: writes that break, a full disk, a read-only folder (R1, R2, R6)."""

import errno
import os
import resource
import signal

import pytest
import torch
from faults import FileCalls, in_child, patched

from brickwork.core.errors import ConfigError, ResourceError
from brickwork.training.checkpoint import newest_good
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(
    steps=6, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2, keep=1
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training that nothing disturbed, and how many calls make its files."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        counting = FileCalls(patch)
        system = Toy(dropout=0.3)
        fit(system, toy_data(), CONFIG, folder, seed=0)
    return system.state_dict(), len(counting.names)


def test_after_a_kill_at_any_call_a_resume_ends_with_the_same_bits(tmp_path, whole, tally, long):
    """SIGKILL in a fork; every 24th call is tried, in long tests every one."""
    expected, calls = whole
    assert calls > 60
    points = range(1, calls + 1, 1 if long else 24)
    for at in points:
        folder = tmp_path / str(at)

        def killed(at=at, folder=folder):
            with patched() as patch:
                FileCalls(patch, at)
                fit(Toy(dropout=0.3), toy_data(), CONFIG, folder, seed=0)

        assert in_child(killed).status == -signal.SIGKILL
        system = Toy(dropout=0.3)
        fit(system, toy_data(), CONFIG, folder, seed=0, resume=True)
        for name, value in system.state_dict().items():
            assert torch.equal(value, expected[name]), f"{name} after a kill at call {at}"
        left = [path.name for path in folder.rglob(".partial-*")]
        assert left == [], f"left after a kill at call {at}"
    tally(
        "R1",
        "SIGKILL at each call in turn that makes files of a training: resumed to the same bits",
        len(points),
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_refused_write_stops_with_advice_and_keeps_the_last_checkpoint(
    tmp_path, monkeypatch, whole, number, tally
):
    expected, calls = whole
    with monkeypatch.context() as patch:
        FileCalls(patch, calls - 15, OSError(number, os.strerror(number)))
        with pytest.raises(ResourceError, match="choose another folder") as error:
            fit(Toy(dropout=0.3), toy_data(), CONFIG, tmp_path, seed=0)
    assert error.value.exit_code == 6
    kept = newest_good(tmp_path)
    assert kept is not None
    assert kept.name == "step-00000004"
    system = Toy(dropout=0.3)
    fit(system, toy_data(), CONFIG, tmp_path, seed=0, resume=True)
    assert all(torch.equal(value, expected[name]) for name, value in system.state_dict().items())
    tally(
        "R6", "a full disk, quota or read-only system in training: advice, last checkpoint good, resumed", 1
    )


def test_a_checkpoint_that_does_not_fit_on_the_disk(tmp_path):
    """The kernel itself refuses: files may not grow beyond what the first checkpoint needed."""

    class Growing(Toy):
        """Its weights need more room from step 3 on."""

        def after_step(self, step):
            if step == 2:
                self.register_buffer("more", torch.zeros(200_000))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    try:
        with pytest.raises(ResourceError, match="larger than is allowed here"):
            fit(Growing(), toy_data(), CONFIG, tmp_path, seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = newest_good(tmp_path)
    assert kept is not None
    assert kept.name == "step-00000002"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_the_metrics_file_on_a_full_disk(tmp_path):
    """``/dev/full`` answers every write with ENOSPC."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def fill(system):
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
        return {"quality": 1.0}

    with pytest.raises(ResourceError, match=r"metrics\.jsonl: the disk is full"):
        fit(Toy(), toy_data(), CONFIG, tmp_path, seed=0, validate=fill)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="no permission"):
        fit(Toy(), toy_data(), CONFIG, tmp_path / "run", seed=0)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        fit(Toy(), toy_data(), CONFIG, tmp_path / "run", seed=0)
    assert (tmp_path / "run").read_text() == "mine"
