"""The data of a run: texts with a domain each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.sets.language import text_task
from brickwork.data.types import Examples, TaskData


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``configurable-foundation-models``."""

    also: tuple[str, ...] = ()
    """Known sets of texts that are read together with the known set ``source``, each with domains of its own."""


def load_data(config: Data, seed: int) -> TaskData:
    """Texts with a domain each (a sub-folder, a file, a label), cut into pieces. Domains take turns, so that any few rows
    have texts of all."""
    task = text_task(config, seed, config.also)
    return replace(
        task, train=_in_turns(task.train), validation=_in_turns(task.validation), test=_in_turns(task.test)
    )


def _in_turns(examples: Examples) -> Examples:
    if not len(examples):
        return examples
    turns: dict[str, int] = {}
    places = []
    for row, domain in enumerate(examples.columns["domain"]):
        turns[domain] = turns.get(domain, 0) + 1
        places.append((turns[domain], str(domain), row))
    return examples.select([row for _, _, row in sorted(places)])


class Halves(NamedTuple):
    """Rows of the examples that are scored, and that are measured."""

    scored: list[int]
    measured: list[int]


def halves(domains: Sequence[str], texts: int) -> Halves:
    """At most ``texts`` rows of each domain, evenly from all of them: the first half, and the second.

    Raises:
        DataError: one domain alone, or one with too few texts.
    """
    names = sorted(set(domains))
    if len(names) < 2:
        raise DataError(
            f"all texts are of one domain ({', '.join(names) or 'none'}): neurons that serve one domain are found beside "
            "others; give a folder with a sub-folder for each"
        )
    scored, measured = [], []
    for name in names:
        rows = [row for row, domain in enumerate(domains) if domain == name]
        if len(rows) < 4:
            raise DataError(
                f"domain '{name}' has {len(rows)} texts to learn from: it needs 4 or more; give more texts or leave the "
                "domain out"
            )
        chosen = [rows[place * len(rows) // texts] for place in range(texts)] if len(rows) > texts else rows
        scored += chosen[: len(chosen) // 2]
        measured += chosen[len(chosen) // 2 :]
    return Halves(scored, measured)
