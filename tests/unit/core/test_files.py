"""Files: old or new, never half; hostile tensor files refused before anything is allocated."""

import builtins
import errno
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import pytest
import torch

from brickwork.core import files
from brickwork.core.errors import ArtifactError, ResourceError


def test_atomic_path_replaces_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("interrupted")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "os.chmod"])
def test_a_failing_system_call_leaves_the_old_file(tmp_path, monkeypatch, call):
    target = tmp_path / "a.json"
    files.write_json(target, {"value": 1})

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, call.removeprefix("os."), fail)
    with pytest.raises(ResourceError, match="disk is full"):
        files.write_json(target, {"value": 2})
    monkeypatch.undo()
    assert files.read_json(target) == {"value": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_folder_keeps_the_old_one_when_the_exchange_fails(tmp_path, monkeypatch):
    target = tmp_path / "index"
    with files.atomic_folder(target) as temporary:
        (temporary / "x").write_text("old")
    replace = os.replace
    calls = []

    def fail_second(source, destination):
        calls.append(destination)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken")
        return replace(source, destination)

    monkeypatch.setattr(files.os, "replace", fail_second)
    with pytest.raises(OSError, match="broken"), files.atomic_folder(target) as temporary:
        (temporary / "x").write_text("new")
    assert (target / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["index"]


def test_read_only_folder_is_told_clearly(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(ResourceError, match="no permission to write here; choose another folder"):
        files.write_text(tmp_path / "a", "x")


def test_tensors_come_back_bit_for_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4),
        "b": torch.tensor(5),
        "c": torch.zeros(0, 2),
        "d": torch.randn(2).bfloat16(),
    }
    files.save_tensors(tmp_path / "t.safetensors", tensors, {"note": "x"})
    loaded = files.load_tensors(tmp_path / "t.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def _file(tmp_path, header: dict | bytes, data: bytes = b"", length: int | None = None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


class _Canary:
    def __reduce__(self):
        return (os.mkdir, ("canary-was-created",))


def test_hostile_tensor_files_are_refused_before_allocation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    cases = {
        "huge shape": ({"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}}, b"abcd"),
        "overflow": ({"a": {"dtype": "F32", "shape": [2**33, 2**33], "data_offsets": [0, 0]}}, b""),
        "negative": ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"abcd"),
        "outside": ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"abcd"),
        "overlap": ({"a": good, "b": good}, b"abcd"),
        "hole": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"abcdefgh"),
        "trailing": ({"a": good}, b"abcd" + b"#!/bin/sh"),
        "unknown type": ({"a": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}, b"abcd"),
        "not an object": (b"[1, 2]", b""),
        "deep": (b"{" + b'"a":{' * 100_000, b""),
    }
    tracemalloc.start()
    for name, (header, data) in cases.items():
        with pytest.raises(ArtifactError, match=r"hostile\.safetensors was refused"):
            files.load_tensors(_file(tmp_path, header, data))
            pytest.fail(name)
    with pytest.raises(ArtifactError, match="truncated"):
        files.load_tensors(_file(tmp_path, {"a": good}, b"abcd", length=200 * 2**20))
    (tmp_path / "p.safetensors").write_bytes(pickle.dumps(_Canary()))
    with zipfile.ZipFile(tmp_path / "z.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Canary()))
    torch.save({"a": torch.zeros(1)}, tmp_path / "t.safetensors")
    for name in ("p", "z", "t"):
        with pytest.raises(ArtifactError, match="pickle or a zip archive"):
            files.load_tensors(tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "canary-was-created").exists()
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("first_bytes", [b"\x80", b"PK"])
def test_a_good_file_may_begin_like_a_pickle_or_a_zip(tmp_path, first_bytes):
    # A safetensors file begins with the length of its header, which may be any number.
    length = int.from_bytes(first_bytes, "little") + (0 if len(first_bytes) == 2 else 256)
    header = json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode().ljust(length)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + header + b"\x07")
    assert files.load_tensors(tmp_path / "x.safetensors")["x"].tolist() == [7]


def test_every_truncation_of_a_tensor_file_is_refused(tmp_path):
    path = tmp_path / "t.safetensors"
    files.save_tensors(path, {"a": torch.arange(4.0)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError):
            files.load_tensors(path)


def test_json_that_is_missing_broken_or_too_long_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="is missing"):
        files.read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match="not valid JSON"):
        files.read_json(tmp_path / "bad.json")
    with pytest.raises(ArtifactError, match="more than the 3"):
        files.read_json(tmp_path / "bad.json", max_bytes=3)
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "nan.json", {"loss": float("nan")})
    assert not (tmp_path / "nan.json").exists()


