"""Training when the machine fails: writes that break, a full disk, a read-only folder (R2, R6)."""

import errno
import os
import resource

import pytest
import torch

from brickwork.core import files
from brickwork.core.errors import ConfigError, ResourceError
from brickwork.training.checkpoint import newest_good
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(
    steps=6, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2, keep=1
)


class Crash(BaseException):
    """The process is gone: no handler of ours may run anything useful after it."""


class Counted:
    """Counts the calls by which files come into being, and crashes at one of them."""

    def __init__(self, monkeypatch, at=None, error=None):
        self.calls = 0
        self.at = at
        self.error = error
        for name in ("fsync", "replace", "chmod"):
            monkeypatch.setattr(files.os, name, self.counted(getattr(os, name)))
        for name in ("mkdtemp", "mkstemp"):
            monkeypatch.setattr(files.tempfile, name, self.counted(getattr(files.tempfile, name)))

    def counted(self, call):
        def counting(*arguments, **options):
            self.calls += 1
            if self.calls == self.at:
                raise self.error or Crash
            return call(*arguments, **options)

        return counting


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training that nothing disturbed, and how many calls make its files."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        system = Toy(dropout=0.3)
        fit(system, toy_data(), CONFIG, tmp_path_factory.mktemp("whole"), seed=0)
    return system.state_dict(), counted.calls


def test_after_a_crash_at_any_call_a_resume_ends_with_the_same_bits(tmp_path, monkeypatch, whole):
    """Every 6th call is tried; with BRICKWORK_KILLS=20, all."""
    expected, calls = whole
    assert calls > 60
    every = 1 if int(os.environ.get("BRICKWORK_KILLS", "0")) >= 20 else 6
    for at in range(1, calls + 1, every):
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            Counted(patch, at)
            with pytest.raises(Crash):
                fit(Toy(dropout=0.3), toy_data(), CONFIG, folder, seed=0)
        system = Toy(dropout=0.3)
        fit(system, toy_data(), CONFIG, folder, seed=0, resume=True)
        for name, value in system.state_dict().items():
            assert torch.equal(value, expected[name]), f"{name} after a crash at call {at}"
        left = [path.name for path in folder.rglob(".partial-*")]
        assert left == [], f"left after a crash at call {at}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_refused_write_stops_with_advice_and_keeps_the_last_checkpoint(
    tmp_path, monkeypatch, whole, number
):
    expected, calls = whole
    with monkeypatch.context() as patch:
        Counted(patch, calls - 12, OSError(number, os.strerror(number)))
        with pytest.raises(ResourceError, match="choose another folder") as error:
            fit(Toy(dropout=0.3), toy_data(), CONFIG, tmp_path, seed=0)
    assert error.value.exit_code == 6
    kept = newest_good(tmp_path)
    assert kept is not None
    assert kept.name == "step-00000004"
    system = Toy(dropout=0.3)
    fit(system, toy_data(), CONFIG, tmp_path, seed=0, resume=True)
    assert all(torch.equal(value, expected[name]) for name, value in system.state_dict().items())


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
