"""What text2token reads: texts. Of plain documents every passage, whether or not another one answers it."""

from dataclasses import replace
from pathlib import Path

from brickwork.core.errors import DataError
from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.load import is_known, load_task, read_documents
from brickwork.data.readers.columns import task_of
from brickwork.data.readers.files import TABLES, column_names
from brickwork.data.retrieval import retrieval_from_pairs
from brickwork.data.types import Examples, TaskData
from brickwork.representation.export_parquet import document_text


def load_data(config: DataConfig, seed: int) -> TaskData:
    """As every system of texts reads a source that has pairs or labels. Of plain documents all passages are learnt from;
    some that have a heading or a neighbour are held out as pairs to measure search on; where none has, halves of others are.

    Raises:
        DataError: the source cannot be used, or has fewer than two texts.
    """
    path = Path(config.source).expanduser()
    if is_known(config.source) or not path.exists() or not _is_plain(path, config):
        return load_task(config, seed)
    documents = read_documents(
        path,
        columns=config.columns,
        limit=config.limit,
        max_passage_words=config.max_passage_words,
        max_passage_tokens=config.max_passage_tokens,
        allow_outside=config.allow_outside,
    )
    texts = {splits.normalised(one.text): document_text(one) for one in documents}
    if len(texts) < 2:
        raise DataError(
            f"{path} gives {len(texts)} different text{'' if len(texts) == 1 else 's'}; training needs 2 or more"
        )
    try:
        task = load_task(config, seed)
    except DataError:  # no passage has a heading or a neighbour
        return _texts_alone(path, texts, config, seed)
    columns = [part.columns[name] for part in (task.validation, task.test) for name in ("anchor", "positive")]
    held = {splits.normalised(text) for column in columns for text in column}
    train = [text for own, text in texts.items() if own not in held]
    if len(train) < 2:
        return task
    return replace(
        task,
        train=Examples({"input": train}),
        notes=(*task.notes, f"learnt from {len(train):,} passages; pairs are held out to measure on"),
    )


def _is_plain(path: Path, config: DataConfig) -> bool:
    """Whether a source has neither pairs nor scores nor labels."""
    if path.is_dir() or not any(suffix.lower() in TABLES for suffix in path.suffixes[-2:]):
        return True
    return path.stat().st_size > 0 and task_of(column_names(path), config.columns, str(path))[0] is None


def _texts_alone(path: Path, texts: dict[str, str], config: DataConfig, seed: int) -> TaskData:
    """Of texts of which none has a heading or a neighbour, the halves of held-out ones are the pairs to measure on."""
    parts = splits.split(
        list(texts),
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    every = list(texts.values())
    test = _halves([every[row] for row in parts.test])
    return TaskData(
        name=path.name,
        kind="pairs",
        modality="text",
        train=Examples({"input": [every[row] for row in parts.train]}),
        validation=_halves([every[row] for row in parts.validation]),
        test=test,
        retrieval={"halves": retrieval_from_pairs("halves", test)} if len(test) else {},
        notes=(
            f"{len(texts):,} texts, none with a heading or a neighbour: search is measured on halves of held-out ones",
        ),
    )


def _halves(texts: list[str]) -> Examples:
    """Pairs of the first and the second half of each text of two words or more."""
    words = [text.split() for text in texts]
    both = [(one[: len(one) // 2], one[len(one) // 2 :]) for one in words if len(one) > 1]
    anchors, positives = [" ".join(first) for first, _ in both], [" ".join(second) for _, second in both]
    return Examples(
        {
            "anchor": anchors,
            "positive": positives,
            "group": splits.connect(anchors, positives) if both else [],
        }
    )
