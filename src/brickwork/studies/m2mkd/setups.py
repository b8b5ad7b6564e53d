"""The arms of the study: one student, trained in slots or from end to end, with budgets in steps or in operations.

S steps in all: 0.4·S for teacher and meta network, 0.3·S for the slots, 0.3·S for the assembled student.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.data.augment import Augmentation
from brickwork.data.config import ImageDataConfig
from brickwork.data.generators.corruptions import corruptions
from brickwork.data.types import Examples
from brickwork.studies.bench import Bench, Trained, built, changed
from brickwork.studies.study import Arms, Lab, Scale
from brickwork.systems.m2mkd.circuit_graph import Prior
from brickwork.systems.m2mkd.config import Circuits, Config, Experts
from brickwork.training.run import planned_stages

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

M2MKD = "m2mKD"
SAME_END = "end to end, steps of the assembled student"
SAME_STEPS = "end to end, all steps of the student"
SAME_COMPUTE = "end to end, all operations"
WHOLE_KD = "whole-network distillation"
ALONE = "slots without a teacher"
OF_TEACHER, OF_SLOTS = 0.4, 0.3
PRIORS: tuple[Prior, ...] = ("scale_free", "random", "planted_partition", "ring_of_cliques")
_FREE: dict[str, Any] = {"teacher_width": None, "teacher_depth": None}


def base(scale: Scale) -> "RunConfig":
    """m2mKD: the digits, two slots; or 5,000 images of CIFAR-10, three slots of two blocks."""
    from brickwork.systems.m2mkd.recipes import small, smoke

    if scale == "smoke":
        run = changed(smoke(), recipe="claims", model={"teacher_depth": 4, "student": {"depth": 3}})
        return replace(run, train=replace(run.train, steps=500, validate_every=0))
    run = changed(small(), recipe="claims: CIFAR-10, 5,000 images")
    return replace(
        run,
        model=Config(
            student=Experts(width=48, depth=6, num_heads=2, experts=4, active=2),
            slots=3,
            patch=8,
            teacher_width=64,
            teacher_depth=6,
            views=Augmentation(flip=0.5, crop=0.7),
        ),
        data=ImageDataConfig(source="cifar10", limit=5000, validation_share=0.1),
        train=replace(
            run.train, steps=900, batch_size=64, learning_rate=2e-3, precision="fp32", validate_every=0
        ),
    )


def base_of_circuits(scale: Scale, prior: Prior = PRIORS[0]) -> "RunConfig":
    """m2mKD with circuits, as many slots as propagators and two: one propagator on the digits, three on CIFAR-10."""
    run = base(scale)
    if scale == "smoke":
        student = Circuits(
            width=32, inputs=8, mediators=12, outputs=4, signature_dim=8, place_dim=8, prior=prior
        )
        model = replace(run.model, student=student, slots=3, teacher_depth=3)
        return replace(run, model=model, train=replace(run.train, steps=600))
    return replace(run, model=replace(run.model, student=Circuits(prior=prior), slots=5))


def runs(lab: Lab, run: "RunConfig") -> "dict[str, RunConfig]":
    """Every arm of m2mKD as ``run`` has it, before its rate is chosen."""
    steps = run.train.steps

    def shorter(share: float, **model: Any) -> "RunConfig":
        train = replace(run.train, steps=max(1, round(share * steps)))
        return replace(run, model=replace(run.model, **model), train=train)

    free = {**_FREE, "learn": "end_to_end"}
    end_to_end = shorter(1.0, **free)
    alone = 0.2 * OF_TEACHER  # as many steps for the meta network as those in which it learns to stand alone
    without = alone + OF_SLOTS + (1 - OF_TEACHER - OF_SLOTS)
    return {
        M2MKD: run,
        SAME_END: shorter(1 - OF_TEACHER - OF_SLOTS, **free),
        SAME_STEPS: shorter(1 - OF_TEACHER, **free),
        SAME_COMPUTE: shorter(flops(run, lab.bench) / flops(end_to_end, lab.bench), **free),
        WHOLE_KD: shorter(1.0, learn="distil"),
        ALONE: shorter(
            without,
            teacher_depth=None,
            alpha=0.0,
            teacher_share=alone / without,
            slots_share=OF_SLOTS / without,
        ),
        "authors' reduction": shorter(1.0, reduction="numel"),
        "teacher's answers alone": shorter(1.0, alpha=1.0),
        "stitches kept": shorter(1.0, keep_stitches=True),
        "not refitted": shorter(1.0, refit=False),
    }


def flops(run: "RunConfig", bench: Bench) -> float:
    """Operations of a whole run, an image of each stage counted forward and backward."""
    system = built(run, bench.data(run)).train()
    total = 0.0
    for stage in planned_stages(run):
        system.start_stage(stage.name)
        total += system.ledger.price_of(stage.name) * (stage.steps or 0) * run.train.batch_size
    return total


def arms(lab: Lab, run: "RunConfig", *names: str) -> Arms:
    """Some of the arms, each at the learning rate that its validation images chose from one grid."""
    made = runs(lab, run)
    return _tuned(lab, {name: made[name] for name in names})


def arms_by_prior(lab: Lab) -> Arms:
    """Circuits of each graph, in slots and from end to end; :func:`by_prior` names them."""
    made = {prior: runs(lab, base_of_circuits(lab.scale, prior)) for prior in PRIORS}
    return _tuned(
        lab, {by_prior(name, prior): made[prior][name] for prior in PRIORS for name in (M2MKD, SAME_END)}
    )


def by_prior(name: str, prior: str) -> str:
    """The name of an arm with a graph."""
    return f"{name}; {prior.replace('_', ' ')}"


def _tuned(lab: Lab, made: "dict[str, RunConfig]") -> Arms:
    return lab.arms(
        {name: _counted(lab.bench, lab.bench.tuned(run, validation_score)) for name, run in made.items()}
    )


def _counted(bench: Bench, run: "RunConfig") -> Any:
    """Seed → a training, which counts as the images of its budget: cut short, each stage has a step nevertheless."""

    def make(seed: int) -> Trained:
        own = replace(run, seed=seed)
        images = bench.steps(run.train.steps) * run.train.batch_size
        return bench.memo(
            ("counted", repr(own)), lambda: replace(bench.train(own), examples=images, rates=bench.rates(run))
        )

    return make


def validation_score(trained: Trained) -> float:
    """What a learning rate is chosen by: accuracy of the student."""
    return float(trained.system.accuracies(trained.data.validation, ["student"])["student"])


# ---- measures --------------------------------------------------------------------------------------------------------


def accuracies(trained: Trained) -> dict[str, float]:
    """Percent on the test images as they are, and on corrupted copies of them; ``corrupted``: their mean."""
    test, system = trained.data.test, trained.system
    changed_images = corruptions(np.asarray(test.columns["input"]), 0)
    right = {
        name: 100 * system.accuracies(Examples({**test.columns, "input": images}), ["student"])["student"]
        for name, images in changed_images.items()
    }
    clean = right.pop("none")
    return {"clean": clean, **right, "corrupted": float(np.mean(list(right.values())))}


def hybrids(trained: Trained) -> dict[str, float]:
    """Percent of the meta network, alone and with slots of teacher and student; ``untrained``: of a student that was drawn
    and has learnt nothing."""
    from brickwork.modules.slots import hybrid

    system, test = trained.system, trained.data.test
    known = {name: 100 * value for name, value in system.accuracies(test, list(system.networks())).items()}
    fresh = type(system)(system.config, seed=system.seed + 1, **system.architecture()["facts"]).eval()
    count, labels = system.config.slots, np.asarray(test.columns["label"])
    meta, own = system.meta.slots(count), fresh.student.slots()
    for place in range(count):
        mixed = hybrid(meta, place, own[place], fresh.stitches[place])
        right = system.probabilities(test.columns["input"], mixed).argmax(1) == labels
        known[f"untrained_slot_{place + 1}"] = 100 * float(right.mean())
    return known


def slots_of(names: Sequence[str], who: str) -> list[str]:
    """The names of a part's accuracies, slot by slot."""
    return [name for name in names if name.startswith(f"{who}_slot_")]
