"""Pairs with a label that says whether they are right: a pair of a contradiction is no positive."""

from typing import Any

from brickwork.core.errors import DataError
from brickwork.data.types import Kind

_RIGHT, _WRONG = ("entailment", "entails"), ("contradiction", "contradicts")
_NEITHER = ("neutral", "-", "")
_JUDGEMENTS = """true false yes no 0 1 0.0 1.0 duplicate not_duplicate relevant irrelevant not_relevant similar dissimilar
paraphrase not_paraphrase correct incorrect entailment not_entailment equivalent not_equivalent match no_match positive
negative"""
_TWO_VALUED = frozenset(_JUDGEMENTS.split())
_JUDGING = (
    "label",
    "labels",
    "target",
    "relevance",
    "gold_label",
    "judgement",
    "judgment",
)  # names under which numbers are a judgement, and no category


def by_label(
    columns: dict[str, list[Any]], column: str, where: str
) -> tuple[Kind, dict[str, list[Any]], list[str]]:
    """What pairs with a label are: triplets, where it says entailment and contradiction (Bowman et al. 2015, SNLI; each
    premise with what follows from it and what contradicts it); pairs, where it is a category. Kind, columns and notes.

    Raises:
        DataError: it says whether a pair is right in another way, or how much; asks which is meant.
    """
    labels = [label.casefold() for label in columns["label"]]
    named = {label for label in labels if label}
    pairs = {name: values for name, values in columns.items() if name != "label"}
    if named & {*_RIGHT, *_WRONG} and named <= {*_RIGHT, *_WRONG, *_NEITHER}:
        return _entailed(pairs, labels, column, where)
    numeric = bool(named) and column.strip().lower() in _JUDGING and all(map(_is_number, named))
    if numeric or (named and named <= _TWO_VALUED):
        some = ", ".join(sorted(named)[:4])
        raise DataError(
            f"{where} has pairs and a column '{column}' ({some}). If it says how similar they are, in numbers: --column "
            f"score={column}. If every pair is right whatever it says, choose the columns: --column anchor=NAME --column "
            "positive=NAME. Else keep the rows that are right"
        )
    return "pairs", pairs, [f"'{column}' is a category of the pairs and is not learnt"] if named else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entailed(
    pairs: dict[str, list[Any]], labels: list[str], column: str, where: str
) -> tuple[Kind, dict[str, list[Any]], list[str]]:
    follows: dict[str, list[int]] = {}
    contradicts: dict[str, list[int]] = {}
    for row, (premise, label) in enumerate(zip(pairs["anchor"], labels)):
        if label in _RIGHT + _WRONG:
            (follows if label in _RIGHT else contradicts).setdefault(premise, []).append(row)
    if not follows:
        raise DataError(
            f"{where}: '{column}' says entailment of no row, so there is nothing that is right to learn from"
        )
    chosen = [
        (row, contradicts[premise][place % len(contradicts[premise])])
        for premise, right in follows.items()
        if premise in contradicts
        for place, row in enumerate(right)
    ]
    if chosen:
        kept = {name: [values[row] for row, _ in chosen] for name, values in pairs.items()}
        kept["negative"] = [pairs["positive"][wrong] for _, wrong in chosen]
        used = f"{len(chosen):,} triplets of a text, what follows from it and what contradicts it"
        return "triplets", kept, [f"'{column}': {used}, of {len(labels):,} rows"]
    rows = [row for right in follows.values() for row in right]
    kept = {name: [values[row] for row in rows] for name, values in pairs.items()}
    return "pairs", kept, [f"'{column}': the {len(rows):,} pairs of an entailment, of {len(labels):,} rows"]
