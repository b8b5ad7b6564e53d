"""What the claims look into: the hand-wired model, or small models that have learnt the tasks."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from brickwork.studies.bench import Trained
from brickwork.studies.sae_circuits.small_model import BATCH, STEPS, TASKS, small_model
from brickwork.studies.study import Lab
from brickwork.systems.sae_circuits.subjects import Subject
from brickwork.systems.sae_circuits.system import System

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

PAIRS = 150
"""Of prompts, a task; two thirds are looked at, faithfulness is measured on the others."""


def tasks(lab: Lab) -> dict[str, Callable[[int], Trained]]:
    """Name of an arm -> seed -> what was found out."""
    from brickwork.systems.sae_circuits.recipes import smoke

    run = smoke()
    if lab.smoke:
        paper = replace(run.model, latents=200, code_steps=lab.bench.steps(500))
        return {
            f"task wired, noise {noise}": _trained(lab, replace(run, model=replace(paper, distractor=noise)))
            for noise in (0.25, 1.0, 2.0)
        }
    paper = replace(
        run.model,
        subject="small model",
        ablation="resample",
        permutations=1000,
        latents=200,
        code_steps=500,
        batch=64,
    )
    return {
        f"task {task}": _looked_into(
            lab,
            replace(run, model=paper, data=replace(run.data, source=task, made_up=PAIRS, test_share=1 / 3)),
        )
        for task in TASKS
    }


def _trained(lab: Lab, run: "RunConfig") -> Callable[[int], Trained]:
    return lambda seed: lab.bench.train(replace(run, seed=seed))


def _looked_into(lab: Lab, run: "RunConfig") -> Callable[[int], Trained]:
    """The same of the small model of a seed, which all tasks share."""

    def at(seed: int) -> Trained:
        learnt = lab.bench.own_loop(
            "small model", lambda steps: small_model(steps, seed), steps=STEPS, batch_size=BATCH, seed=seed
        )
        subject = Subject("small model", learnt.system, {})
        data = lab.bench.data(replace(run, seed=seed))
        system = System.looking_into(subject, run.model, data, seed)
        return replace(lab.bench.fit(system, data.train, run.train, seed), data=data)

    return lambda seed: lab.bench.memo(("looked into", run.data.source, seed), lambda: at(seed))
