"""Sets with natural modalities and several targets: of scikit-learn, real ones, and one made up with every kind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from brickwork.core.errors import DataError
from brickwork.data import splits
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.tables import multitask, typed_examples

_TOY_ROWS = 600
_POLLUTED = 75.0  # µg/m³ of PM2.5, mean of a day: the upper bound of "good or moderate" in Chinese standard HJ 633-2012


def multimodal_task(config: Data, seed: int) -> TaskData:
    """One of :data:`SETS` as a task; ``config.table.targets`` keeps only some of its targets.

    Raises:
        DataError: a target that the set does not have, or a choice that has no effect on a known set.
    """
    chosen = config.table
    idle = [f"table.{name}" for name in ("modalities", "ignore", "time") if getattr(chosen, name)]
    idle += ["image_size"] if config.image_size is not None else []
    if idle:
        raise DataError(f"data.{idle[0]} has no effect on the known set '{config.source}'; leave it out")
    layout, examples, times, note = SETS[config.source]()
    if chosen.targets:
        layout = replace(layout, targets=tuple(layout.target(name) for name in chosen.targets))
    if config.limit is not None and config.limit < len(examples):
        rows = splits.pick(len(examples), config.limit)
        examples, times = examples.select(rows), None if times is None else times[rows]
    return multitask(
        config.source, layout, examples, config, seed, times=times, notes=(note,) if note else ()
    )


MultimodalSet = tuple[TableLayout, Examples, np.ndarray | None, str]
"""The layout, all rows, the times to split by (``None``: at random), and a note."""


def _numbers(name: str, columns: tuple[str, ...]) -> ModalityLayout:
    return ModalityLayout(name=name, numbers=columns)


def _digits_quadrants() -> MultimodalSet:
    """Handwritten digits of 8 × 8 pixels cut into four: which digit, is it odd, is it five or more?"""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.asarray(digits.images, dtype=np.float64)
    places = {
        "top_left": (slice(0, 4), slice(0, 4)),
        "top_right": (slice(0, 4), slice(4, 8)),
        "bottom_left": (slice(4, 8), slice(0, 4)),
        "bottom_right": (slice(4, 8), slice(4, 8)),
    }
    columns: dict[str, Any] = {
        name: images[:, rows, cells].reshape(len(images), 16) for name, (rows, cells) in places.items()
    }
    digit = digits.target.astype(np.int64)
    columns |= {
        "target.odd": digit % 2,
        "target.large": (digit >= 5).astype(np.int64),
        "target.digit": digit,
    }
    names = tuple(f"pixel {i}" for i in range(16))
    layout = TableLayout(
        modalities=tuple(_numbers(place, tuple(f"{place} {name}" for name in names)) for place in places),
        targets=(
            TargetLayout(name="odd", classes=("even", "odd")),
            TargetLayout(name="large", classes=("0 to 4", "5 to 9")),
            TargetLayout(name="digit", classes=tuple("0123456789")),
        ),
    )
    return layout, Examples(columns), None, ""


def _digits_and_noise() -> MultimodalSet:
    """The four quarters of a digit and a fifth modality of sixteen random numbers: a control."""
    layout, examples, times, note = _digits_quadrants()
    noise = np.random.default_rng(0).normal(size=(len(examples), 16))
    modalities = (*layout.modalities, _numbers("noise", tuple(f"noise {i}" for i in range(16))))
    return replace(layout, modalities=modalities), Examples({**examples.columns, "noise": noise}), times, note


def _breast_cancer() -> MultimodalSet:
    """Thirty measurements of cell nuclei in three natural groups: their mean, standard error and worst values."""
    from sklearn.datasets import load_breast_cancer

    cells = load_breast_cancer()
    names = [str(name) for name in cells.feature_names]
    columns: dict[str, Any] = {
        group: cells.data[:, 10 * place : 10 * place + 10].astype(np.float64)
        for place, group in enumerate(("mean", "error", "worst"))
    }
    columns["target.tumour"] = cells.target.astype(np.int64)
    layout = TableLayout(
        modalities=tuple(
            _numbers(group, tuple(names[10 * i : 10 * i + 10]))
            for i, group in enumerate(("mean", "error", "worst"))
        ),
        targets=(TargetLayout(name="tumour", classes=("malignant", "benign")),),
    )
    return layout, Examples(columns), None, ""


def _student_performance() -> MultimodalSet:
    """649 pupils: will they pass, and with which final grade? Earlier grades are a modality that may be missing."""
    table = _parquet("student_performance", "student_por")
    groups = {
        "school": (("age",), ("school", "sex", "address", "reason", "schoolsup", "nursery", "internet")),
        "family": (
            ("Medu", "Fedu", "famrel"),
            ("famsize", "Pstatus", "Mjob", "Fjob", "guardian", "famsup"),
        ),
        "habits": (
            (
                "traveltime",
                "studytime",
                "failures",
                "freetime",
                "goout",
                "Dalc",
                "Walc",
                "health",
                "absences",
            ),
            ("paid", "activities", "higher", "romantic"),
        ),
        "earlier_grades": (("G1", "G2"), ()),
    }
    layout = TableLayout(
        modalities=tuple(
            ModalityLayout(name=name, numbers=numbers, categories=categories)
            for name, (numbers, categories) in groups.items()
        ),
        targets=(TargetLayout(name="passed", classes=("no", "yes")), TargetLayout(name="G3")),
    )
    table["passed"] = ["yes" if grade >= 10 else "no" for grade in table["G3"]]
    return layout, typed_examples(layout, table), None, "passed: a final grade G3 of 10 or more"


def _beijing_air_quality() -> MultimodalSet:
    """Twelve stations, day by day: from the last 24 hours of several instruments, will tomorrow be polluted?"""
    table = _parquet("beijing_air_quality", "beijing_air_quality")
    stations = np.asarray(table["station"])
    groups = {
        "particles": ("PM2.5", "PM10"),
        "gases": ("SO2", "NO2", "CO", "O3"),
        "weather": ("TEMP", "PRES", "DEWP", "RAIN", "WSPM"),
    }
    columns: dict[str, list[Any]] = {
        name: [] for name in (*groups, "calendar", "place", "times", "tomorrow", "winter")
    }
    for station in sorted(set(stations)):
        here = np.flatnonzero(stations == station)
        values = {
            name: np.stack([np.asarray(table[c], dtype=np.float64)[here] for c in names], axis=1)
            for name, names in groups.items()
        }
        month = np.asarray(table["month"])[here]
        for start in range(0, len(here) - 48 + 1, 24):
            tomorrow = values["particles"][start + 24 : start + 48, 0]
            if np.isfinite(tomorrow).sum() < 12:
                continue
            for name, held in values.items():
                day = held[start : start + 24]
                columns[name].append(day if np.isfinite(day).any() else None)
            angle = 2 * np.pi * (month[start] - 1) / 12
            columns["calendar"].append((np.sin(angle), np.cos(angle)))
            columns["place"].append(station)
            columns["times"].append(start)
            columns["tomorrow"].append(np.nanmean(tomorrow))
    mean = np.asarray(columns["tomorrow"])
    layout = TableLayout(
        modalities=(
            *(ModalityLayout(name=name, kind="series", numbers=names) for name, names in groups.items()),
            _numbers("calendar", ("sine of month", "cosine of month")),
            ModalityLayout(name="place", categories=("station",)),
        ),
        targets=(TargetLayout(name="polluted", classes=("no", "yes")), TargetLayout(name="PM2.5 tomorrow")),
    )
    count = len(mean)
    examples = Examples({
        **{name: columns[name] for name in groups},
        "calendar": np.asarray(columns["calendar"], dtype=np.float64),
        "place": np.empty((count, 0)),
        "place.categories": np.asarray(columns["place"], dtype=object)[:, None],
        "target.polluted": (mean > _POLLUTED).astype(np.int64),
        "target.PM2.5 tomorrow": mean,
    })  # fmt: skip
    return (
        layout,
        examples,
        np.asarray(columns["times"], dtype=np.float64),
        (f"polluted: tomorrow's mean PM2.5 above {_POLLUTED:g} µg/m³; split by time"),
    )


def _parquet(known_set: str, file: str) -> dict[str, Any]:
    """The columns of a table of a known set as arrays."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(locate(known_set) / "tabular_timeseries" / f"{file}.parquet")
    return {name: table[name].to_numpy() for name in table.column_names}


