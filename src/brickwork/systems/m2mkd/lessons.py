"""What each stage trains, and on what loss.

Shape legend: B images, C classes.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.seeding import generator_for
from brickwork.core.types import LossOutput
from brickwork.modules.expert_blocks import routings
from brickwork.modules.slots import compose, frozen, hybrid, transfer
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.distillation import kl_to, soft_labels
from brickwork.systems.m2mkd.config import Circuits, Config, Experts


def kind_of(stage: str) -> tuple[str, int | None]:
    """What kind of stage it is, and of which slot, from 0: ``slot 2`` → slot, 1."""
    kind, _, number = stage.partition(" ")
    return (kind, int(number) - 1) if number.isdigit() else (stage, None)


def learners(system: Any, stage: str) -> list[nn.Module]:
    """The modules that a stage trains."""
    kind, place = kind_of(stage)
    if kind in ("meta", "fit meta"):
        return [system.meta]
    if kind == "teacher" and place is not None:
        return [system.teacher.slots(system.config.slots)[place]]
    if kind == "teacher":
        return [system.teacher.maps[-1] if system.config.given else system.teacher]
    if kind == "slot":
        return [system.student.slots()[place], system.stitches[place]]
    if kind == "fit":
        return [system.student.slots()[place]]
    return [system.control if kind == "control" else system.student]


def copy_layers(system: Any) -> None:
    """The meta network begins as the teacher with the last layer of each slot alone, and its classifier."""
    ends = [end - 1 for _, end in system.teacher.ranges(system.config.slots)]
    names = {
        name: f"blocks.{ends[int(parts[1])]}.{parts[2]}"
        for name in system.meta.vit.state_dict()
        if (parts := name.split(".", 2))[0] == "blocks"
    }
    transfer(system.teacher.vit, system.meta.vit, names, may_leave=("blocks.*",))
    transfer(system.teacher.maps, system.meta.maps)


def stage_loss(system: Any, stage: str, x: Tensor, y: Tensor, *, step: int) -> LossOutput:
    """The loss of a stage for images and labels."""
    kind, place = kind_of(stage)
    if kind == "meta":
        return LossOutput.of(meta_terms(system, x, y, None))
    if kind == "fit meta":
        return LossOutput.of(meta_terms(system, x, y, _replaced(system, step)))
    if kind == "teacher":
        return LossOutput.of({"cross_entropy": cross_entropy(_teacher_answer(system, x, place), y)})
    config: Config = system.config
    student = config.student
    with routings(system) as routed:
        s, t = student_answers(system, kind, place, x)
    terms, weights = {"cross_entropy": cross_entropy(s, y)}, {}
    if t is not None:
        alpha, tau, reduction = config.weight, config.tau, config.reduction or "batchmean"
        terms["distillation"] = kl_to(soft_labels(t, tau), s, temperature=tau, reduction=reduction)
        weights = {"cross_entropy": 1 - alpha, "distillation": alpha}
    if isinstance(student, Experts) and student.balance:
        terms["balance"] = torch.stack([one.aux["switch"] for one in routed]).mean()
        weights["balance"] = student.balance
    if isinstance(student, Circuits) and student.repulsion and kind in ("whole", "control"):
        terms["repulsion"] = (system.control if kind == "control" else system.student).repulsion()
        weights["repulsion"] = student.repulsion
    return LossOutput.of(terms, weights)


def meta_terms(system: Any, x: Tensor, y: Tensor, place: int | None) -> dict[str, Tensor]:
    """CE(M(x), y); with ``place`` also that of the meta network with the teacher's slot there."""
    count = system.config.slots
    slots = system.meta.slots(count)
    terms = {"cross_entropy": cross_entropy(compose(slots, x), y)}
    if place is not None:
        with frozen(system.teacher):
            s = hybrid(slots, place, system.teacher.slots(count)[place])(x)
        terms["hybrid"] = cross_entropy(s, y)
    return terms


def student_answers(system: Any, kind: str, place: int | None, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """s, and t where there is a teacher: of a slot in the meta network; of the whole student, with ``learn=distil`` beside
    the whole teacher; of the student that learns from end to end."""
    if kind == "slot":
        assert place is not None, "stages of slots have their number"
        return slot_answers(system, x, place)
    if kind == "control":
        return system.control.logits(x), None
    t = None
    if system.config.learn == "distil":
        with torch.no_grad():
            t = compose(system.teacher.slots(system.config.slots), x)
    return system.student.logits(x), t


def slot_answers(system: Any, x: Tensor, place: int) -> tuple[Tensor, Tensor | None]:
    """s = M_{>i}(ψ_i(S_i(φ_i(h)))) and t = M_{>i}(T_i(h)), h = M_{<i}(x); only S_i, φ_i and ψ_i learn."""
    count = system.config.slots
    meta = system.meta.slots(count)
    student = hybrid(meta, place, system.student.slots()[place], system.stitches[place])
    t = None
    with torch.no_grad():
        h = student.prefix(x)
        if system.config.taught:
            t = hybrid(meta, place, system.teacher.slots(count)[place]).suffix(h)
    with frozen(system.meta):
        return student.suffix(h), t


def _replaced(system: Any, step: int) -> int:
    """The layer of the meta network, from 0, in whose place a step of ``fit meta`` has the teacher's slot."""
    return int(torch.randint(system.config.slots, (), generator=generator_for(system.seed, step, "slot")))


def _teacher_answer(system: Any, x: Tensor, place: int | None) -> Float[Tensor, "batch classes"]:
    """T(x), of a given one with its classifier alone learning; or the meta network with T_i in slot i."""
    count = system.config.slots
    slots = system.teacher.slots(count)
    if place is not None:
        mixed_in = hybrid(system.meta.slots(count), place, slots[place])
        with torch.no_grad():
            h = mixed_in.prefix(x)
        with frozen(system.meta):
            return mixed_in.suffix(h)
    if not system.config.given:
        return compose(slots, x)
    with torch.no_grad():
        z = system.teacher.vector(x)
    logits: Tensor = system.teacher.maps[-1](z)
    return logits
