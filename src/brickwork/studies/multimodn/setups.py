"""The models that the claims compare, and how they are read.

Everything with the sizes of the spec sheet: S = 50, hidden 32, 32, dropout 0.2, Adam, batch 16, 70/30 split (a tenth of all
rows is validation), statistics from training rows only. At ``small`` 20 epochs (the sheet: 40, measured with 15), and
the learning rate of every arm is chosen from the same three (0.5, 1 and 2 times 1e-3) on validation data, P-Fusion's like
ours; at ``smoke`` 8 epochs of at most 500 rows at 1e-3.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import BrickworkWarning
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab, Scale

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.training.run import RunConfig

ROWS = {"digits_quadrants": 1797, "digits_and_noise": 1797, "breast_cancer": 569, "student_performance": 649}
MNAR = {"digits_quadrants": ("odd", "top_right"), "breast_cancer": ("tumour", "error")}
"""For claim C5: the task, and the modality that is deleted (the spec sheet's)."""
TASKS = ("odd", "large", "digit")
"""Of the digits."""
BATCH = 16


def set_up(
    scale: Scale, source: str, targets: Sequence[str] = (), rows: int | None = None, **missing: Any
) -> "RunConfig":
    """The run of one data set; ``rows`` limits it, ``missing`` simulates missing values in training and validation."""
    from brickwork.systems.multimodn.data import Data, MissingConfig, TableConfig
    from brickwork.systems.multimodn.recipes import small

    if scale == "smoke":
        rows = min(rows or 500, 500)
    run = small()
    rows = rows if rows and rows < ROWS[source] else None
    held = rows or ROWS[source]
    steps = (8 if scale == "smoke" else 20) * max(1, round(0.6 * held / BATCH))
    table = TableConfig(targets=tuple(targets), missing=MissingConfig(**missing))
    return replace(
        run,
        recipe=f"claims: {source}",
        data=Data(source=source, limit=rows, validation_share=0.1, test_share=0.3, table=table),
        train=replace(run.train, steps=steps, save_every=0, validate_every=0),
    )


def variant(run: "RunConfig", name: str) -> "RunConfig":
    """The run as one arm: ``multimodn`` or ``parallel``, with words behind it that change options."""
    from brickwork.systems.multimodn.config import ParallelFusionConfig, SequentialFusion

    words = name.split()
    model = run.model
    if words[0] == "parallel":
        model = replace(model, fusion=ParallelFusionConfig(fill="learned" if "learned" in words else "mean"))
    else:
        model = replace(model, fusion=SequentialFusion(skip="batch" if "batch" in words else "sample"))
    if "sigmoid" in words:
        model = replace(model, outputs="sigmoid")
    if "dropout" in words:
        model = replace(model, modality_dropout=0.5)
    return replace(run, model=model)


def at_its_rate(lab: Lab, run: "RunConfig", *, like: "RunConfig | None" = None) -> Callable[[int], Trained]:
    """Seed → the run at the rate that suits it (or that suits ``like``): chosen without simulated missing values, and at
    ``smoke`` not chosen at all."""
    from brickwork.systems.multimodn.data import MissingConfig

    whole = like or run
    whole = replace(whole, data=replace(run.data, table=replace(run.data.table, missing=MissingConfig())))

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


def scores(trained: Trained, examples: "Examples", target: str, skip: str = "sample") -> tuple[float, float]:
    """AUROC and balanced accuracy in percent; ``skip="batch"`` as the authors' code, in batches of 16 in file order."""
    import numpy as np

    from brickwork.evaluation.classification import auroc, balanced_accuracy

    rows = BATCH if skip == "batch" else 1024
    last = trained.system.stages(examples, skip=skip, batch_rows=rows)[target][-1]
    truth = np.asarray(examples.columns[f"target.{target}"])
    return 100 * auroc(truth, last), 100 * balanced_accuracy(truth, last.argmax(1))


def areas(trained: Trained, tasks: Sequence[str]) -> dict[str, float]:
    """Task → AUROC in percent on the test part, to the two digits of the table."""
    return {task: round(scores(trained, trained.data.test, task)[0], 2) for task in tasks}


def estimates(trained: Trained, target: str) -> dict[str, float]:
    """AUROC in percent on the test part with its bootstrap interval, and balanced accuracy, all to two digits."""
    import numpy as np

    from brickwork.evaluation.classification import auroc_interval

    test = trained.data.test
    last = trained.system.stages(test)[target][-1]
    area = auroc_interval(np.asarray(test.columns[f"target.{target}"]), last)
    numbers = {"AUROC": 100 * area.value, "low": 100 * (area.low or 0.0), "high": 100 * (area.high or 0.0)}
    numbers["BAC"] = scores(trained, test, target)[1]
    return {name: round(value, 2) for name, value in numbers.items()}


def worth(trained: Trained) -> dict[tuple[str, str, str], float]:
    """(task, modality, number): how far a modality moves the prediction, and what is lost without it."""
    from brickwork.systems.multimodn.step_outputs import importance

    test, names = trained.data.test, trained.system.layout.names
    numbers: dict[tuple[str, str, str], float] = {}
    for task in TASKS:
        everything, moved = scores(trained, test, task)[0], importance(trained.system, test, task)
        contributions = trained.system.contributions(test, task)
        for place, name in enumerate(names):
            numbers[task, name, "importance"], numbers[task, name, "loss decrease"] = moved[name]
            numbers[task, name, "mean contribution"] = float(contributions[:, place].mean())
            without = scores(trained, only(test, [name], ()), task)[0]
            numbers[task, name, "AUROC lost without"] = everything - without
    return numbers


def rank_agreement(trained: Trained) -> float:
    """Spearman's ρ over modalities of importance and the AUROC lost without, mean over tasks."""
    from scipy.stats import spearmanr

    numbers, names = trained.measured(worth), trained.system.layout.names
    return fmean(
        float(
            spearmanr(
                *(
                    [numbers[task, name, what] for name in names]
                    for what in ("importance", "AUROC lost without")
                )
            ).statistic
        )
        for task in TASKS
    )


def subset_areas(trained: Trained) -> dict[tuple[int, str, str], float]:
    """(number of modalities, their names, task) → AUROC in percent from every subset, to two digits."""
    names = trained.system.layout.names
    subsets = [kept for size in range(len(names) + 1) for kept in combinations(names, size)]
    parts = {kept: only(trained.data.test, names, kept) for kept in subsets}
    return {
        (len(kept), " ".join(kept), task): round(scores(trained, part, task)[0], 2)
        for kept, part in parts.items()
        for task in TASKS
    }


def three_tests(trained: Trained, source: str, rate: float) -> dict[tuple[str, float, str], float]:
    """(set, rate, test) → AUROC and BAC in percent, to two digits, with a ``full`` test, with the ``same`` missing values as
    in training, and ``flip``: with those of the other class."""
    from brickwork.systems.multimodn.data import MissingConfig
    from brickwork.systems.multimodn.missingness import simulate

    target, modality = MNAR[source]
    skip = trained.system.skip
    numbers = {}
    for name, label in (("full", None), ("same", 1), ("flip", 0)):
        test = trained.data.test
        if label is not None:
            missing = MissingConfig(modality=modality, mechanism="mnar", rate=rate, label=label)
            test = simulate(test, trained.data.details, missing, 1000 + trained.seed)
        area, balanced = scores(trained, test, target, skip)
        numbers[source, rate, name] = round(area, 2)
        numbers[source, rate, f"{name} BAC"] = round(balanced, 2)
    return numbers


def warned(trained: Trained) -> bool:
    """Whether the tool warns of the missing values that this model was trained with."""
    from brickwork.systems.multimodn.missingness import find_dependence

    return bool(find_dependence(trained.data.train, trained.system.layout))


def only(examples: "Examples", names: Sequence[str], kept: Sequence[str]) -> "Examples":
    """The examples with all modalities but ``kept`` deleted."""
    from brickwork.systems.multimodn.missingness import delete

    for name in names:
        if name not in kept:
            examples = delete(examples, name, range(len(examples)))
    return examples
