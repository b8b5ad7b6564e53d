"""Every call that makes a file is interrupted once, by an error and by SIGKILL (R1, R2).

Afterwards the artifact is what it was or what it was to become, never half of it, and doing it again succeeds and
cleans up. The training loop's own saves are in test_training_faults.py and test_training_kill.py.
"""

import contextlib
import errno
import os
import resource
import shutil
import signal

import artifacts
import pytest
from faults import FileCalls, in_child, leftovers, patched

from brickwork.core.errors import BrickworkError, BrickworkWarning


@pytest.fixture(scope="module", params=artifacts.ALL, ids=lambda a: a.name)
def prepared(request, tmp_path_factory):
    """The artifact, a folder in its first state, both states, and how many calls lie between them."""
    artifact = request.param
    place = tmp_path_factory.mktemp(artifact.name)
    artifact.make(place / "first")
    shutil.copytree(place / "first", place / "next")
    with pytest.MonkeyPatch.context() as patch:
        calls = FileCalls(patch)
        artifact.change(place / "next")
    states = artifact.read(place / "first"), artifact.read(place / "next")
    assert states[0] != states[1]
    assert len(calls.names) > 10
    return artifact, place / "first", states, len(calls.names)


def try_again(artifact, folder, states, what):
    """The state after a fault is one of the two; the same change then succeeds and leaves nothing behind."""
    results = artifact.read(folder)
    assert results in states, what
    artifact.change(folder)
    assert artifact.read(folder) == states[1], what
    assert leftovers(folder.parent) == [], what
    return results


def test_killed_at_every_call(prepared, tmp_path, tally, long):
    """SIGKILL in a process of its own: nothing of ours runs after it. In short tests at five of them."""
    artifact, first, states, calls = prepared
    results = []
    points = [*range(1, calls, 1 if long else calls // 4), calls]
    for at in points:
        folder = tmp_path / str(at) / "it"
        shutil.copytree(first, folder)

        def killed(at=at, folder=folder):
            with patched() as patch:
                FileCalls(patch, at)
                artifact.change(folder)

        assert in_child(killed).status == -signal.SIGKILL
        results.append(try_again(artifact, folder, states, f"{artifact.name}, killed at call {at}"))
        shutil.rmtree(folder.parent)
    assert results == sorted(results, key=states.index), "from the old state to the new one at one moment"
    assert set(results) == set(states)
    tally(
        "R1",
        f"SIGKILL at each call in turn that {artifact.verb}: the old state or the new one, whole",
        len(points),
    )


def test_refused_at_every_call(prepared, tmp_path, tally, long):
    """An error of the system (EIO has no advice of its own, ENOSPC does) leaves a whole state at once."""
    artifact, first, states, calls = prepared
    points = [*range(1, calls, 1 if long else calls // 4), calls]
    for at in points:
        folder = tmp_path / str(at) / "it"
        shutil.copytree(first, folder)
        number = (errno.ENOSPC, errno.EIO)[at % 2]

        def refused(at=at, folder=folder, number=number):
            with patched() as patch, contextlib.suppress(BrickworkError, BrickworkWarning):
                FileCalls(patch, at, OSError(number, os.strerror(number)))
                artifact.change(folder)

        child = in_child(refused)
        assert child.status == 0 or (number == errno.EIO and "[Errno 5]" in child.error), child.error
        try_again(artifact, folder, states, f"{artifact.name}, error at call {at}")
        shutil.rmtree(folder.parent)
    tally(
        "R2",
        f"an error at each write, fsync and rename in turn that {artifact.verb}: the state before always loads",
        len(points),
    )


def test_the_kernel_refuses_to_grow_a_file(prepared, tmp_path, tally, long):
    """Real short writes, also in the Rust and C++ that write tensors and Arrow: files may have so many bytes."""
    artifact, first, states, _ = prepared
    largest = max(p.stat().st_size for p in first.rglob("*") if p.is_file())
    sizes = [0, 1, 100, 1000, *(largest * part // 8 for part in range(1, 8)), largest - 1]
    sizes = sizes if long else sizes[::5]
    refused = 0
    for size in sizes:
        folder = tmp_path / str(size) / "it"
        shutil.copytree(first, folder)

        def limited(size=size, folder=folder):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            try:
                artifact.change(folder)
            except (BrickworkError, BrickworkWarning) as error:  # warned: the change stands, tidying did not
                return str(error)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        child = in_child(limited)
        assert child.status == 0, child.error
        if child.value is not None:
            assert "larger than is allowed here" in child.value
            refused += 1
        try_again(artifact, folder, states, f"{artifact.name}, files of at most {size} bytes")
        shutil.rmtree(folder.parent)
    assert refused >= 1
    tally("R2", "writes that the kernel stopped after some bytes (RLIMIT_FSIZE)", refused)
