"""The way in: a known set or the user's own files, as a learning task or as a stream of documents."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from brickwork.core.config import nearest
from brickwork.core.errors import DataError, warn
from brickwork.data.config import ColumnNames, DataConfig, ImageDataConfig, refuse_image_size
from brickwork.data.readers.columns import document_columns
from brickwork.data.readers.files import (
    ReadReport,
    column_names,
    lines,
    plain_columns,
    row_of,
    rows,
    table_kind,
)
from brickwork.data.readers.folders import MARKUP, PLAIN, all_passages
from brickwork.data.readers.ids import RowIds
from brickwork.data.readers.image_classes import image_class_task, is_class_folder
from brickwork.data.readers.inside import refuse_own_folder
from brickwork.data.readers.pairs import plain_pairs
from brickwork.data.readers.tables import plain_task, table_task
from brickwork.data.readers.values import number_columns, plain_value, text_value
from brickwork.data.sets.images import PARTS as IMAGE_SETS
from brickwork.data.sets.images import image_task
from brickwork.data.sets.sources import catalogue
from brickwork.data.sets.texts import TASKS
from brickwork.data.types import Document, TaskData, TextFormat

_LOOK_AHEAD = 256  # rows of a table, whose columns of numbers are known by them


def load_task(config: DataConfig, seed: int) -> TaskData:
    """Training, validation and test examples of ``config.source``, and held-out search tasks where it has
    pairs. The split is a pure function of the data, the configuration and ``seed``.

    Raises:
        DataError: the source does not exist or cannot be used; names file, row or column and what to do.
        ConfigError: ``image_size`` for a source whose images are not scaled.
    """
    path = Path(config.source).expanduser()
    if (
        not is_known(config.source)
        and path.is_dir()
        and is_class_folder(path, MARKUP + PLAIN, allow_outside=config.allow_outside)
    ):
        if isinstance(config, ImageDataConfig):
            return image_class_task(path, config, seed, config.image_size, config.framing)
        return image_class_task(path, config, seed)
    refuse_image_size(config)
    if is_known(config.source):
        if path.exists():
            warn(
                f"'{config.source}' is the known set of that name, not what is called so here: for that, write "
                f"./{config.source}"
            )
        return image_task(config, seed) if config.source in IMAGE_SETS else TASKS[config.source](config, seed)
    if _is_table(path):
        return table_task(path, config, seed)
    report = ReadReport()
    found = all_passages(
        path,
        report,
        config.max_passage_words,
        config.max_passage_tokens,
        allow_outside=config.allow_outside,
    )
    pairs = plain_pairs(islice(found, config.limit))
    report.duplicates += pairs.duplicates
    report.warn()
    return plain_task(path, pairs, config, seed, report.notes())


def read_documents(
    path: Path | str,
    columns: ColumnNames | None = None,
    limit: int | None = None,
    report: ReadReport | None = None,
    max_passage_words: int = DataConfig.max_passage_words,
    *,
    max_passage_tokens: int | None = None,
    allow_outside: bool = False,
    texts: TextFormat | None = None,
) -> Iterator[Document]:
    """Documents one by one, never the whole file in memory; warnings come at the end of the stream.

    Each row of a table is a document, called by its id column or by its row number (a row without an id gets one that no
    other has, and an id that comes twice is told with its rows); a column ``source`` says where
    it is from (else file and row), and the columns that play no role are its ``meta``, which searches can filter by.
    Each passage of a text file or of a folder, of at most ``max_passage_words`` words and about ``max_passage_tokens``
    tokens (what a model reads of it), is a document, called ``file#passage``; its ``source`` is the file,
    relative to ``path``. Links that lead out of the folder are left out, unless ``allow_outside``.

    ``texts``: the formal language that the model reads. Rows that are none of it are counted, told and left out, as in
    training; a file with one text a line is a document a line.

    Raises:
        DataError: at once if ``path`` does not exist or has no column of texts; while reading if it is
            damaged or nothing in it can be read.
    """
    name = str(path)
    if is_known(name):
        return islice(_known_documents(name, limit), limit)
    path = Path(path).expanduser()
    report = report if report is not None else ReadReport()
    columns = columns or ColumnNames()
    if texts is not None and path.is_file() and path.suffix.lower() in texts.endings:
        documents = _line_documents(path, texts, report)
    elif _is_table(path):
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; give a file with at least one row")
        documents = _table_documents(path, table_roles(path, columns, texts), report, texts)
    elif texts is not None:
        raise DataError(
            f"{path} is read as prose, and this model reads another language; give a table with a column of its texts, or "
            f"one text a line ({', '.join(texts.endings)})"
        )
    else:
        documents = _passage_documents(path, report, max_passage_words, max_passage_tokens, allow_outside)
    return _reported(islice(documents, limit), path, report)


def table_roles(path: Path, columns: ColumnNames, texts: TextFormat | None = None) -> dict[str, str]:
    """The columns of a table of documents that are text, title and id, as :func:`read_documents` takes them.

    Raises:
        DataError: no column of texts is found; lists the columns.
    """
    names = column_names(path)
    if texts is not None:
        columns = replace(columns, text=texts.column(names, columns.text, str(path)))
    return document_columns(names, columns, str(path))


def is_known(name: str) -> bool:
    """Whether the name is a set that can be loaded; a path of that name in the working folder is not asked
    for: write ``./name`` for it."""
    return name in TASKS or name in IMAGE_SETS


def _is_table(path: Path) -> bool:
    """Whether the existing path is a table (or else a document or folder).

    Raises:
        DataError: it does not exist or is a file of another type.
    """
    if not path.exists():
        known = [*TASKS, *IMAGE_SETS]
        listed = {source.name: source for source in catalogue()}
        if str(path) in listed:
            if slug := listed[str(path)].system:
                raise DataError(
                    f"the data set '{path}' is read by one system only: brickwork train {slug} --data {path}"
                )
            raise DataError(
                f"the data set '{path}' is listed for later systems and cannot be loaded as a task yet; "
                f"known: {', '.join(sorted(known))}"
            )
        raise DataError(
            f"{path} does not exist, and it is no known data set ({nearest(str(path), known)}); "
            "check the path, or see: brickwork data"
        )
    if path.is_dir():
        refuse_own_folder(path)
        return False
    if path.suffix.lower() in MARKUP + PLAIN:
        return False
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; give one of them")
    try:
        table_kind(path)
    except DataError as error:
        raise DataError(f"{error}; text files are read too: {', '.join(PLAIN + MARKUP)}") from None
    return True


def _line_documents(path: Path, texts: TextFormat, report: ReadReport) -> Iterator[Document]:
    """A document a line, called by the number of its line, from 1."""
    report.files += 1
    for number, (line, _) in enumerate(lines(path), start=1):
        where = f"{path.name} line {number}"
        text, *name = text_value(line, report, where).split(maxsplit=1) or [""]
        if not text:
            continue  # an empty line is no row
        report.rows += 1
        if problem := texts.refuse(text):
            report.skip(problem[0], f"{where}, {problem[1]}")
            continue
        meta = {"name": name[0]} if name else {}
        yield Document(id=str(number), title="", text=text, source=f"{path.name}:{number}", meta=meta)


def _table_documents(
    path: Path, roles: dict[str, str], report: ReadReport, texts: TextFormat | None = None
) -> Iterator[Document]:
    known = set(roles.values())
    ids = RowIds(path, roles.get("id"), report)
    read = rows(path, report, sorted({*known, *plain_columns(path)}))
    first = list(islice(read, _LOOK_AHEAD))
    numeric = number_columns([row for _, row in first], path)
    for number, row in chain(first, read):
        where = row_of(path.name, number)
        text = text_value(row.get(roles["text"]), report, where)
        if not text:
            report.skip(f"'{roles['text']}' is empty", where)
            continue
        if texts is not None and (problem := texts.refuse(text)):
            report.skip(problem[0], f"{where}, {problem[1]}")
            continue
        title = text_value(row.get(roles["title"]), report, where) if "title" in roles else ""
        values = {
            name: plain_value(value, path, report, where, number=name in numeric)
            for name, value in row.items()
            if name not in known
        }
        # Filters take "source" for the field of that name, so a column of it is that and no metadata beside it.
        source = values.pop("source", None)
        if texts is not None and title:
            title, values = "", {"name": title, **values}
        yield Document(
            id=ids.of(number, row),
            title=title,
            text=text,
            source=f"{path.name}:{number}" if source is None else str(source),
            meta={name: value for name, value in values.items() if value is not None},
        )


def _passage_documents(
    path: Path, report: ReadReport, max_words: int, max_tokens: int | None, allow_outside: bool
) -> Iterator[Document]:
    last, number = "", 0
    for name, passage in all_passages(path, report, max_words, max_tokens, allow_outside=allow_outside):
        number = number + 1 if name == last else 0
        last = name
        yield Document(id=f"{name}#{number}", title=passage.title, text=passage.text, source=name)


def _reported(documents: Iterator[Document], path: Path, report: ReadReport) -> Iterator[Document]:
    count = 0
    for document in documents:
        count += 1
        yield document
    if count == 0:
        raise DataError(f"{path} holds no text that can be read: {'; '.join(report.messages())}")
    report.used(count)
    report.warn()


def _known_documents(name: str, limit: int | None) -> Iterator[Document]:
    """The documents that a known set is searched for, or its texts."""
    if name == "python":
        from brickwork.data.sets.python_corpus import documents

        yield from documents(limit)
        return
    task = load_task(DataConfig(source=name), 0)
    if task.modality != "text":
        raise DataError(f"'{name}' holds {task.modality}s; documents are texts")
    if task.retrieval:
        for search in task.retrieval.values():
            titles = search.titles or [""] * len(search.documents)
            for number, (title, text) in enumerate(zip(titles, search.documents)):
                yield Document(id=f"{search.name}#{number}", title=title, text=text, source=name)
        return
    column = "input" if task.kind == "labelled" else "anchor"
    for number, text in enumerate(task.test.columns[column]):
        yield Document(id=str(number), title="", text=text, source=name)
