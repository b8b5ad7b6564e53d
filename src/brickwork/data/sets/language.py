"""Plain texts for language models: documents with a domain each, cut into pieces of one length.

A domain is where a text comes from: a sub-folder or file of the user's, the label of a table's row, a known set. Models
are not told it; it is what their modules are compared with, and what evaluation is split by.
"""

import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.config import DataConfig
from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.readers.columns import match
from brickwork.data.readers.files import (
    TABLES,
    ReadReport,
    clean,
    column_names,
    lines,
    open_text,
    row_of,
    rows,
)
from brickwork.data.readers.folders import MARKUP, PLAIN, document_files, file_problem
from brickwork.data.readers.inside import refuse_own_folder
from brickwork.data.readers.values import name_value, text_value
from brickwork.data.sets.seven_domains import DOMAINS, documents
from brickwork.data.sets.sources import locate
from brickwork.data.splits import select, split, stable_hash
from brickwork.data.types import Examples, TaskData

# More files than this in one folder are texts of one domain, not a domain each.
MAX_FILE_DOMAINS = 16
_CHARACTERS_PER_WORD = 5
# Neighbouring pieces stay in one part of the split, so that a test piece does not begin where a training piece ends.
_PIECES_PER_BLOCK = 8
_SET_CHARACTERS = 4_000_000  # of a known set: more than a CPU can train on


@dataclass(frozen=True)
class Text:
    """One document: where it comes from, and what it says, as it was written."""

    domain: str
    name: str
    text: str


# ---- known sets ------------------------------------------------------------------------------------------------


def _toy() -> Iterator[Text]:
    pairs = toy_pairs(2000, 0)
    for number in range(0, len(pairs), 20):
        some = pairs[number : number + 20]
        yield Text("questions", f"questions {number}", "\n".join(question for question, _ in some))
        yield Text("statements", f"statements {number}", "\n".join(statement for _, statement in some))


def _wikitext() -> Iterator[Text]:
    """WikiText-2 small: its validation and test part, an article at a time."""
    folder = locate("language_modelling") / "language_modelling"
    for part in ("valid", "test"):
        with open_text(folder / f"wikitext2_{part}.txt.gz") as file:
            whole = file.read()
        starts = [0]
        position = 0
        for line in whole.splitlines(keepends=True):
            # " = Title = \n" begins an article, " = = Section = = \n" a section.
            if line.startswith(" = ") and not line.startswith(" = = ") and line.rstrip().endswith(" ="):
                starts.append(position)
            position += len(line)
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(whole)])):
            yield Text("prose", f"{part} {number}", whole[start:end])


def _stdlib() -> Iterator[Text]:
    """The source of Python's standard library, in the order of a hash of the files' names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in root.glob("*.py") if not path.name.startswith("_")]
    for package in ("asyncio", "email", "http", "json", "logging", "concurrent", "xml", "unittest"):
        files += list((root / package).rglob("*.py"))
    for path in sorted(files, key=lambda path: stable_hash(path.relative_to(root).as_posix())):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.strip():
            yield Text("code", path.relative_to(root).as_posix(), text)


def _python() -> Iterator[Text]:
    """Documentation and source of the installed packages' documented functions."""
    from brickwork.data.sets.python_corpus import collect

    for row in collect(4000).to_pylist():
        for domain, column in (("documentation", "body"), ("code", "source")):
            if row[column]:
                yield Text(domain, row["module"], row[column] + "\n")


def _seven_domains() -> Iterator[Text]:
    """Seven domains (:mod:`brickwork.data.sets.seven_domains`)."""
    for domain in DOMAINS:
        code, prose = (text.text for text in _stdlib()), (text.text for text in _wikitext())
        for number, document in enumerate(documents(domain, code=code, prose=prose)):
            yield Text(domain, f"{domain} {number}", document)


SETS: dict[str, Callable[[], Iterator[Text]]] = {
    "toy": _toy,
    "python": _python,
    "stdlib": _stdlib,
    "wikitext2": _wikitext,
    "seven-domains": _seven_domains,
}


# ---- the user's files ------------------------------------------------------------------------------------------


def read_texts(path: Path, config: DataConfig, report: ReadReport) -> Iterator[Text]:
    """The documents of a folder, a text file or a table of texts.

    In a folder with sub-folders these are the domains (files beside them are the domain named like the folder); in one
    without, each file is, if they are at most 16. A table's domains are its labels.

    Raises:
        DataError: it does not exist, is of another type, or a sub-folder holds no text; says what to do.
    """
    if not path.exists():
        raise DataError(
            f"{path} does not exist, and is no known set of texts ({', '.join(SETS)}); check the path"
        )
    if path.is_dir():
        refuse_own_folder(path)
        yield from _folder(path, report, config.allow_outside)
    elif path.suffix.lower() in MARKUP + PLAIN:
        yield from _file(path, path.stem, path.name, report)
    elif any(suffix.lower() in TABLES for suffix in path.suffixes):
        yield from _table(path, config, report)
    else:
        kinds = ", ".join(PLAIN + MARKUP + TABLES)
        raise DataError(
            f"{path} is of no type that is read as texts ({kinds}); give such a file or a folder of them"
        )


