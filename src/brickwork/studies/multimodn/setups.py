"""The models that the claims compare, and how they are read.

Everything with the sizes of the spec sheet: S = 50, hidden 32, 32, dropout 0.2, Adam, batch 16, 70/30 split (a tenth of all
rows is validation), statistics from training rows only. At ``small`` 20 epochs (the sheet: 40, measured with 15), and
the learning rate of every arm is chosen from the same three (0.5, 1 and 2 times 1e-3) on validation data, P-Fusion's like
ours; at ``smoke`` 8 epochs of at most 500 rows at 1e-3.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import BrickworkWarning
from brickwork.studies.old import Scale, Trained, Workbench
from brickwork.studies.tuning import tuned

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.training.run import RunConfig

ROWS = {"digits_quadrants": 1797, "digits_and_noise": 1797, "breast_cancer": 569, "student_performance": 649}
MNAR = {"digits_quadrants": ("odd", "top_right"), "breast_cancer": ("tumour", "error")}
"""For claim C5: the task, and the modality that is deleted (the spec sheet's)."""
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


def train_arm(
    bench: Workbench, scale: Scale, run: "RunConfig", seed: int, like: "RunConfig | None" = None
) -> Trained:
    """The run at the rate that suits it (or that suits ``like``): chosen without simulated missing values, and at ``smoke``
    not chosen at all."""
    rate = run.train.learning_rate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)  # of missing values that the claim itself made
        if scale != "smoke":
            whole = like or run
            whole = replace(whole, data=replace(run.data, table=replace(run.data.table, missing=_nothing())))
            rate = tuned(bench, whole, validation_score).train.learning_rate
        return bench.train(replace(run, seed=seed, train=replace(run.train, learning_rate=rate)))


def _nothing() -> Any:
    from brickwork.systems.multimodn.data import MissingConfig

    return MissingConfig()


def validation_score(trained: Trained) -> float:
    """The mean AUROC (R² of numbers) over the targets, on validation data."""
    scores = trained.system.evaluate(trained.data.validation)
    return fmean([value for name, value in scores.items() if name.endswith(("/auroc", "/r2"))] or [0.0])


def scores(trained: Trained, examples: "Examples", target: str, skip: str = "sample") -> tuple[float, float]:
    """AUROC and balanced accuracy in percent; ``skip="batch"`` as the authors' code, in batches of 16 in file order."""
    import numpy as np

    from brickwork.evaluation.classification import auroc, balanced_accuracy

    said = trained.system.stages(examples, skip=skip, batch_rows=BATCH if skip == "batch" else 1024)[target][
        -1
    ]
    truth = np.asarray(examples.columns[f"target.{target}"])
    return 100 * auroc(truth, said), 100 * balanced_accuracy(truth, said.argmax(1))


def area(trained: Trained, target: str) -> float:
    """AUROC in percent on the test part."""
    return scores(trained, trained.data.test, target)[0]


def three_tests(trained: Trained, source: str, rate: float, seed: int, skip: str) -> dict[str, float]:
    """AUROC and BAC (percent) with a ``full`` test, with the ``same`` missing values as in training, and ``flip``: with
    those of the other class."""
    from brickwork.systems.multimodn.data import MissingConfig
    from brickwork.systems.multimodn.missingness import simulate

    target, modality = MNAR[source]
    layout = trained.data.details
    assert layout is not None, "a set with modalities has a layout"
    found = {}
    for name, label in (("full", None), ("same", 1), ("flip", 0)):
        test = trained.data.test
        if label is not None:
            missing = MissingConfig(modality=modality, mechanism="mnar", rate=rate, label=label)
            test = simulate(test, layout, missing, 1000 + seed)
        found[name], found[f"{name} BAC"] = scores(trained, test, target, skip)
    return found


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets, from none to all."""
    return [chosen for size in range(len(names) + 1) for chosen in combinations(names, size)]


def only(examples: "Examples", names: Sequence[str], kept: Sequence[str]) -> "Examples":
    """The examples with all modalities but ``kept`` deleted."""
    from brickwork.systems.multimodn.missingness import delete

    for name in names:
        if name not in kept:
            examples = delete(examples, name, range(len(examples)))
    return examples
