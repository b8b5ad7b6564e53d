"""The models that the claims compare, and how they are read.

Everything with the sizes of the spec sheet: S = 50, hidden 32, 32, dropout 0.2, Adam, batch 16, 70/30 split (a tenth of all
rows is validation), statistics from training rows only. At ``small`` the sheet's 40 epochs, and the learning rate of
every arm is chosen from the same grid around 1e-3 on validation data, P-Fusion's like ours; at ``smoke`` 8 epochs of at
most 500 rows at 1e-3.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import numpy as np

from brickwork.core.errors import BrickworkWarning
from brickwork.data.types import Examples
from brickwork.evaluation.classification import auroc, auroc_interval, balanced_accuracy
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab, Scale
from brickwork.systems.multimodn.config import ParallelFusionConfig, SequentialFusion
from brickwork.systems.multimodn.data import Data, MissingConfig, TableConfig
from brickwork.systems.multimodn.missingness import delete, find_dependence, simulate
from brickwork.systems.multimodn.recipes import small
from brickwork.systems.multimodn.step_outputs import importance
from brickwork.training.run import RunConfig

ROWS = {"digits_quadrants": 1797, "digits_and_noise": 1797, "breast_cancer": 569, "student_performance": 649}
MNAR = {
    "digits_quadrants": ("odd", "top_right"),
    "breast_cancer": ("tumour", "error"),
    "student_performance": ("passed", "earlier_grades"),
}
"""For claim C5: the task, and the modality that is deleted; of the first two, the spec sheet's, the others can take its
place, of the third they cannot."""
TASKS = ("odd", "large", "digit")
"""Of the digits."""
BATCH = 16


def set_up(
    scale: Scale, source: str, targets: Sequence[str] = (), rows: int | None = None, **missing: object
) -> RunConfig:
    """The run of one data set; ``rows`` limits it, ``missing`` simulates missing values in training and validation."""
    held = min(rows or ROWS[source], ROWS[source], 500 if scale == "smoke" else ROWS[source])
    epochs = 8 if scale == "smoke" else 40
    run = small()
    return replace(
        run,
        recipe=f"claims: {source}",
        data=Data(
            source=source,
            limit=held if held < ROWS[source] else None,
            validation_share=0.1,
            test_share=0.3,
            table=TableConfig(targets=tuple(targets), missing=MissingConfig(**missing)),  # type: ignore[arg-type]
        ),
        train=replace(
            run.train, steps=epochs * max(1, round(0.6 * held / BATCH)), save_every=0, validate_every=0
        ),
    )


def variant(run: RunConfig, name: str) -> RunConfig:
    """The run as one arm: ``multimodn`` or ``parallel``, with words behind it that change options."""
    fusion, *words = name.split()
    model = run.model
    if fusion == "parallel":
        model = replace(model, fusion=ParallelFusionConfig(fill="learned" if "learned" in words else "mean"))
    else:
        model = replace(model, fusion=SequentialFusion(skip="batch" if "batch" in words else "sample"))
    if "sigmoid" in words:
        model = replace(model, outputs="sigmoid")
    if "dropout" in words:
        model = replace(model, modality_dropout=0.5)
    return replace(run, model=model)


def at_its_rate(lab: Lab, run: RunConfig, *, like: RunConfig | None = None) -> Callable[[int], Trained]:
    """Seed → the run at the rate that suits it (or that suits ``like``): chosen without simulated missing values, and at
    ``smoke`` not chosen at all."""
    whole = replace(
        like or run, data=replace(run.data, table=replace(run.data.table, missing=MissingConfig()))
    )

    def train(seed: int) -> Trained:
        rate = run.train.learning_rate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrickworkWarning)  # of missing values that the claim itself made
            if not lab.smoke:
                rate = lab.bench.tuned(whole, validation_score).train.learning_rate
            return lab.bench.train(replace(run, seed=seed, train=replace(run.train, learning_rate=rate)))

    return train


# ---- what is measured ------------------------------------------------------------------------------------------


def validation_score(trained: Trained) -> float:
    """The mean AUROC (R² of numbers) over the targets, on validation data."""
    scores = trained.system.evaluate(trained.data.validation)
    return fmean([value for name, value in scores.items() if name.endswith(("/auroc", "/r2"))] or [0.0])


def last_outputs(
    trained: Trained, examples: Examples, target: str, skip: str = "sample"
) -> tuple[np.ndarray, np.ndarray]:
    """The classes, and their probabilities after the last step; ``skip="batch"`` as the authors' code, in batches of 16 in
    file order."""
    rows = BATCH if skip == "batch" else 1024
    (last,) = trained.system.stages(examples, skip=skip, batch_rows=rows, last=True)[target]
    return np.asarray(examples.columns[f"target.{target}"]), last


def area(trained: Trained, examples: Examples, target: str) -> float:
    """AUROC in percent."""
    return 100 * auroc(*last_outputs(trained, examples, target))


def areas(trained: Trained, tasks: Sequence[str]) -> dict[str, float]:
    """Task → AUROC in percent on the test part, to the two digits of the table."""
    return {task: round(area(trained, trained.data.test, task), 2) for task in tasks}


def estimates(trained: Trained, target: str) -> dict[str, float]:
    """AUROC in percent on the test part with its bootstrap interval, and balanced accuracy, all to two digits."""
    truth, probabilities = last_outputs(trained, trained.data.test, target)
    interval = auroc_interval(truth, probabilities)
    shares = {"AUROC": interval.value, "low": interval.low or 0.0, "high": interval.high or 0.0}
    shares["BAC"] = balanced_accuracy(truth, probabilities.argmax(1))
    return {name: round(100 * share, 2) for name, share in shares.items()}


def worth(trained: Trained) -> dict[tuple[str, str, str], float]:
    """(task, modality, measure): how far a modality moves the prediction in the chain and read alone from the initial state
    (where training puts only the first), and what is lost without it."""
    test, names = trained.data.test, trained.system.layout.names
    values: dict[tuple[str, str, str], float] = {}
    for task in TASKS:
        everything, moved = area(trained, test, task), importance(trained.system, test, task)
        contributions = trained.system.contributions(test, task)
        for place, name in enumerate(names):
            values[task, name, "importance"] = float(np.abs(contributions[:, place]).mean())
            values[task, name, "importance alone"], values[task, name, "loss decrease alone"] = moved[name]
            without = area(trained, without_modalities(test, [name]), task)
            values[task, name, "AUROC lost without"] = everything - without
    return values


def rank_agreement(trained: Trained) -> dict[str, float]:
    """Spearman's ρ over modalities of each kind of importance and the AUROC lost without, mean over tasks."""
    from scipy.stats import spearmanr

    values, names = trained.measured(worth), trained.system.layout.names

    def agreement(kind: str) -> float:
        pairs = {
            task: [(values[task, name, kind], values[task, name, "AUROC lost without"]) for name in names]
            for task in TASKS
        }
        return fmean(float(spearmanr(several).statistic) for several in pairs.values())

    return {kind: agreement(kind) for kind in ("importance", "importance alone")}