def test_a_lock_held_by_a_living_process_is_respected_and_a_dead_ones_is_taken(tmp_path):
    code = (
        "import sys; from brickwork.core.files import FolderLock\n"
        "with FolderLock(sys.argv[1], 'training'):\n    print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    with (
        pytest.raises(ResourceError, match=f"process {child.pid} .* is training there"),
        files.FolderLock(tmp_path),
    ):
        pass
    child.kill()  # leaves its lock behind
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert (tmp_path / ".lock").exists()
    with files.FolderLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_lock_is_held_once_in_a_process_too(tmp_path):
    with files.FolderLock(tmp_path, "indexing"):
        with (
            pytest.raises(ResourceError, match=f"process {os.getpid()} .* is indexing there"),
            files.FolderLock(tmp_path),
        ):
            pass
        assert (tmp_path / ".lock").exists()
    for content in ("", "[1]", '{"pid": 1, "host": "elsewhere", "purpose": "training"}'):
        (tmp_path / ".lock").write_text(content)  # what is in the file says nothing about whether it is held
        with files.FolderLock(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


RACE = """
import os, sys, time
from brickwork.core.errors import ResourceError
from brickwork.core.files import FolderLock
folder, trials = sys.argv[1], int(sys.argv[2])
entered = 0
for trial in range(trials):
    place = os.path.join(folder, str(trial))
    while not os.path.exists(os.path.join(folder, f"go-{trial}")):
        time.sleep(0.0005)
    try:
        with FolderLock(place, "racing"):
            inside = os.open(os.path.join(folder, f"inside-{trial}"), os.O_CREAT | os.O_EXCL)  # one at a time, or it fails
            entered += 1
            time.sleep(0.003)
            os.close(inside)
            os.unlink(os.path.join(folder, f"inside-{trial}"))
    except ResourceError:
        pass
    open(os.path.join(folder, f"done-{trial}-{os.getpid()}"), "w").close()
print(entered)
"""


def test_one_of_six_processes_enters_a_folder_with_a_stale_lock(tmp_path):
    """A lock that a dead process left, as old and as new versions write it, and six that come at the same moment."""
    trials = 60
    for trial in range(trials):
        (tmp_path / str(trial)).mkdir()
        stale = {"pid": 2**22 + 1, "started": 1.0, "host": os.uname().nodename, "purpose": "adding"}
        (tmp_path / str(trial) / ".lock").write_text(json.dumps(stale) if trial % 2 else "")
    command = [sys.executable, "-c", RACE, str(tmp_path), str(trials)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    try:
        for trial in range(trials):
            (tmp_path / f"go-{trial}").touch()
            while len(list(tmp_path.glob(f"done-{trial}-*"))) < 6:
                assert not any(racer.poll() for racer in racers), "two were inside at once"
                time.sleep(0.001)
        entered = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
            racer.stdout.close()
    assert sum(entered) >= trials
    assert not list(tmp_path.glob("*/.lock"))


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    (tmp_path / ".partial-abc").write_text("half")
    (tmp_path / ".partial-folder").mkdir()
    (tmp_path / "mine").write_text("whole")
    assert files.remove_leftovers(tmp_path) == 2
    assert os.listdir(tmp_path) == ["mine"]


def test_nothing_here_opens_files_for_writing_in_place(tmp_path, monkeypatch):
    """The target itself is never opened for writing: only its temporary sibling is."""
    target = tmp_path / "a.json"
    opened = []
    real = builtins.open

    def spy(path, mode="r", *args, **kwargs):
        if set(mode) & set("wax+"):
            opened.append(str(path))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", spy)
    files.write_json(target, 1)
    assert str(target) not in opened
