"""Sentence classification of the SentEval collection with official parts: questions by type, reviews by polarity."""

from dataclasses import dataclass

from brickwork.core.errors import DataError
from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData


@dataclass(frozen=True)
class _Set:
    train: str
    test: str
    classes: tuple[str, ...]


SENTENCE_TASKS = {
    "trec6": _Set("train", "test", ("description", "entity", "abbreviation", "person", "place", "number")),
    "sst2": _Set("train", "test", ("negative", "positive")),
}


def sentence_task(name: str, config: DataConfig, seed: int) -> TaskData:
    """One of :data:`SENTENCE_TASKS`; validation is taken from the official training part.

    Raises:
        DataError: the set is not on this machine, or not of this name.
    """
    import pyarrow.parquet

    if name not in SENTENCE_TASKS:
        raise DataError(f"'{name}' is no sentence task; there are: {', '.join(SENTENCE_TASKS)}")
    known = SENTENCE_TASKS[name]
    path = locate("sentence_tasks") / "text_classification" / "sentence_tasks.parquet"
    table = pyarrow.parquet.read_table(path, filters=[("task", "=", name)])

    def part(which: str) -> Examples:
        rows = table.filter([split == which for split in table["split"].to_pylist()])
        kept = splits.pick(len(rows), config.limit)
        everything = Examples({"input": rows["text"].to_pylist(), "label": rows["label"].to_pylist()})
        return everything.select([int(row) for row in kept])

    everything = part(known.train)
    parts = splits.split(
        [splits.normalised(text) for text in everything.columns["input"]],
        validation_share=config.validation_share,
        test_share=0.0,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, _ = splits.select(everything, parts)
    return TaskData(
        name=name,
        kind="labelled",
        modality="text",
        train=train,
        validation=validation,
        test=part(known.test),
        num_classes=len(known.classes),
        class_names=known.classes,
    )
