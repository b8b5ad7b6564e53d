"""Missing modalities: simulated (at random, by another value, by the label), and tested for depending on a label."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brickwork.core.errors import DataError, warn
from brickwork.data.types import Examples
from brickwork.systems.multimodn.data import MissingConfig
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout

ALPHA = 0.001  # of all tests together (Bonferroni)
MIN_DIFFERENCE = 0.05  # between shares of missing rows; a smaller one is not worth a warning
_COLUMNS, _VALUES = 4, 3  # of new categories, that a warning names


def simulate(examples: Examples, layout: TableLayout, config: MissingConfig, seed: int) -> Examples:
    """The examples with one modality deleted from some rows, which are drawn from ``seed``.

    ``mcar``: from ``rate`` of all rows. ``mar``: from ``rate`` of the rows whose first number of modality ``driver`` is
    above its median. ``mnar``: from ``rate`` of the rows of class ``label`` of the first class target (the protocol of
    MultiModN's authors; with the other label it is their flipped test).

    Raises:
        DataError: an unknown modality, or no target with that class.
    """
    layout.modality(config.modality)
    rng = np.random.default_rng([seed, 1])
    eligible = np.arange(len(examples))
    if config.mechanism == "mnar":
        eligible = np.flatnonzero(_labels(examples, layout, config.label) == config.label)
    elif config.mechanism == "mar":
        driver = layout.modality(config.driver)
        if driver.kind != "table" or not driver.numbers:
            raise DataError(
                f"data.table.missing.driver: modality '{driver.name}' has no numbers to depend on"
            )
        value = np.asarray(examples.columns[driver.name])[:, 0]
        eligible = np.flatnonzero(value > np.nanmedian(value))
    chosen = rng.permutation(eligible)[: round(config.rate * len(eligible))]
    return delete(examples, config.modality, chosen)


def _labels(examples: Examples, layout: TableLayout, label: int) -> np.ndarray:
    for target in layout.targets:
        if target.is_class and label < len(target.classes):
            return np.asarray(examples.columns[target.column])
    raise DataError(f"data.table.missing.label={label}: no target has that many classes")


def delete(examples: Examples, modality: str, rows: Sequence[int] | np.ndarray) -> Examples:
    """The examples without ``modality`` in ``rows``; the others share their memory."""
    columns: dict[str, Any] = dict(examples.columns)
    for name in (modality, f"{modality}.categories", f"{modality}.texts"):
        if name not in columns:
            continue
        held = columns[name]
        if isinstance(held, np.ndarray) and held.dtype.kind in "fO":
            held = held.copy()
            held[rows] = np.nan if held.dtype.kind == "f" else None
        else:
            gone = set(np.asarray(rows).tolist())
            held = [None if row in gone else value for row, value in enumerate(held)]
        columns[name] = held
    return Examples(columns)


def is_present(examples: Examples, modality: str) -> np.ndarray:
    """For each row, whether any cell of a modality is there. Shapes: → (rows,) bool."""
    columns = examples.columns
    held: Any = columns[modality]
    if isinstance(held, list):
        present = np.fromiter((value is not None for value in held), dtype=bool, count=len(held))
    elif held.dtype.kind == "f":
        present = np.asarray(np.isfinite(held).any(axis=1))
    else:
        return np.ones(len(held), dtype=bool)  # images in one array: all there
    for part in ("categories", "texts"):
        if f"{modality}.{part}" in columns:
            cells: Any = columns[f"{modality}.{part}"]
            present = present | (cells != None).any(axis=1)  # noqa: E711 - cell by cell
    return present


@dataclass(frozen=True, kw_only=True)
class LabelDependence:
    """Rows lack ``modality`` more often for some values of ``target`` than for others.

    ``p`` is corrected for the number of tests; ``shares`` is the share of rows that lack it, by class (for a number: of
    its lower and upper half).
    """

    modality: str
    target: str
    p: float
    shares: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        ordered = sorted(self.shares, key=lambda pair: -pair[1])
        shares = ", ".join(
            f"{100 * share:.0f} % where it is {name}" for name, share in (ordered[0], ordered[-1])
        )
        return f"whether '{self.modality}' is missing depends on '{self.target}' ({shares}; p = {self.p:.1g})"


def label_dependence(
    present: dict[str, np.ndarray], targets: dict[str, np.ndarray], names: dict[str, tuple[str, ...]]
) -> list[LabelDependence]:
    """The modalities whose absence depends on a target, by a chi-squared test of the table absence × class.

    ``present``: by modality, (rows,) bool. ``targets``: by target, (rows,) class numbers (−1 unknown) or numbers (NaN
    unknown), which are halved at their median. ``names``: the classes of each class target.
    """
    from scipy.stats import chi2_contingency

    tests = len(present) * len(targets)
    results = []
    for target, values in targets.items():
        groups, labels = _groups(values, names.get(target, ()))
        labelled = groups >= 0
        for modality, there in present.items():
            counts = np.zeros((2, len(labels)))
            np.add.at(counts, (there[labelled].astype(int), groups[labelled]), 1)
            filled = counts.sum(0) > 0
            if (counts.sum(1) == 0).any() or filled.sum() < 2:
                continue
            p = float(min(1.0, tests * chi2_contingency(counts[:, filled]).pvalue))
            shares = np.divide(counts[0], counts.sum(0), where=filled, out=np.full(len(labels), np.nan))
            if p < ALPHA and np.nanmax(shares) - np.nanmin(shares) >= MIN_DIFFERENCE:
                rows = tuple((label, float(s)) for label, s, ok in zip(labels, shares, filled) if ok)
                results.append(LabelDependence(modality=modality, target=target, p=p, shares=rows))
    return results


def _groups(values: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    if classes:
        return values.astype(np.int64), classes
    middle = np.nanmedian(values)
    halves = np.where(np.isfinite(values), (values > middle).astype(np.int64), -1)
    return halves, (f"at most {middle:.4g}", f"above {middle:.4g}")


def find_dependence(train: Examples, layout: TableLayout) -> list[LabelDependence]:
    """:func:`label_dependence` of every modality of the training rows on every target."""
    return label_dependence(
        {name: is_present(train, name) for name in layout.names},
        {target.name: np.asarray(train.columns[target.column]) for target in layout.targets},
        {target.name: target.classes for target in layout.targets if target.is_class},
    )


def warn_of_dependence(train: Examples, layout: TableLayout, modality_dropout: float) -> None:
    """One :class:`BrickworkWarning` of all that :func:`find_dependence` finds.

    None is given from a ``modality_dropout`` of 0.5 on, which is the remedy.
    """
    if modality_dropout >= 0.5 or not (dependences := find_dependence(train, layout)):
        return
    more = f"; and {len(dependences) - 3} more" if len(dependences) > 3 else ""
    now = "" if modality_dropout == 0 else f" (it is {modality_dropout:g})"
    warn(
        f"{'; '.join(map(str, dependences[:3]))}{more}. A model can learn from this that a missing modality means a label, "
        f"and is wrong where the pattern is another. Train with modality_dropout=0.5 or more{now}, and test with other "
        "patterns of missing values"
    )


def complete_modalities(examples: Examples, layout: TableLayout) -> tuple[str, ...]:
    """The modalities that no row lacks."""
    return tuple(name for name in layout.names if is_present(examples, name).all())


def warn_of_new_gaps(examples: Examples, complete: Sequence[str]) -> None:
    """One :class:`BrickworkWarning` of modalities that are missing here and never were in training (``complete``)."""
    shares = (
        {name: float(1 - is_present(examples, name).mean()) for name in complete} if len(examples) else {}
    )
    if gaps := [f"'{name}' (in {100 * share:.3g} % of the rows)" for name, share in shares.items() if share]:
        warn(
            f"missing here, and never in training: {', '.join(gaps)}. The model has learnt to do without it only where "
            "modality_dropout hid it in training; look at the quality of such rows before you use their answers"
        )


def warn_of_new_categories(examples: Examples, readers: Iterable[Any]) -> None:
    """One :class:`BrickworkWarning` of categories that training never saw: to the model they are no category. With the
    column, how many of its cells, and a few of the values; ``readers``: those of the system."""
    news = []
    for reader in readers:
        layout: ModalityLayout = reader.layout
        for place, column in enumerate(layout.categories):
            known = set(reader.encoder.categories[place])
            cells = np.asarray(examples.columns[f"{layout.name}.categories"], dtype=object)[:, place]
            strange = Counter(cell for cell in cells if cell is not None and cell not in known)
            if strange:
                count, filled = sum(strange.values()), sum(cell is not None for cell in cells)
                some = ", ".join(f"{value!r:.40}" for value, _ in strange.most_common(_VALUES))
                more = f" and {len(strange) - _VALUES} more" if len(strange) > _VALUES else ""
                news.append(f"'{column}' ({count:,} of {filled:,} cells: {some}{more})")
    if news:
        more = f"; and {len(news) - _COLUMNS} more columns" if len(news) > _COLUMNS else ""
        warn(
            f"categories that were never seen in training: {'; '.join(news[:_COLUMNS])}{more}. They count as no category; "
            "look at their spelling, or train on data that has them"
        )
