"""The folder of a run: taken by one training at a time, and gone on with only by the same one."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brickwork.core.config import differences
from brickwork.core.errors import ConfigError
from brickwork.core.files import FolderLock, read_json, remove_leftovers
from brickwork.core.folders import known_folder
from brickwork.data.fingerprints import refuse_other_data
from brickwork.training.checkpoint import STATE, newest_good, steps_saved

CONTENT = "content"  # of the data, in a checkpoint's state
# Settings that a resume may change: they do not change the numbers.
_FREE = {"save_every", "keep", "validate_every", "log_every", "device", "threads", "deterministic"}


def take_folder(cleanup: contextlib.ExitStack, folder: Path, resume: bool) -> None:
    """Locks the folder, and refuses one that :func:`check_free` refuses."""
    check_free(folder, resume)
    cleanup.enter_context(FolderLock(folder, "training"))
    remove_leftovers(folder)
    check_free(folder, resume)


def check_free(folder: Path, resume: bool) -> None:
    """Refuses a folder that holds something else, or a run which is not to be resumed.

    Raises:
        ConfigError: says what it holds.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the run")
    if resume:
        return
    known = known_folder(folder)
    if known.kind in ("index", "segment", "vectors", "checkpoint", "checkpoints"):
        raise ConfigError(
            f"{folder} is no folder for a run: it {known.about}. Choose another folder with --out"
        )
    present = [
        name for name in ("config.json", "metrics.jsonl", "model.safetensors") if (folder / name).exists()
    ]
    present += ["checkpoints"] if steps_saved(folder) else []
    if present:
        raise ConfigError(
            f"{folder} already holds a run ({', '.join(present)}). Go on with it: brickwork resume {folder}; "
            "or choose another folder with --out"
        )


def check_start(folder: Path, settings: dict[str, Any]) -> int:
    """The step to go on from; 0 where nothing was saved.

    Raises:
        ConfigError: the checkpoint was made with settings that would give other numbers.
        DataError: it was made with other data.
    """
    path = newest_good(folder)
    if path is None:
        return 0
    state, settings = read_json(path / STATE), dict(settings)
    content = state.pop(CONTENT, None), settings.pop(CONTENT)
    differing = differences(_flat(state), _flat(settings))
    changes = [change for name, change in differing.items() if name not in _FREE]
    if changes:
        raise ConfigError(
            f"{path} is of another run: {', '.join(changes)}. Use the same, or train in another folder"
        )
    refuse_other_data(str(path), *content)
    return state["step"]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name; those of a stage as ``stages.NAME.steps``."""
    flat = {**settings["train"], "seed": settings["seed"], "examples": settings["examples"]}
    for number, stage in enumerate(settings.get("stages", [])):
        flat |= {
            f"stages.{stage['name']}.{name}": value for name, value in {"place": number, **stage}.items()
        }
    return flat
