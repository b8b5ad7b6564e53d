"""The models that the claims compare, and how the baselines are tuned.

Numbers: the workspace has one fixed setting (Adam 1e-2, no weight decay, 400 steps, all seen pairs at every step). Every
baseline is swept over learning rates (the best lies inside) × three weight decays for the same number of steps, and the cell
is taken that answers most unseen pairs *of another split*: extrapolation too is a thing that a setting can be good for, and
the pairs that an arm is scored on choose nothing. Where it says so, baselines also get ten times the steps: at the same
rate, with the decay swept again. Matched baselines have no more parameters than the workspace.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from brickwork.studies.bench import PILOT_SEED, Trained, changed
from brickwork.studies.effects import Measured
from brickwork.studies.global_workspace.baselines import BaselineConfig
from brickwork.studies.study import Arms, Lab, Scale
from brickwork.systems.global_workspace import recipes
from brickwork.training.config import Stage
from brickwork.training.run import RunConfig

RATES = (1e-3, 3e-3, 1e-2)
_RATE = 3e-3
DECAYS = (0.0, 1e-2, 1.0)
WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of cycles and demi-cycles, beside a translation of weight 1."""
STEPS = 400
UNSEEN = "unseen pairs"
SEEN = "seen pairs"
UNSEEN_OLD_SUM = "unseen pairs, sum seen"
ROUTE = "exact route: unseen pairs"
SCORES = (SEEN, UNSEEN, UNSEEN_OLD_SUM, ROUTE)
"""Not those of unseen sums: whether a random split has any depends on its seed."""
_UNSAVED = {"save_every": 0, "validate_every": 0}

# Full size, and the largest below the workspace's 5,603 parameters (19 sums).
NETWORKS: dict[str, dict[str, Any]] = {
    "LSTM": {"network": "lstm", "width": 64},
    "LSTM, matched": {"network": "lstm", "width": 26},
    "Transformer": {"network": "transformer", "width": 32, "num_layers": 2, "num_heads": 4},
    "Transformer, matched": {"network": "transformer", "width": 16, "num_layers": 2, "num_heads": 4},
    "tied Transformer, matched": {"network": "universal", "width": 20, "num_layers": 12, "num_heads": 4},
}

# ---- digits as numbers -------------------------------------------------------------------------------------------


def addition(lab: Lab, task: str, steps: int = STEPS, **options: Any) -> RunConfig:
    """Addition of numbers, split as ``task`` says (``corner``, ``mod10/corner``); every step sees all seen pairs."""
    *modulo, split = task.split("/")
    run = changed(
        recipes.addition(),
        recipe=f"claims: {task}",
        model={"task": options},
        data={"addition": {"modulo": 10 if modulo else 0, "held_out": split}},
        train={"steps": steps, **_UNSAVED},
    )
    return changed(run, train={"batch_size": len(lab.bench.data(run).train)})


def tuned_baseline(
    lab: Lab, task: str, pilot: str, network: str, steps: int = STEPS
) -> tuple[RunConfig, str]:
    """A network with the rate and decay that suit it on the task ``pilot``, swept with one seed, and what they are."""

    def run(task: str, steps: int, factor: float, decay: float) -> RunConfig:
        of_network = replace(addition(lab, task, steps), model=BaselineConfig(**NETWORKS[network]))
        return changed(of_network, train={"learning_rate": factor * _RATE, "weight_decay": decay})

    def score(steps: int, factor: float, decay: float) -> float:
        trained = lab.bench.train(replace(run(pilot, steps, factor, decay), seed=PILOT_SEED))
        scores = scored(trained)
        return scores[UNSEEN] + scores[SEEN] / 1000  # seen pairs decide between equals

    def best_decay(steps: int, factor: float) -> float:
        key = ("decay", pilot, network, steps, factor)
        return lab.bench.best(key, DECAYS, lambda decay: score(steps, factor, decay))

    factor, _ = lab.bench.best_factor(
        ("sweep", pilot, network), lambda factor: score(STEPS, factor, best_decay(STEPS, factor))
    )
    decay = best_decay(steps, factor)
    return run(task, steps, factor, decay), f"rate {factor * _RATE:g}, decay {decay:g}"


# ---- digits as images --------------------------------------------------------------------------------------------


def images(scale: Scale) -> RunConfig:
    """Two-phase addition of images modulo 10: of scikit-learn's digits at smoke, of MNIST at small."""
    run = recipes.digits() if scale == "smoke" else recipes.mnist()
    if scale == "smoke":
        stages = tuple(replace(stage, steps=n) for stage, n in zip(run.stages, (250, 300, None)))
        run = changed(run, stages=stages, train={"steps": 800})
    return changed(run, recipe="claims: images", train=_UNSAVED)