def _cifar10_described() -> MultimodalSet:
    """CIFAR-10 with three views of each image: its pixels, its colours, and a description that is often wrong."""
    from brickwork.data.sets.images import class_names, load_images

    cifar = load_images("cifar10", "train")
    images, labels = np.asarray(cifar.columns["input"]), np.asarray(cifar.columns["label"])
    names = class_names("cifar10")
    rng = np.random.default_rng(0)
    described = np.where(rng.random(len(labels)) < 0.4, labels, rng.integers(0, len(names), len(labels)))
    texts = np.empty((len(labels), 1), dtype=object)
    texts[:, 0] = [f"a photo that may show a {names[label]}" for label in described]
    colours = np.stack(
        [(images[..., c, None] // 32 == np.arange(8)).mean((1, 2)) for c in range(3)], axis=1
    ).reshape(len(images), 24)
    layout = TableLayout(
        modalities=(
            _numbers("colours", tuple(f"colour {i}" for i in range(24))),
            ModalityLayout(name="description", texts=("text",)),
            ModalityLayout(name="photo", kind="image", numbers=("image",), shape=images.shape[1:]),
        ),
        targets=(
            TargetLayout(name="animal", classes=("no", "yes")),
            TargetLayout(name="thing", classes=names),
        ),
    )
    animals = {"bird", "cat", "deer", "dog", "frog", "horse"}
    examples = Examples({
        "colours": colours,
        "description": np.empty((len(labels), 0)),
        "description.texts": texts,
        "photo": images,
        "target.animal": np.array([names[label] in animals for label in labels], dtype=np.int64),
        "target.thing": labels,
    })  # fmt: skip
    return layout, examples, None, "the description names the right class in 46 % of the cases"


def toy_columns(rows: int, seed: int) -> dict[str, Any]:
    """A made-up ward: every kind of column, some cells and whole modalities missing, one class and one number to learn.

    Two hidden causes show in all modalities, with noise.
    """
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    vitals = np.stack([a, b, a - b], axis=1) + 0.3 * rng.normal(size=(rows, 3))
    vitals[rng.random((rows, 3)) < 0.05] = np.nan
    waves = [
        np.stack([np.sin(np.arange(n) * (1 + 0.3 * x)), np.full(n, y)], axis=1)
        + 0.1 * rng.normal(size=(n, 2))
        for n, x, y in zip(rng.integers(4, 9, rows), a, b)
    ]
    pixels = rng.normal(size=(rows, 8, 8, 3)) * 20 + 128 + 40 * a[:, None, None, None]
    pixels[:, :4] += 40 * b[:, None, None, None]
    notes = [
        f"patient {'pale' if x > 0 else 'rosy'} and {'restless' if y > 0 else 'calm'}" for x, y in zip(a, b)
    ]
    gone = rng.random((rows, 3)) < 0.1
    return {
        **{f"vitals_{name}": vitals[:, i] for i, name in enumerate(("pulse", "pressure", "oxygen"))},
        "person_age": 50 + 10 * b + 5 * rng.normal(size=rows),
        "person_sex": [("f", "m")[i] for i in rng.integers(0, 2, rows)],
        "person_ward": [("A", "B", "C")[int(x > -0.5) + int(x > 0.5)] for x in a],
        "note": [None if g else note for g, note in zip(gone[:, 0], notes)],
        "wave": [None if g else wave[:, 0] for g, wave in zip(gone[:, 1], waves)],
        "flow": [None if g else wave[:, 1] for g, wave in zip(gone[:, 1], waves)],
        "scan": [
            None if g else scan for g, scan in zip(gone[:, 2], np.clip(pixels, 0, 255).astype(np.uint8))
        ],
        "sick": ["yes" if x + y > 0 else "no" for x, y in zip(a, b)],
        "days": 5 + a - b,
    }


TOY_LAYOUT = TableLayout(
    modalities=(
        _numbers("vitals", ("vitals_pulse", "vitals_pressure", "vitals_oxygen")),
        ModalityLayout(name="person", numbers=("person_age",), categories=("person_sex", "person_ward")),
        ModalityLayout(name="note", texts=("note",)),
        ModalityLayout(name="monitor", kind="series", numbers=("wave", "flow")),
        ModalityLayout(name="scan", kind="image", numbers=("scan",), shape=(8, 8, 3)),
    ),
    targets=(TargetLayout(name="sick", classes=("no", "yes")), TargetLayout(name="days")),
)


def _toy() -> MultimodalSet:
    return TOY_LAYOUT, typed_examples(TOY_LAYOUT, toy_columns(_TOY_ROWS, 0)), None, ""


SETS: dict[str, Callable[[], MultimodalSet]] = {
    "toy_ward": _toy,
    "digits_quadrants": _digits_quadrants,
    "digits_and_noise": _digits_and_noise,
    "breast_cancer": _breast_cancer,
    "student_performance": _student_performance,
    "beijing_air_quality": _beijing_air_quality,
    "cifar10_described": _cifar10_described,
}
