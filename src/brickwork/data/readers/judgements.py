"""The user's own judgement of a search: queries, and which documents answer them how well.

Queries: a table of ids and texts (BEIR's ``queries.jsonl``; CSV, TSV, JSONL, Parquet), or TREC topics (``<top>``).
Judgements, or qrels: TREC's four columns (query, iteration, document, grade), BEIR's table of three, or a table of the same.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brickwork.core.errors import DataError, warn
from brickwork.data.readers.csv_records import delimiter_of
from brickwork.data.readers.files import TABLES, ReadReport, column_names, lines, row_of, rows, table_kind
from brickwork.data.readers.values import name_value, text_value

QUERY_COLUMNS = {
    "id": "_id id qid query_id query-id queryid topic topic_id number num",
    "text": "text query question title query_text content",
}
QREL_COLUMNS = {
    "query": "query-id query_id qid queryid query topic topic_id",
    "document": "corpus-id corpus_id doc_id docid doc-id document_id document docno pid id",
    "grade": "score relevance grade rel label judgement judgment gain",
}
_TREC = re.compile(
    r"(\S+)\s+(\S+)\s+(\S.*?)\s+(\S+)"
)  # ids of documents may hold spaces, as names of files do
_GRADE = re.compile(r"[+-]?0*[0-9]{1,9}(\.0*)?")  # nine digits at most: gains are added up
_TOPIC = re.compile(r"<top>(.*?)(?:</top>|(?=<top>)|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(
    r"<(num|title|desc|narr)>(.*?)(?=</?(?:num|title|desc|narr|top)>|\Z)", re.IGNORECASE | re.DOTALL
)
_LABEL = re.compile(r"\s*(?:number|topic|description|narrative)\s*:", re.IGNORECASE)

Grades = dict[str, dict[str, int]]
"""For each query, by its id, the grade of each judged document by its id; 0 and less: not relevant."""


def read_queries(path: Path | str, *, judged: bool = True) -> dict[str, str]:
    """Texts of queries by their ids, in the order of the file.

    Without ``judged``, where no judgement has to find them, ids may be missing: a table without them, and a text file with a
    query a line, are numbered from 1.

    Of a table the columns are known by their names (``_id``, ``text`` and the like); one without such names, as MS MARCO's
    ``queries.tsv``, holds ids and texts from its first line on. Of a TREC topic the title is the query, without one the
    description.

    Raises:
        DataError: the file is missing, damaged or empty; an id that is missing or comes twice, an empty text; by row.
    """
    path = _there(path, "queries")
    found: Iterable[tuple[str, str, str]] = () if judged else _unnamed(path)
    if not found:
        found = _topics(path) if _is_topics(path) else _query_rows(path)
    queries: dict[str, str] = {}
    for where, name, text in found:
        if not name:
            raise DataError(f"{where}: the query has no id; give each query one")
        if not text:
            raise DataError(f"{where}: the query '{name}' has no text; give it one, or leave the row out")
        if name in queries:
            raise DataError(f"{where}: the query id '{name}' comes twice; give each query an id of its own")
        queries[name] = text
    if not queries:
        raise DataError(f"{path} holds no query; give at least one")
    return queries


def read_qrels(path: Path | str) -> Grades:
    """The judgements of a file. A pair that comes again with the same grade counts once, which is told.

    Raises:
        DataError: the file is missing, damaged or empty; a line of another form, a grade that is no whole number, or a pair
            with two grades; by row.
    """
    path = _there(path, "judgements")
    grades: Grades = {}
    again = 0
    for where, query, document, text in _qrel_rows(path):
        if not query or not document:
            raise DataError(f"{where}: a judgement needs a query and a document; one of them is empty")
        if not _GRADE.fullmatch(text):
            raise DataError(
                f"{where}: the grade '{text[:40]}' is no whole number below a billion; write 0 for not relevant, 1, 2, … "
                "for how well the document answers the query"
            )
        grade = int(float(text))
        earlier = grades.setdefault(query, {}).setdefault(document, grade)
        if earlier != grade:
            raise DataError(
                f"{where}: document '{document}' has grade {grade} for query '{query}', and {earlier} in an earlier row; "
                "leave one of them out"
            )
        again += 1
    again -= sum(map(len, grades.values()))
    if not grades:
        raise DataError(f"{path} holds no judgement; give at least one: query, document and grade")
    if again:
        warn(f"{path.name}: {again:,} judgements come a second time with the same grade and count once")
    return grades


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Queries with the grades of the documents of one collection: what a search is measured by.

    ``queries`` are those with a relevant document, by id; ``grades`` theirs. ``unjudged`` counts the queries that were left
    out: without a judgement, or without a relevant document. ``on_files``: judgements name files, and a passage counts as
    its file.
    """

    queries: dict[str, str]
    grades: Grades
    unjudged: int = 0
    on_files: bool = False

    def unit(self, document: str) -> str:
        """What a document of the collection counts as: itself, or the file that it is a passage of."""
        return file_of(document) if self.on_files else document

    def select(self, names: Sequence[str]) -> "Judged":
        """The same with some of the queries only."""
        return Judged(
            queries={name: self.queries[name] for name in names},
            grades={name: self.grades[name] for name in names},
            on_files=self.on_files,
        )


