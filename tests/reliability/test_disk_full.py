"""A disk that fills up at every point of a change, and one that may not be written: on a real small tmpfs (R6)."""

import functools
import os
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import artifacts
import pytest
from faults import files_below, in_child, leftovers

from brickwork.core.errors import ResourceError
from brickwork.training.checkpoint import newest_good
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

KILOBYTE = 1024


class Disk:
    """A mounted tmpfs whose size can be changed."""

    def __init__(self, path):
        self.path = path

    def resize(self, kilobytes: int) -> None:
        self._mount(f"remount,rw,size={kilobytes}k")

    def read_only(self) -> None:
        self._mount("remount,ro")

    def used(self) -> int:
        """Kilobytes that are taken."""
        state = os.statvfs(self.path)
        return (state.f_blocks - state.f_bfree) * state.f_frsize // KILOBYTE

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path, not_here):
    """Needs root; elsewhere the same errors come from tests/reliability/test_write_faults.py."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(path)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(command, capture_output=True).returncode
    ):
        not_here(
            "R6", "a small tmpfs filled up", "mounting one needs root; the errors are injected instead (R2)"
        )
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def told(work):
    """The message of the error of ours that ``work`` ends with, or of its warning, or ``None``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            work()
        except ResourceError as error:
            return f"{error} (exit code {error.exit_code})"
    return str(caught[0].message) if caught else None


@pytest.mark.parametrize("artifact", artifacts.ALL, ids=lambda a: a.name)
def test_a_disk_that_fills_up(artifact, disk, tally, long):
    """From no room at all to enough, a few pages more each time."""
    folder, first = disk.path / "it", disk.path.parent / "first"
    artifact.make(first)
    shutil.copytree(first, folder)
    artifact.change(folder)
    states = artifact.read(first), artifact.read(folder)
    full, refused = disk.used(), 0
    shutil.rmtree(folder)
    shutil.copytree(first, folder)
    least = disk.used()
    step = 4 if long else max(16, full // 4)
    for room in range(least, 3 * full, step):
        disk.resize(room)
        child = in_child(lambda: told(lambda: artifact.change(folder)))
        assert child.status == 0, f"room for {room} of {full} kB: {child.error}"
        disk.resize(64 * KILOBYTE)
        assert artifact.read(folder) in states
        if child.value is None:
            break
        assert "the disk is full; free some space" in child.value
        assert "(exit code 6)" in child.value or "the change is stored" in child.value
        refused += 1
        artifact.change(folder)
        assert artifact.read(folder) == states[1], "with room again"
        assert leftovers(disk.path) == []
        shutil.rmtree(folder)
        shutil.copytree(first, folder)
    assert child.value is None, "with enough room it succeeds"
    assert refused >= 1
    tally("R6", f"disks that were full in the middle of what {artifact.verb}", refused)


@pytest.mark.parametrize("artifact", artifacts.ALL, ids=lambda a: a.name)
def test_a_disk_that_may_not_be_written(artifact, disk, tally):
    folder = disk.path / "it"
    artifact.make(folder)
    before = {path: path.read_bytes() for path in files_below(folder)}
    state = artifact.read(folder)
    disk.read_only()
    child = in_child(lambda: told(lambda: artifact.change(folder)))
    assert child.status == 0, child.error
    assert "read-only" in child.value
    assert artifact.read(folder) == state, "and it can still be read"
    assert {path: path.read_bytes() for path in files_below(folder)} == before
    tally("R6", "changes on a file system that is read-only: told, nothing changed, reading works", 1)


def test_training_on_a_disk_that_fills_up(disk, tally, long):
    config = TrainConfig(
        steps=6, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2, keep=1
    )
    expected = Toy(dropout=0.3)
    fit(expected, toy_data(), config, disk.path / "whole", seed=0)
    full, stopped = disk.used(), 0
    shutil.rmtree(disk.path / "whole")
    for room in range(4, 3 * full, 4 if long else full // 2):
        disk.resize(room)
        folder = disk.path / f"run-{room}"
        child = in_child(
            lambda folder=folder: told(lambda: fit(Toy(dropout=0.3), toy_data(), config, folder, seed=0))
        )
        assert child.status == 0, f"room for {room} of {full} kB: {child.error}"
        disk.resize(64 * KILOBYTE)
        if child.value is None:
            break
        assert "the disk is full" in child.value
        system = Toy(dropout=0.3)
        newest_good(folder)  # raises where checkpoints are there and none is good
        fit(system, toy_data(), config, folder, seed=0, resume=True)
        assert all(value.equal(expected.state_dict()[name]) for name, value in system.state_dict().items())
        shutil.rmtree(folder)
        stopped += 1
    assert child.value is None
    tally("R6", "trainings stopped by a full disk: advice, then resumed to the same bits", stopped)


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["may be read", "may not be entered"])
def test_a_folder_of_somebody_else(tally, mode):
    """As a user without rights: in a fork that gives up being root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    place = Path(tempfile.mkdtemp())
    place.chmod(mode)

    def as_nobody():
        os.setgid(65534)
        os.setuid(65534)
        return [told(functools.partial(one.make, place / one.name)) for one in artifacts.ALL]

    try:
        child = in_child(as_nobody)
        assert child.status == 0, child.error
        assert all("no permission" in message for message in child.value)
        assert list(place.iterdir()) == []
    finally:
        place.rmdir()
    tally("R6", "folders without permission: told", len(child.value))
