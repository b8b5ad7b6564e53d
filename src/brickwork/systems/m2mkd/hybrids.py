"""The networks of a run, whole and with one slot of another in their place, and how well they do."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from brickwork.evaluation.significance import wilson
from brickwork.modules.slots import compose, hybrid
from brickwork.systems.m2mkd.config import teacher_stages


def networks_of(system: Any) -> dict[str, Callable[[Tensor], Tensor]]:
    """What has been trained, by name: ``meta``, ``teacher``, the meta network with slot i of the teacher or the student
    (``teacher_slot_i``, ``student_slot_i``), the assembled ``student``, and the one that learnt from
    ``end_to_end``."""
    config, began, count = system.config, system.ledger.began, system.config.slots
    result: dict[str, Callable[[Tensor], Tensor]] = {}
    meta = system.meta.slots(count) if system.meta is not None and began("meta") else ()
    if meta:
        result["meta"] = lambda x: compose(meta, x)
    if system.teacher is not None and began("teacher"):
        slots = system.teacher.slots(count)
        result["teacher"] = lambda x: compose(slots, x)
        if meta:
            result |= {f"teacher_slot_{i + 1}": hybrid(meta, i, slots[i]) for i in range(count)}
    if config.apart and meta:
        own, stitches = system.student.slots(), list(system.stitches)
        result |= {
            f"student_slot_{i + 1}": hybrid(meta, i, own[i], stitches[i])
            for i in range(count)
            if began(f"slot {i + 1}")
        }
    if began("whole"):
        result["student"] = system.student.logits
    if system.control is not None and began("control"):
        result["end_to_end"] = system.control.logits
    return result


def watched(system: Any, stage: str) -> list[str]:
    """The networks that a stage can change: what it trains, and in the last of those for the teacher how all of its slots
    fit into the meta network."""
    kind, _, number = stage.partition(" ")
    phases = [name for name, _ in teacher_stages(system.config)]
    if stage in phases[-1:]:
        every = [f"teacher_slot_{i + 1}" for i in range(system.config.slots)]
        asked = ["meta", "teacher", *every]
    elif stage in phases:
        asked = ["meta", f"teacher_slot_{number}"] if number else [kind]
    else:
        asked = {"slot": [f"student_slot_{number}"], "control": ["end_to_end"]}.get(kind, ["student"])
    known = system.networks()
    return [name for name in asked if name in known]


def misfits(scores: Mapping[str, float], examples: int) -> list[str]:
    """The numbers of the slots in which the teacher's part is worse than the meta network's own, where all of its 95 %
    interval over ``examples`` images is below."""
    known = [name for name in scores if name.startswith("teacher_slot_")]
    level = scores.get("meta", 0.0)
    return [
        name.removeprefix("teacher_slot_")
        for name in known
        if wilson(round(scores[name] * examples), examples)[1] < level
    ]