def file_of(document: str) -> str:
    """The file of a passage (``guide.md#3``: ``guide.md``); other ids as they are."""
    name, mark, number = document.rpartition("#")
    return name if mark and number.isdecimal() else document


def judge(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], documents: Sequence[str]
) -> Judged:
    """Queries and judgements held against the ids of the documents that are searched.

    A judgement may name a document, or a file whose passages are the documents. Where one names a file, all is measured
    on files: a file stands at the place of its best passage, and judgements of its passages count for it (the best grade).
    Judgements of documents that are not relevant may name any.

    Raises:
        DataError: judged queries that are not among ``queries``, relevant documents that are not among ``documents``, or no
            query with a relevant document; how many, the first few, and what ids look like.
    """
    if strangers := [name for name in qrels if name not in queries]:
        raise DataError(
            f"{_count(strangers, 'judged query', 'judged queries')} not among the {len(queries):,} queries: "
            f"{_few(strangers)}. Ids of the queries look like {_few(list(queries), 3)}; both files need the same ids"
        )
    here = set(documents)
    relevant = dict.fromkeys(d for grades in qrels.values() for d, grade in grades.items() if grade > 0)
    others = [name for name in relevant if name not in here]
    files = {file_of(name) for name in here} - here if others else set()
    if missing := [name for name in others if name not in files]:
        raise DataError(
            f"{_count(missing, 'relevant document', 'relevant documents')} not among the {len(here):,} that are searched: "
            f"{_few(missing)}. Ids there look like {_few(list(documents), 3)}"
            + (f"; files can be judged too: {_few(sorted(files), 2)}" if files else "")
            + ". Use the same ids (--column id=NAME says which column has them), or leave these judgements out"
        )
    on_files = bool(others)
    grades: Grades = {}
    for name in queries:
        units: dict[str, int] = {}
        for document, grade in qrels.get(name, {}).items():
            unit = file_of(document) if on_files and document in here else document
            units[unit] = max(grade, units.get(unit, grade))
        if any(grade > 0 for grade in units.values()):
            grades[name] = units
    if not grades:
        raise DataError(
            "no query has a relevant document: all grades are 0 or less, so nothing can be measured"
        )
    return Judged(
        queries={name: queries[name] for name in grades},
        grades=grades,
        unjudged=len(queries) - len(grades),
        on_files=on_files,
    )


def _count(names: Sequence[str], one: str, many: str) -> str:
    return f"{len(names):,} {one} is" if len(names) == 1 else f"{len(names):,} {many} are"


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(repr(name) for name in names[:most]) + (", …" if len(names) > most else "")


def _there(path: Path | str, what: str) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{path} is no file; give the file of the {what}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; give a file with {what}")
    return path


def _is_topics(path: Path) -> bool:
    if _is_table(path):
        return False
    text = "".join(line for line, _ in lines(path))
    if "<top>" not in text.lower():
        raise DataError(
            f"{path} holds no TREC topic (<top>) and is no table; give queries as {', '.join(TABLES)} with an id and a text"
        )
    return True


