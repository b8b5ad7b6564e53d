"""What a run leaves to read: ``metrics.jsonl``, ``env.json``, ``nonfinite.json``, TensorBoard events."""

import datetime
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import MissingExtraError
from brickwork.core.files import os_errors, plain, write_json, write_text
from brickwork.core.hardware import cpu_features, cpu_name

_PACKAGES = ("brickwork", "torch", "lightning-fabric", "transformers", "tokenizers", "safetensors", "numpy")


class Records:
    """Lines of ``metrics.jsonl``, one JSON object each with its ``step``.

    Opening keeps the lines up to ``step`` (where training starts), so that after a resume no step is there
    twice.
    """

    def __init__(self, folder: Path, *, step: int, tensorboard: bool = False):
        self._path = folder / "metrics.jsonl"
        kept = [line for line in _lines(self._path) if 0 < step >= json.loads(line)["step"]]
        self._validated = {r["step"] for r in map(json.loads, kept) if "validation" in r}
        write_text(self._path, "".join(line + "\n" for line in kept))
        self._events = _event_writer(folder / "tensorboard", step + 1) if tensorboard else None

    def has_validation(self, step: int) -> bool:
        """Whether the lines that were kept say how good the system was at ``step``."""
        return step in self._validated

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends a record. Numbers that are not finite become ``null``, as JSON has none.

        Raises:
            ResourceError: the disk is full.
        """
        record = plain({"step": step, **values})
        with os_errors(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
        if self._events is not None:
            for name, value in _flat(record):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Ends the TensorBoard events."""
        if self._events is not None:
            self._events.close()


def _lines(path: Path) -> list[str]:
    """The complete lines; a last one cut short by a kill is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            whole = isinstance(json.loads(line)["step"], int)
        except (ValueError, KeyError, TypeError):
            continue
        if whole:
            lines.append(line)
    return lines


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    flat: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat.append((prefix + name, float(value)))
    return flat


def _event_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboard", "tensorboard", "writing TensorBoard events") from None
    with os_errors(folder):
        return SummaryWriter(str(folder), purge_step=first_step)


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, processor, threads, git commit of the working folder and the command, for ``env.json``."""
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(_versions()),
        "processor": cpu_name(),
        "processor_features": list(cpu_features()),
        "device": device_name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


@functools.cache
def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def write_replay(folder: Path, step: int, indices: list[int], values: Mapping[str, Any]) -> Path:
    """Writes ``nonfinite.json``: the step and the rows with which a non-finite number can be met again."""
    path = folder / "nonfinite.json"
    write_json(path, {"step": step, "indices": indices, **plain(values)})
    return path
