"""The data of a run: texts with a domain each."""

from dataclasses import dataclass, replace

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