def _is_table(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return any(suffix in (*TABLES, ".json") for suffix in suffixes)


def _topics(path: Path) -> Iterator[tuple[str, str, str]]:
    """Place, id and text of each TREC topic. Tags are closed or not; ``Number:`` and the like are no part of a text."""
    text = "".join(line for line, _ in lines(path))
    report = ReadReport()
    for number, topic in enumerate(_TOPIC.finditer(text), 1):
        where = f"{path.name} topic {number}"
        fields: dict[str, str] = {}
        for tag in _TAG.finditer(topic[1]):
            words = " ".join(_LABEL.sub("", html.unescape(tag[2]), count=1).split())
            fields.setdefault(tag[1].lower(), text_value(words, report, where))
        yield where, fields.get("num", ""), fields.get("title") or fields.get("desc", "")
    report.warn()


def _unnamed(path: Path) -> list[tuple[str, str, str]]:
    """The queries of a file that names none: a line each of a text without topics, or a table with a text and no id."""
    report = ReadReport()
    if not _is_table(path):
        read = [
            (number, text_value(line, report, path.name)) for number, (line, _) in enumerate(lines(path), 1)
        ]
        if any("<top>" in text.lower() for _, text in read):
            return []
        return [(f"{path.name} line {number}", str(number), text) for number, text in read if text]
    names = {name.strip().lower(): name for name in column_names(path)}
    column = next((names[name] for name in QUERY_COLUMNS["text"].split() if name in names), None)
    if column is None or names.keys() & set(QUERY_COLUMNS["id"].split()):
        return []
    found = rows(path, report, [column])
    return [
        (
            row_of(path.name, number),
            str(place),
            text_value(row.get(column), report, row_of(path.name, number)),
        )
        for place, (number, row) in enumerate(found, 1)
    ]


def _query_rows(path: Path) -> Iterator[tuple[str, str, str]]:
    for where, cells in _cells(path, QUERY_COLUMNS, "queries"):
        yield where, cells["id"], cells["text"]


def _qrel_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    if _is_table(path) and not _is_trec(path):
        for where, cells in _cells(path, QREL_COLUMNS, "judgements"):
            yield where, cells["query"], cells["document"], cells["grade"]
        return
    for number, (line, _) in enumerate(lines(path), 1):
        if not line.strip():
            continue
        match = _TREC.fullmatch(line.strip())
        if match is None:
            raise DataError(
                f"{path.name} line {number} is no judgement in TREC's form; write: query 0 document grade, or a table with "
                "the columns query-id, corpus-id and score"
            )
        yield f"{path.name} line {number}", match[1], match[3], match[4]


def _is_trec(path: Path) -> bool:
    """Whether a file that is called a table of texts has TREC's four columns and no header."""
    if table_kind(path) not in (".csv", ".tsv"):
        return False
    first = next((line for line, _ in lines(path) if line.strip()), "").strip()
    if first.count("\t") == len(QREL_COLUMNS) - 1:  # cells of a table: ids of documents may hold spaces
        return False
    match = _TREC.fullmatch(first)
    return match is not None and "," not in match[1] and _GRADE.fullmatch(match[4]) is not None


def _cells(path: Path, roles: Mapping[str, str], what: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The cells of a table by role. A CSV or TSV file whose first line names none of the columns has no header."""
    report = ReadReport()
    if table_kind(path) in (".csv", ".tsv") and (first := _without_header(path, roles)):
        for number, cells in first:
            where = f"{path.name} line {number}"
            if len(cells) != len(roles):
                raise DataError(
                    f"{where} has {len(cells)} columns, and {what} without a header have {len(roles)}: {', '.join(roles)}"
                )
            yield where, {role: text_value(cell, report, where) for role, cell in zip(roles, cells)}
        return
    names = column_names(path)
    lower = {name.strip().lower(): name for name in reversed(names)}
    chosen: dict[str, str] = {}
    for role, usual in roles.items():
        column = next(
            (lower[n] for n in usual.split() if n in lower and lower[n] not in chosen.values()), None
        )
        if column is None:
            raise DataError(
                f"{path} has the columns {', '.join(names)}: none is called like the {role} of {what}. Call it one of "
                f"{', '.join(usual.split()[:4])}"
            )
        chosen[role] = column
    for number, row in rows(path, report, sorted(chosen.values())):
        where = row_of(path.name, number)
        yield (
            where,
            {
                role: (text_value if role == "text" else name_value)(row.get(column), report, where)
                for role, column in chosen.items()
            },
        )
    if report.unreadable:
        raise DataError(f"{path}: {'; '.join(report.messages())}")
    report.warn()


def _without_header(path: Path, roles: Mapping[str, str]) -> list[tuple[int, list[str]]]:
    """The numbered cells of a file without a header; none of a file that has one."""
    numbered = [(number, line) for number, (line, _) in enumerate(lines(path), 1) if line.strip()]
    delimiter = "\t" if table_kind(path) == ".tsv" else delimiter_of(numbered[0][1] if numbered else "")
    usual = {name for names in roles.values() for name in names.split()}
    first = [cell.strip().strip('"').lower() for cell in numbered[0][1].split(delimiter)] if numbered else []
    if len(first) != len(roles) or usual & set(first):
        return []
    return [(number, _split(line, delimiter, len(roles))) for number, line in numbered]


def _split(line: str, delimiter: str, width: int) -> list[str]:
    """The cells of a line without quotes; the last takes what is left over, as texts hold commas."""
    return [cell.strip() for cell in line.rstrip("\r\n").split(delimiter, width - 1)]
