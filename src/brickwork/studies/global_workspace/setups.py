"""The models that the claims compare, and how the baselines are tuned.

Numbers: the workspace has one fixed setting (Adam 1e-2, no weight decay, 400 steps, all seen pairs at every step). Every
baseline is swept over three learning rates × three weight decays for the same number of steps, and the cell is taken that is
best *on the very pairs that it is then scored on*: a choice in the baseline's favour. Where it says so, baselines also get
ten times the steps, sweep included. Matched baselines have no more parameters than the workspace.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.studies.old import Scale, Trained, Workbench

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

RATES = (1e-3, 3e-3, 1e-2)
DECAYS = (0.0, 1e-2, 1.0)
STEPS = 400
PILOT_SEED = 0
UNSEEN = "accuracy: unseen pairs"
SEEN = "accuracy: seen pairs"
UNSEEN_OLD_SUM = "accuracy: unseen pairs, sum seen"

# Full size, and the largest below the workspace's 5,603 parameters (19 sums).
NETWORKS: dict[str, dict[str, Any]] = {
    "LSTM": {"network": "lstm", "width": 64},
    "LSTM, matched": {"network": "lstm", "width": 26},
    "Transformer": {"network": "transformer", "width": 32, "num_layers": 2, "num_heads": 4},
    "Transformer, matched": {"network": "transformer", "width": 16, "num_layers": 2, "num_heads": 4},
    "tied Transformer, matched": {"network": "universal", "width": 20, "num_layers": 12, "num_heads": 4},
}


@dataclass(frozen=True)
class Arm:
    """Trained models of one arm, one a seed, and their numbers on the test part, in percent."""

    name: str
    trained: list[Trained]
    scores: list[dict[str, float]]
    setting: str = ""

    def mean(self, metric: str) -> float | None:
        """Over seeds; ``None`` where the split has no such pairs."""
        found = [score[metric] for score in self.scores if metric in score]
        return fmean(found) if found else None

    def row(self, task: str) -> dict[str, Any]:
        """One row of a claim's table."""
        numbers = {
            name: self.mean(name) for name in (SEEN, UNSEEN, UNSEEN_OLD_SUM, "exact route: unseen pairs")
        }
        shown = {
            name.removeprefix("accuracy: "): None if v is None else round(v, 1)
            for name, v in numbers.items()
            if v is not None or "route" not in name
        }
        parameters = sum(p.numel() for p in self.trained[0].system.parameters())
        return {"task": task, "arm": self.name, "parameters": parameters, **shown, "setting": self.setting}


def scored(trained: Trained) -> dict[str, float]:
    return {name: 100 * value for name, value in trained.system.evaluate(trained.data.test).items()}


def numbers_run(source: str, steps: int = STEPS) -> "RunConfig":
    """Addition of numbers; every step sees all seen pairs, as :meth:`Workbench.train_many` does."""
    from brickwork.systems.global_workspace import recipes
    from brickwork.systems.global_workspace.data import Addition

    run = recipes.addition()
    split = source.rpartition("/")[2]
    sums = Addition(modulo=10 if "mod10" in source else 0, held_out=split)  # type: ignore[arg-type]
    return replace(
        run,
        recipe=f"claims: {source}",
        data=replace(run.data, addition=sums),
        train=replace(run.train, steps=steps),
    )


def workspace_arm(bench: Workbench, source: str, seeds: Sequence[int], **task: Any) -> Arm:
    run = numbers_run(source)
    run = replace(run, model=replace(run.model, task=replace(run.model.task, **task)))
    trained = bench.train_many([replace(run, seed=seed) for seed in seeds])
    name = "workspace" + "".join(f", {value}" for value in task.values() if isinstance(value, str))
    return Arm(name, trained, [scored(t) for t in trained])


def baseline_arm(bench: Workbench, source: str, name: str, seeds: Sequence[int], steps: int = STEPS) -> Arm:
    """Swept on one seed, trained on all."""
    from brickwork.studies.global_workspace.baselines import BaselineConfig

    run = numbers_run(source, steps)
    run = replace(run, model=BaselineConfig(**NETWORKS[name]))

    def at(rate: float, decay: float, seed: int) -> "RunConfig":
        return replace(run, seed=seed, train=replace(run.train, learning_rate=rate, weight_decay=decay))

    cells = list(product(RATES, DECAYS))
    pilots = [scored(t) for t in bench.train_many([at(*cell, PILOT_SEED) for cell in cells])]
    best = max(range(len(cells)), key=lambda i: (pilots[i][UNSEEN], pilots[i][SEEN]))
    trained = bench.train_many([at(*cells[best], seed) for seed in seeds])
    longer = "" if steps == STEPS else f", {steps // STEPS} × steps"
    setting = f"rate {cells[best][0]:g}, decay {cells[best][1]:g}"
    return Arm(name + longer, trained, [scored(t) for t in trained], setting)


def digits_run(scale: Scale) -> "RunConfig":
    """Two-phase addition of images modulo 10: of scikit-learn's digits at smoke, of MNIST at small."""
    from brickwork.systems.global_workspace import recipes

    run = recipes.digits() if scale == "smoke" else recipes.mnist()
    steps, stages = run.train.steps, run.stages
    if scale == "smoke":
        steps, stages = 800, tuple(replace(s, steps=n) for s, n in zip(stages, (250, 300, None)))
    return replace(
        run,
        recipe=f"claims: {run.recipe}",
        stages=stages,
        train=replace(run.train, steps=steps, save_every=0, validate_every=0),
    )


def digits_lstm(scale: Scale, rate: float = 3e-3) -> "RunConfig":
    """The LSTM on the same frozen features (trained in the same first steps), the same steps in all."""
    from brickwork.studies.global_workspace.baselines import BaselineConfig
    from brickwork.training.config import Stage

    run = digits_run(scale)
    task = BaselineConfig(network="lstm", width=64, reader=run.model.task.reader)
    return replace(
        run,
        recipe="claims: LSTM",
        model=task,
        stages=(run.stages[0], Stage(name="answer", trains=("network.*", "readout.*"))),
        train=replace(run.train, learning_rate=rate),
    )


def images_of(run: "RunConfig") -> str:
    """The task as the tables name it: ``mnist/mod10/corner``."""
    return f"{run.data.addition.digits}/mod10/{run.data.addition.held_out}"


def digits_arm(bench: Workbench, name: str, run: "RunConfig", seeds: Sequence[int], setting: str = "") -> Arm:
    trained = [bench.train(replace(run, seed=seed)) for seed in seeds]
    return Arm(name, trained, [scored(t) for t in trained], setting)
