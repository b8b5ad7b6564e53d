"""Trainings in parts: what a run goes on from, and how slots that were trained apart come together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.modules.slots import transfer
from brickwork.representation.load import load_system
from brickwork.systems.m2mkd.config import Circuits, Config, Experts

_OF_TEACHER = ("teacher", "backbone", "revision", "patch", "teacher_width", "teacher_depth")


def settled(config: Config, of: Config) -> Config:
    """``config`` with the teacher of the run that it goes on from."""
    return replace(config, **{name: getattr(of, name) for name in _OF_TEACHER})


def check_start(config: Config, finished: Any, classes: Sequence[str], image_shape: Sequence[int]) -> None:
    """Refuses what cannot go on from ``finished``.

    Raises:
        ConfigError: says what differs, or what kind of training there is.
    """
    if not (config.slot or config.parts or config.renew):
        raise ConfigError(
            "start goes on from a finished run with one slot (model.slot=1), with the slots of other runs "
            "(model.parts=runs/slot-1,runs/slot-2) or with one slot anew (model.renew=1); say which"
        )
    if list(finished.classes) != list(classes):
        raise ConfigError(
            f"the data has the classes {', '.join(classes[:12])}, and the run that is started from "
            f"{', '.join(finished.classes[:12])}: bring the same"
        )
    if tuple(finished.image_shape) != tuple(image_shape):
        raise ConfigError(
            f"the images are of shape {tuple(image_shape)}, and those of the run that is started from "
            f"{tuple(finished.image_shape)}: use --set data.image_size={finished.image_shape[0]}"
        )
    then, plain = finished.config, Config()
    names = ["slots", *(name for name in _OF_TEACHER if getattr(config, name) != getattr(plain, name))]
    if config.renew:
        names += ["student", "keep_stitches", "stitch"]
    for name in names:
        if getattr(config, name) != getattr(then, name):
            raise ConfigError(
                f"model.{name} is {getattr(config, name)}, and {getattr(then, name)} in the run that is started from; use "
                "the same"
            )
    if not finished.ledger.began("meta") or (config.taught and not finished.ledger.began("teacher")):
        lacks = "meta network" if not finished.ledger.began("meta") else "teacher"
        raise ConfigError(
            f"the run that is started from has no trained {lacks}; prepare one: --set model.prepare=true"
        )
    if config.renew and not finished.ledger.began("whole"):
        raise ConfigError(
            "model.renew replaces a slot of an assembled student, and the run has none yet; use model.slot"
        )


def from_parts(system: Any, folders: Sequence[str]) -> None:
    """Takes each slot from the run that trained it.

    Raises:
        ArtifactError: a folder that holds no slot, the same slot twice, another meta network, or a slot of another size.
    """
    own: dict[int, str] = {}
    for folder in folders:
        part = load_system(Path(folder).expanduser())
        number = part.config.slot if getattr(part, "slug", "") == "m2mkd" else None
        if number is None:
            raise ArtifactError(f"{folder} holds no slot; name runs that were trained with model.slot=N")
        if number in own:
            raise ArtifactError(f"{own[number]} and {folder} both hold slot {number}; name each slot once")
        own[number] = folder
        theirs, ours = part.meta.state_dict(), system.meta.state_dict()
        if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name]) for name in ours):
            raise ArtifactError(
                f"{folder} was trained in another meta network than that of the run that is started from: train slot "
                f"{number} again from it"
            )
        place = number - 1
        for mine, its in ((system.student.slots(), part.student.slots()), (system.stitches, part.stitches)):
            try:
                transfer(its[place], mine[place])
            except ConfigError as error:
                raise ArtifactError(f"{folder}: slot {number} is of another student: {error}") from error
        here, there = _unseen(system.config.student), _unseen(part.config.student)
        for name in (name for name in here if here[name] != there.get(name)):
            raise ArtifactError(
                f"{folder}: slot {number} is of another student: its {name} is {there.get(name)}, and {here[name]} here; "
                f"use the same, --set model.student.{name}={there.get(name)}"
            )
        system.ledger.take(part.ledger, only=(f"slot {number}",))


def _unseen(student: Experts | Circuits) -> dict[str, int]:
    """What a slot computes with and the shapes of its weights do not tell."""
    heads = {"num_heads": student.num_heads or max(1, student.width // 32)}
    return heads | ({"active": student.active} if isinstance(student, Experts) else {})


@torch.no_grad()
def keep_others(system: Any, finished: Any, place: int) -> None:
    """Gives a system all of the finished student and its stitches but slot ``place``, which stays as it was drawn."""
    fresh = {
        id(p) for part in (system.student.slots()[place], system.stitches[place]) for p in part.parameters()
    }
    before = dict(finished.named_parameters()) | dict(finished.student.named_buffers(prefix="student"))
    own = [*system.named_parameters(), *system.student.named_buffers(prefix="student")]
    for name, tensor in own:
        if id(tensor) not in fresh:
            tensor.copy_(before[name])
