"""Checkpoints: everything that a resume needs, complete or not there at all.

``checkpoints/step-00000200/`` holds ``model.safetensors``, ``optimizer.safetensors``, ``state.json`` and,
written last, ``manifest.json`` with the SHA-256 of each. The folder appears by one rename. The schedule, the
random numbers and the order of the data are pure functions of the step in ``state.json`` and need no state of
their own.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, warn
from brickwork.core.files import (
    atomic_folder,
    load_tensors,
    os_errors,
    read_json,
    remove_leftovers,
    save_tensors,
    sha256_file,
    write_json,
)
from brickwork.training.devices import gathered, is_shared, shared_like

FORMAT = 1
MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)
_FILES = (MODEL, OPTIMIZER, STATE)


def checkpoint_path(folder: Path | str, step: int) -> Path:
    """Where the checkpoint of ``step`` is kept in a run folder."""
    return Path(folder) / "checkpoints" / f"step-{step:08d}"


def steps_saved(folder: Path | str) -> list[int]:
    """The steps that a run folder has checkpoints of, good or not, ascending."""
    steps = []
    for path in (Path(folder) / "checkpoints").glob("step-*"):
        number = path.name.removeprefix("step-")
        if number.isdecimal() and path.is_dir() and path == checkpoint_path(folder, int(number)):
            steps.append(int(number))
    return sorted(steps)


def save_checkpoint(
    folder: Path | str,
    step: int,
    system: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    keep: int,
) -> Path:
    """The checkpoint of ``step``, where one process has all: :func:`whole_tensors`, then :func:`write_checkpoint`."""
    return write_checkpoint(folder, step, whole_tensors(system, optimizer), state, keep=keep)


def whole_tensors(system: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The weights and the optimiser's state, a file each, as one process would have them.

    Where processes share the model, all of them have to call this; the first has the tensors afterwards.
    """
    parts = {MODEL: system.state_dict(), OPTIMIZER: _optimizer_tensors(system, optimizer)}
    return {file: gathered(tensors) for file, tensors in parts.items()}


def write_checkpoint(
    folder: Path | str,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: dict[str, Any],
    *,
    keep: int,
) -> Path:
    """Writes the checkpoint of ``step`` and removes all but the newest ``keep``.

    Raises:
        ResourceError: the disk is full or the folder not writable; older checkpoints are intact.
    """
    path = checkpoint_path(folder, step)
    with atomic_folder(path) as temporary:
        for name in (MODEL, OPTIMIZER):
            save_tensors(temporary / name, tensors[name])
        write_json(temporary / STATE, {"step": step, **state})
        hashes = {name: sha256_file(temporary / name) for name in _FILES}
        write_json(temporary / MANIFEST, {"format": FORMAT, "step": step, "sha256": hashes})
    # What is newer than this one was damaged, or the run would have started from there.
    kept = [saved for saved in steps_saved(folder) if saved <= step][-keep:]
    with os_errors(path.parent):
        for saved in set(steps_saved(folder)) - set(kept):
            shutil.rmtree(checkpoint_path(folder, saved))
    return path


def newest_good(folder: Path | str) -> Path | None:
    """The newest checkpoint whose files all are what was written; ``None`` where none was ever saved.

    Leftovers of interrupted saves are removed. A damaged checkpoint is passed over with a warning that names
    the file and what is wrong.

    Raises:
        ArtifactError: there are checkpoints, and all are damaged.
    """
    remove_leftovers(Path(folder) / "checkpoints")
    problems = []
    for step in reversed(steps_saved(folder)):
        path = checkpoint_path(folder, step)
        try:
            check_checkpoint(path)
        except (ArtifactError, OSError) as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warn(f"a checkpoint is damaged and was passed over: {problem}. Going on from {path.name}")
        return path
    if problems:
        raise ArtifactError(
            "no checkpoint can be used: "
            + "; ".join(problems)
            + f". Remove {Path(folder) / 'checkpoints'} to train from the start"
        )
    return None


def check_checkpoint(path: Path) -> None:
    """Compares a checkpoint's files with its manifest.

    Raises:
        ArtifactError: missing, changed or of another format; names the file and the reason.
    """
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("sha256"), dict):
        raise ArtifactError(f"{path / MANIFEST} is not a manifest")
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{path / MANIFEST} has format {manifest.get('format')!r}; this version reads {FORMAT}"
        )
    for name in _FILES:
        if not (path / name).is_file():
            raise ArtifactError(f"{path / name} is missing")
        if manifest["sha256"].get(name) != sha256_file(path / name):
            raise ArtifactError(f"{path / name} is not what was written (SHA-256 differs)")
    state = read_json(path / STATE)
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int) or step < 0 or checkpoint_path(path.parent.parent, step) != path:
        raise ArtifactError(f"{path / STATE} is of another step")


def load_checkpoint(path: Path, system: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Puts a checkpoint into ``system`` and ``optimizer``, if there is one; returns its ``state.json``.

    Raises:
        ArtifactError: its tensors are not those of this system; names them.
    """
    tensors, wanted = load_tensors(path / MODEL), system.state_dict()
    wrong = [f"missing {name}" for name in wanted.keys() - tensors.keys()]
    wrong += [f"unexpected {name}" for name in tensors.keys() - wanted.keys()]
    wrong += [
        f"{name} is {list(tensors[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted.keys() & tensors.keys()
        if wanted[name].shape != tensors[name].shape
    ]
    if wrong:
        raise ArtifactError(f"{path / MODEL} does not fit this system: {', '.join(sorted(wrong))}")
    system.load_state_dict({name: shared_like(tensor, wanted[name]) for name, tensor in tensors.items()})
    if optimizer is not None:
        _load_optimizer(path / OPTIMIZER, system, optimizer)
    return read_json(path / STATE)


def _parameter_names(system: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The name of each parameter, in the order in which the optimiser counts them."""
    names = {parameter: name for name, parameter in system.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_tensors(system: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as ``parameter name/key``; its settings come from the configuration."""
    names = _parameter_names(system, optimizer)
    return {
        f"{names[index]}/{key}": value
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """``tensor`` in the memory order of ``parameter`` (channels last, of convolutions): the fused optimiser goes through
    both number by number, as they lie, and a file has the order of the shape."""
    last = torch.channels_last
    if parameter.dim() == 4 and not is_shared(parameter) and parameter.is_contiguous(memory_format=last):
        return tensor.contiguous(memory_format=last)
    return tensor


def _load_optimizer(path: Path, system: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    index = {name: number for number, name in enumerate(_parameter_names(system, optimizer))}
    parameters = dict(system.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_tensors(path).items():
        parameter, _, key = name.rpartition("/")
        if parameter not in index:
            raise ArtifactError(f"{path} has state of '{parameter}', which this system does not train")
        # Momenta have the shape of their parameter and are shared as it is; a count of steps is not.
        like = parameters[parameter]
        placed = shared_like(_laid_out_as(like, tensor), like) if tensor.shape == like.shape else tensor
        state.setdefault(index[parameter], {})[key] = placed
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
