"""Faults that the reliability tests inject: calls that fail, processes that are killed, files that are damaged.

Importing torch takes seconds and forking none, so what has to happen in a process of its own happens in a fork.
"""

import builtins
import contextlib
import gc
import json
import os
import pathlib
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MEGABYTE = 2**20


class FileCalls:
    """Counts the calls by which files come into being, and stops at one of them.

    ``at``: the number of the call, from 1; ``None`` only counts. ``fault``: an exception to raise there, or
    ``"kill"`` for SIGKILL to this process. A write that is stopped has written half. ``names`` lists the calls.
    """

    SYSTEM = ("fsync", "replace", "rename", "chmod", "link", "unlink", "mkdir", "rmdir")
    TEMPORARY = ("mkdtemp", "mkstemp")

    def __init__(self, monkeypatch, at: int | None = None, fault: BaseException | str = "kill"):
        import pyarrow.parquet
        import safetensors.torch

        self.names: list[str] = []
        self.at = at
        self.fault = fault
        for name in self.SYSTEM:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        for name in self.TEMPORARY:
            monkeypatch.setattr(tempfile, name, self._counted(name, getattr(tempfile, name)))
        for place, name in (
            (pathlib.Path, "write_text"),
            (pathlib.Path, "write_bytes"),
            (safetensors.torch, "save_file"),
        ):
            monkeypatch.setattr(place, name, self._written(name, getattr(place, name)))
        for place, name in ((pyarrow, "OSFile"), (pyarrow.parquet, "write_table")):
            monkeypatch.setattr(place, name, self._counted(name, getattr(place, name)))
        opened = builtins.open

        def counting_open(path, mode="r", *arguments, **options):
            if set(mode) & set("wax+"):
                self._meet("open")
            return opened(path, mode, *arguments, **options)

        monkeypatch.setattr(builtins, "open", counting_open)

    def _meet(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) != self.at:
            return
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise self.fault

    def _counted(self, name: str, call: Callable) -> Callable:
        def counting(*arguments, **options):
            self._meet(name)
            return call(*arguments, **options)

        return counting

    def _written(self, name: str, call: Callable) -> Callable:
        def counting(*arguments, **options):
            if len(self.names) + 1 == self.at:
                call(*arguments, **options)
                path = next(a for a in arguments if isinstance(a, Path))
                os.truncate(path, path.stat().st_size // 2)
            self._meet(name)
            return call(*arguments, **options)

        return counting


@dataclass(frozen=True)
class Child:
    """How a fork ended: ``status`` as of subprocess (negative: a signal), ``value`` of the work, or its ``error``.

    ``grown``: MB by which its memory grew at the most.
    """

    status: int
    value: Any
    error: str
    grown: float


def _used_up() -> list[bytearray]:
    """Takes what earlier work has left free in this process, so that a limit on its memory is one on new work.

    A quarter of a megabyte is given back: without it not even an error can be raised.
    """
    size = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
    ballast = []
    for piece in (1 << 20, 1 << 16, 1 << 13):  # earlier work leaves holes of all sizes
        with contextlib.suppress(MemoryError):
            while True:
                ballast.append(bytearray(piece))
    del ballast[-32:]
    return ballast


def in_child(
    work: Callable[[], Any], *, memory: float | None = None, tight: bool = False, seconds: float = 120
) -> Child:
    """What ``work`` gives (JSON values) in a fork that is killed after ``seconds``.

    ``memory``: MB of address space that it may take beyond what this process has; ``tight``: what earlier tests have left
    free in it is used up before, so that even 0 is a limit.
    """
    gc.collect()
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 on: the fork of a process with threads
        child = os.fork()
    if child == 0:
        gc.freeze()  # what the parent has is not the child's to end: engines of other tests have threads that a fork lacks
        os.close(receive)
        code, answer = 1, {"value": None, "error": "", "grown": 0.0}
        try:
            start = psutil.Process().memory_info()
            ballast = _used_up() if tight else []
            if memory is not None:
                limit = start.vms + int(memory * MEGABYTE)
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            answer["value"] = work()
            code = 0
        except BaseException:
            answer["error"] = traceback.format_exc(limit=-12)
        del ballast
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer["grown"] = max(0.0, (peak - start.rss) / MEGABYTE)
        with os.fdopen(send, "w") as out:
            out.write(json.dumps(answer))
        os._exit(code)
    os.close(send)
    deadline, parts = time.monotonic() + seconds, []
    with os.fdopen(receive, "rb", buffering=0) as answers:
        os.set_blocking(answers.fileno(), False)
        while True:
            part = answers.read(65536)
            if part == b"":
                break
            if part:
                parts.append(part)
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                break
            else:
                time.sleep(0.002)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answer = json.loads(b"".join(parts)) if status >= 0 else {"value": None, "error": "killed", "grown": 0.0}
    return Child(status, **answer)


@contextlib.contextmanager
def patched() -> Iterator[Any]:
    """A monkeypatch for one attempt, undone after it."""
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        yield patch


def flip(path: Path, rng: random.Random) -> str:
    """Turns one bit over."""
    data = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} of {path.name} flipped"


def cut(path: Path, rng: random.Random) -> str:
    """Leaves a part of the file, from its start."""
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def zero(path: Path, rng: random.Random) -> str:
    """Zeroes the bytes from some place to the end, as a file system may after a power cut."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    return f"{path.name} zero from byte {start}"


def swap(path: Path, rng: random.Random) -> str:
    """Puts another file of the same folder, or of the folder above, in its place."""
    others = [p for place in (path.parent, path.parent.parent) for p in sorted(place.iterdir())]
    others = [p for p in others if p.is_file() and p != path]
    if not others:
        return cut(path, rng)
    other = rng.choice(others)
    path.write_bytes(other.read_bytes())
    return f"{path.name} replaced by {other.name}"


_INTERESTING = (0, 1, -1, 2**7, 2**15, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed: single ones, runs removed, doubled, moved or overwritten, numbers made extreme."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        start = rng.randrange(len(out))
        stop = min(len(out), start + rng.choice((1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(7)
        if kind == 0:
            out[start] = rng.randrange(256)
        elif kind == 1:
            out[start] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[start:stop]
        elif kind == 3:
            out[start:start] = out[start:stop]
        elif kind == 4:
            out[start:stop] = bytes(rng.randrange(256) for _ in range(stop - start))
        elif kind == 5:
            number = rng.choice(_INTERESTING)
            out[start:stop] = number.to_bytes(8, "little", signed=True)[: stop - start]
        else:
            out[start:stop] = str(rng.choice(_INTERESTING)).encode()
    return bytes(out)


def mutate_json(value: Any, rng: random.Random) -> Any:
    """The value with one of its parts replaced by something that does not belong there."""
    strange = [None, True, -1, 0, 2**62, 1e308, "", "../../x", "x" * 1000, [], {}, [[]], {"a": []}, "\ud800"]
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.05:
            return {**value, f"{key}_": value[key]}
        return {**value, key: mutate_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value[:place] + value[place + 1 :]
        return [mutate_json(v, rng) if i == place else v for i, v in enumerate(value)]
    return rng.choice(strange)


def files_below(folder: Path) -> list[Path]:
    """Every file, sorted."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def leftovers(folder: Path) -> list[str]:
    """What interrupted writes left, and locks."""
    return sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.name.startswith((".partial-", ".lock"))
    )
