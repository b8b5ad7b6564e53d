"""Documents as a task without labels; labels that are there are kept for measures and pictures."""

from brickwork.core.errors import DataError
from brickwork.data.load import is_known, load_task, read_documents
from brickwork.data.readers.files import ReadReport
from brickwork.data.splits import normalised, select, split
from brickwork.data.types import Examples, TaskData
from brickwork.representation.export_parquet import document_text
from brickwork.systems.binary_paragraph_vector.config import Data

LABEL = "label"


def load_data(config: Data, seed: int) -> TaskData:
    """Texts in three parts, those that are equal in one of them; as the index reads documents.

    A known set with labels keeps its parts and them.

    Raises:
        DataError: no texts, or no words in them.
    """
    if is_known(config.source):
        task = load_task(config, seed)
        if task.kind == "labelled" and task.modality == "text":
            return task
    report = ReadReport()
    documents = read_documents(
        config.source, config.columns, config.limit, report, config.max_passage_words,
        max_passage_tokens=config.max_passage_tokens, allow_outside=config.allow_outside,
    )  # fmt: skip
    found = list(documents)
    texts = [document_text(document) for document in found]
    names = [document.meta.get(LABEL) for document in found]
    classes = tuple(sorted({str(name) for name in names})) if None not in names and names else ()
    columns: dict[str, list[str] | list[int]] = {"input": texts}
    if 2 <= len(classes) <= len(texts) // 2:
        columns[LABEL] = [classes.index(str(name)) for name in names]
    else:
        classes = ()
    if not any(text.strip() for text in texts):
        raise DataError(f"{config.source} holds no text; give documents with words in them")
    parts = split(
        [normalised(text) for text in texts],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = select(Examples(columns), parts)
    return TaskData(
        name=config.source, kind="labelled" if classes else "texts", modality="text", train=train, validation=validation,
        test=test, num_classes=len(classes) or None, class_names=classes, notes=tuple(report.notes()),
    )  # fmt: skip