def subset_areas(trained: Trained) -> dict[tuple[int, str, str], float]:
    """(number of modalities, their names, task) → AUROC in percent from every subset, to two digits."""
    test, names = trained.data.test, trained.system.layout.names
    values = {}
    for size in range(len(names) + 1):
        for kept in combinations(names, size):
            part = without_modalities(test, [name for name in names if name not in kept])
            for task in TASKS:
                values[size, " ".join(kept), task] = round(area(trained, part, task), 2)
    return values


def three_tests(trained: Trained, source: str, rate: float) -> dict[tuple[str, float, str], float]:
    """(set, rate, test) → AUROC and BAC in percent, to two digits, with a ``full`` test, with the ``same`` missing values as
    in training, and ``flip``: with those of the other class."""
    target, modality = MNAR[source]
    values = {}
    for name, label in (("full", None), ("same", 1), ("flip", 0)):
        test = trained.data.test
        if label is not None:
            missing = MissingConfig(modality=modality, mechanism="mnar", rate=rate, label=label)
            test = simulate(test, trained.data.details, missing, 1000 + trained.seed)
        truth, probabilities = last_outputs(trained, test, target, trained.system.skip)
        values[source, rate, name] = round(100 * auroc(truth, probabilities), 2)
        values[source, rate, f"{name} BAC"] = round(
            100 * balanced_accuracy(truth, probabilities.argmax(1)), 2
        )
    return values


def warned(trained: Trained) -> bool:
    """Whether the tool warns of the missing values that this model was trained with."""
    return bool(find_dependence(trained.data.train, trained.system.layout))


def without_modalities(examples: Examples, names: Sequence[str]) -> Examples:
    """The examples with some modalities deleted."""
    for name in names:
        examples = delete(examples, name, range(len(examples)))
    return examples
