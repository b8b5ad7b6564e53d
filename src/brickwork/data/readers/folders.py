"""A folder of documents, or one document, as titled passages."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from brickwork.core.errors import DataError, warn
from brickwork.data.readers.files import MAX_TEXT, ReadReport, clean, lines, open_text
from brickwork.data.readers.inside import files_below
from brickwork.data.readers.passages import Passage, pack, passages, room_for, sections_of

HTML = (".html", ".htm", ".xhtml")
MARKUP = (".md", ".markdown", ".rst", *HTML, ".py")
PLAIN = (".txt", ".text")
_MAX_MARKUP = 16 * 1024 * 1024  # bytes; markup is parsed as a whole
MANY = 10_000  # documents of a folder: more are told before the first is read
_SAMPLE = 8192
_CHARSET = re.compile(rb"(?i)\b(?:charset|encoding)\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w.:-]{1,40})")
_WINDOWS = ("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii")


def document_files(folder: Path, report: ReadReport, *, allow_outside: bool = False) -> Iterator[Path]:
    """The documents below a folder in the order of their names; what is left out is counted."""
    return files_below(folder, MARKUP + PLAIN, report, allow_outside=allow_outside)


def file_passages(
    path: Path, name: str, report: ReadReport, max_words: int, max_tokens: int | None = None
) -> Iterator[Passage]:
    """The passages of one document; titles are its headings, or ``name`` where it has none.

    A file that cannot be used (binary, unreadable, empty) is counted and gives nothing.
    """
    problem = file_problem(path)
    if problem:
        report.skip(problem, name)
        return
    report.files += 1
    suffix = path.suffix.lower()
    if suffix in PLAIN:
        pieces = plain_passages(path, name, report, max_words, max_tokens)
    else:
        encoding = declared_encoding(path) if suffix in HTML else "utf-8-sig"
        with open_text(path, encoding) as file:
            text = clean(file.read(), report, name)
        pieces = passages(
            sections_of(text, suffix, name.removesuffix(".py").replace("/", ".")), max_words, max_tokens
        )
    for passage in pieces:
        report.rows += 1
        yield passage if passage.title else Passage(name, passage.text, passage.first, passage.headed)


def plain_passages(
    path: Path, name: str, report: ReadReport, max_words: int, max_tokens: int | None = None
) -> Iterator[Passage]:
    """The passages of a plain text, read line by line: the file may be larger than memory."""
    fitting = None if max_tokens is None else room_for(name, max_tokens)
    for place, text in enumerate(pack(_plain_paragraphs(path, name, report), max_words, fitting)):
        yield Passage("", text, first=place == 0, headed=False)


def _plain_paragraphs(path: Path, name: str, report: ReadReport) -> Iterator[str]:
    paragraph: list[str] = []
    size = 0
    for number, (line, cut) in enumerate(lines(path, MAX_TEXT), start=1):
        where = f"{name} line {number}"
        if cut:
            report.truncated += 1
            report.first.setdefault("truncated", where)
        text = clean(line.rstrip("\r\n"), report, where)
        if text.strip():
            paragraph.append(text)
            size += len(text)
        # Without blank lines the whole file would be one paragraph: it is handed on in parts.
        if paragraph and (not text.strip() or size > MAX_TEXT):
            yield "\n".join(paragraph)
            paragraph, size = [], 0
    if paragraph:
        yield "\n".join(paragraph)


def declared_encoding(path: Path) -> str:
    """The encoding of a page of HTML: UTF-8 where its bytes are that, else the one that it names."""
    raw = path.read_bytes()
    with contextlib.suppress(UnicodeDecodeError):
        raw.decode("utf-8")
        return "utf-8-sig"
    found = _CHARSET.search(raw[:_SAMPLE])
    name = found[1].decode("ascii").lower() if found else ""
    name = "cp1252" if name in _WINDOWS else name  # as browsers read it
    if name.startswith("utf"):  # what a page in such an encoding could not say in these bytes
        return "utf-8-sig"
    with contextlib.suppress(LookupError, ValueError):  # no such encoding, or one that is not of texts
        raw.decode(name, "surrogateescape")
        return name
    return "utf-8-sig"


def file_problem(path: Path) -> str:
    """Why the file cannot be used, or nothing."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            sample = file.read(_SAMPLE)
    except OSError:
        return "unreadable file"
    if size == 0:
        return "empty file"
    if size > _MAX_MARKUP and path.suffix.lower() in MARKUP:
        return f"file of more than {_MAX_MARKUP // 2**20} MiB"
    utf16 = sample.startswith((b"\xff\xfe", b"\xfe\xff"))
    control = sum(byte < 9 or 13 < byte < 32 for byte in sample)
    return "binary file" if not utf16 and control > len(sample) // 20 else ""


def all_passages(
    path: Path,
    report: ReadReport,
    max_words: int,
    max_tokens: int | None = None,
    *,
    allow_outside: bool = False,
) -> Iterator[tuple[str, Passage]]:
    """The passages of a document or of all documents of a folder, each with its document's name.

    Raises:
        DataError: nothing in there can be read; says what was found instead.
    """
    # All names before the first text: a folder that is none of documents is refused at once.
    files = list(document_files(path, report, allow_outside=allow_outside)) if path.is_dir() else [path]
    if len(files) > MANY:
        warn(
            f"{path} has {len(files):,} documents, which takes a while to read; a limit reads the first of them"
        )
    before = report.rows
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for passage in file_passages(file, name, report, max_words, max_tokens):
            yield name, passage
    if report.rows == before:
        nothing = (
            f"no words in {len(files):,} file{'s'[: len(files) != 1]}" if files else "there are no files"
        )
        reasons = "; ".join(report.notes()) or nothing
        kinds = ", ".join(PLAIN + MARKUP)
        raise DataError(f"{path} holds no text that can be read ({kinds}): {reasons}")