def _folder(path: Path, report: ReadReport, allow_outside: bool) -> Iterator[Text]:
    files = list(document_files(path, report, allow_outside=allow_outside))
    inside = sorted(
        p.name
        for p in path.iterdir()
        if p.is_dir() and not p.name.startswith(".") and (allow_outside or not p.is_symlink())
    )
    sizes: Counter[str] = Counter()
    for file in files:
        parts = file.relative_to(path).parts
        if inside:
            domain = parts[0] if len(parts) > 1 else path.resolve().name
        else:
            domain = file.stem if len(files) <= MAX_FILE_DOMAINS else path.resolve().name
        for text in _file(file, domain, file.relative_to(path).as_posix(), report):
            sizes[domain] += 1
            yield text
    if empty := [name for name in inside if not sizes[name]]:
        raise DataError(
            f"{path / empty[0]} is a domain without any text that can be read ({', '.join(PLAIN + MARKUP)}); "
            "put texts there or remove the folder"
        )


def _file(path: Path, domain: str, name: str, report: ReadReport) -> Iterator[Text]:
    """A document as it stands; one without end comes in parts of a million characters."""
    if problem := file_problem(path):
        report.skip(problem, name)
        return
    report.files += 1
    kept: list[str] = []
    size = 0
    for number, (line, _) in enumerate(lines(path, 100_000), start=1):
        text = clean(line, report, f"{name} line {number}")
        kept.append(text)
        size += len(text)
        if size > 1_000_000:
            yield Text(domain, f"{name}:{number}", "".join(kept))
            kept, size = [], 0
    if "".join(kept).strip():
        report.rows += 1
        yield Text(domain, name, "".join(kept))


def _table(path: Path, config: DataConfig, report: ReadReport) -> Iterator[Text]:
    names = column_names(path)
    roles = match(names, config.columns, str(path))
    if "text" not in roles:
        raise DataError(
            f"{path} has the columns {', '.join(names)}: none is called like a text. Say which it is: --column text=NAME"
        )
    for number, row in rows(
        path, report, sorted({roles[role] for role in ("text", "label") if role in roles})
    ):
        where = row_of(path.name, number)
        text = text_value(row.get(roles["text"]), report, where)
        label = name_value(row.get(roles["label"]), report, where) if "label" in roles else path.stem
        if not text or not label:
            report.skip(f"'{roles['text' if not text else 'label']}' is empty", where)
            continue
        yield Text(label, where, text + "\n")


# ---- pieces ----------------------------------------------------------------------------------------------------


def pieces(texts: Iterable[Text], characters: int) -> Iterator[tuple[str, str, str]]:
    """(domain, block, piece): every document cut into pieces of ``characters``, the last one shorter.

    ``block`` names runs of 8 neighbouring pieces, which stay together in the split.
    """
    for document in texts:
        for number, start in enumerate(range(0, len(document.text), characters)):
            piece = document.text[start : start + characters]
            if piece.strip():
                yield (
                    document.domain,
                    f"{document.domain}/{document.name}/{number // _PIECES_PER_BLOCK}",
                    piece,
                )


def text_task(config: DataConfig, seed: int, also: Sequence[str] = ()) -> TaskData:
    """Pieces of texts in three parts, ``input`` and ``domain``; ``config.limit`` of them from each domain.

    A piece has 5 characters for each of ``config.max_passage_words``. ``also``: known sets that are read with a known one.

    Raises:
        DataError: the source does not exist or holds no text; names it and says what to do.
        ConfigError: ``also`` names no known set, or goes with files of the user's.
    """
    report = ReadReport()
    known = [config.source, *also] if config.source in SETS else None
    if unknown := [name for name in also if name not in SETS]:
        raise ConfigError(
            f"data.also has '{unknown[0]}', which is no known set of texts: {nearest(unknown[0], SETS)}"
        )
    if also and known is None:
        raise ConfigError(
            f"data.also={', '.join(also)} goes with a known set ({', '.join(SETS)}), and data.source={config.source} is a "
            "path; put the texts into one folder, a sub-folder for each domain"
        )
    characters = _CHARACTERS_PER_WORD * config.max_passage_words
    stream: Iterator[tuple[str, str, str]]
    if known is not None:
        wanted = config.limit or _SET_CHARACTERS // characters
        stream = (piece for name in known for piece in _limited(pieces(SETS[name](), characters), wanted))
    else:
        texts = read_texts(Path(config.source).expanduser(), config, report)
        stream = _limited(pieces(texts, characters), config.limit)
    table = list(stream)
    if not table:
        reasons = "; ".join(report.notes()) or "there are no texts"
        raise DataError(f"{config.source} holds no text that can be read: {reasons}")
    report.warn()
    domains = [domain for domain, _, _ in table]
    names = tuple(sorted(set(domains)))
    parts = split(
        [block for _, block, _ in table],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    examples = Examples({"input": [piece for _, _, piece in table], "domain": domains})
    train, validation, test = select(examples, parts)
    counts = Counter(domains)
    listed = ", ".join(f"{name} {counts[name]:,}" for name in names[:MAX_FILE_DOMAINS])
    more = " …" if len(names) > MAX_FILE_DOMAINS else ""
    return TaskData(
        name=" and ".join(known) if known is not None else Path(config.source).name,
        kind="texts",
        modality="text",
        train=train,
        validation=validation,
        test=test,
        class_names=names,
        notes=(f"pieces of {characters} characters by domain: {listed}{more}", *report.notes()),
    )


def _limited(pieces: Iterator[tuple[str, str, str]], limit: int | None) -> Iterator[tuple[str, str, str]]:
    """At most ``limit`` pieces of each domain."""
    if limit is None:
        yield from pieces
        return
    taken: Counter[str] = Counter()
    for piece in pieces:
        if taken[piece[0]] < limit:
            taken[piece[0]] += 1
            yield piece