def image_lstm(scale: Scale, rate: float) -> RunConfig:
    """The LSTM on the same frozen features (trained in the same first steps), the same steps in all."""
    run = images(scale)
    return changed(
        run,
        recipe="claims: LSTM",
        model=BaselineConfig(network="lstm", width=64, reader=run.model.task.reader),
        stages=(run.stages[0], Stage(name="answer", trains=("network.*", "readout.*"))),
        train={"learning_rate": rate},
    )


def tuned_image_lstm(lab: Lab) -> float:
    """The rate that is best for the LSTM on the pairs that it is scored on; at a tie the largest."""
    rates = (3e-3,) if lab.smoke else tuple(sorted(RATES, reverse=True))

    def score(rate: float) -> float:
        return unseen(lab.bench.train(replace(image_lstm(lab.scale, rate), seed=lab.seeds[0])))

    return lab.bench.best(("image LSTM", lab.scale, lab.seeds[0]), rates, score)


# ---- alignment --------------------------------------------------------------------------------------------------


def alignment(lab: Lab) -> tuple[dict[str, RunConfig], float]:
    """Halves of digits, 64 of them paired, under more and more losses, and the weight of the cycles that suits them."""
    steps = 100 if lab.smoke else 600
    run = changed(recipes.small(), data={"paired": 64}, train={"steps": steps, **_UNSAVED})
    run = changed(
        run, model={"task": {"cycle": 0.0, "demi_cycle": 0.0, "contrastive": 0.0, "broadcast": 0.0}}
    )

    def with_cycles(weight: float) -> RunConfig:
        return changed(run, model={"task": {"cycle": weight, "demi_cycle": weight}})

    weight = lab.bench.best(
        ("cycles", lab.scale),
        WEIGHTS,
        lambda weight: validated_translation(lab.bench.train(replace(with_cycles(weight), seed=PILOT_SEED))),
    )
    arms = {
        "translation, pairs alone": changed(run, data={"unpaired": False}),
        "translation": run,
        "translation and cycles": with_cycles(weight),
        "all losses": changed(run, model=recipes.small().model),
    }
    return {name: replace(arm, recipe=f"claims: {name}") for name, arm in arms.items()}, weight


# ---- what is measured -------------------------------------------------------------------------------------------


def scored(trained: Trained) -> dict[str, float]:
    """:data:`SCORES` of :meth:`evaluate` on the test part, in percent; a part without rows has none."""
    scores = trained.system.evaluate(trained.data.test)
    percent = {name.removeprefix("accuracy: "): 100 * value for name, value in scores.items()}
    return {name: percent[name] for name in SCORES if name in percent}


def unseen(trained: Trained) -> float:
    """Accuracy on unseen pairs, in percent."""
    return scored(trained)[UNSEEN]


def held(trained: Trained, steps: Sequence[int]) -> dict[tuple[str, int, str], float]:
    """(gates, steps, "accuracy") → accuracy on all test pairs when the loop runs for so many steps."""
    columns = trained.data.test.columns
    truth = np.asarray(columns["sum"])
    accuracy = {}
    for n, gates in product(steps, ("soft", "hard")):
        scores = trained.system.answers(columns, routing=gates, num_steps=n)
        accuracy[gates, n, "accuracy"] = float(100 * (scores.argmax(1) == truth).mean())
    return accuracy


def translation(trained: Trained) -> dict[str, float]:
    """The mean R² over directions."""
    return {"R²": trained.system.evaluate(trained.data.test)["R²: mean"]}


def validated_translation(trained: Trained) -> float:
    """The same on validation rows: what settings are chosen by."""
    return trained.system.evaluate(trained.data.validation)["R²: mean"]


def parameters(trained: Trained) -> int:
    """Of the whole system."""
    return sum(p.numel() for p in trained.system.parameters())


def row(at: Measured, arms: Arms, arm: str, task: str, name: str, setting: str = "") -> dict[str, Any]:
    """One row of a claim's table; a split without such pairs has no score."""
    columns = SCORES if (arm, ROUTE) in at else SCORES[:-1]  # a baseline has no route
    scores = {column: round(at[arm, column].mean, 1) if (arm, column) in at else None for column in columns}
    return {"task": task, "arm": name, "parameters": parameters(arms[arm][0]), **scores, "setting": setting}
