"""The user's own queries and judgements: every form that is read, and each mistake as one clear error."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.readers.judgements import judge, read_qrels, read_queries

QUERIES = {"q1": "how do I resume, and when?", "q2": "stop a run"}
GRADES = {"q1": {"a b.md": 2, "c.md": 0}, "q2": {"c.md": 1}}
TOPICS = """<top>
<num> Number: q1
<title> how do I resume, and when?

<desc> Description:
Something longer.
<narr> Narrative:
None.
</top>

<top>
<num>q2</num>
<title></title>
<desc>stop
a run</desc>
</top>
"""


def rows(grades):
    return [(query, document, grade) for query, entry in grades.items() for document, grade in entry.items()]


def lines(path, *texts):
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def jsonl(path, names, values):
    return lines(path, *(json.dumps(dict(zip(names, row))) for row in values))


def query_files(folder):
    table = list(QUERIES.items())
    yield jsonl(folder / "beir.jsonl", ("_id", "text"), table)
    yield lines(folder / "topics.txt", TOPICS)
    yield lines(folder / "named.csv", "query_id,query", *(f'{name},"{text}"' for name, text in table))
    yield lines(folder / "named.tsv", "text\tid", *(f"{text}\t{name}" for name, text in table))
    yield lines(folder / "marco.tsv", *(f"{name}\t{text}" for name, text in table))
    packed = folder / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress((folder / "beir.jsonl").read_bytes()))
    yield packed
    names, texts = zip(*table)
    pyarrow.parquet.write_table(pa.table({"id": names, "text": texts}), folder / "q.parquet")
    yield folder / "q.parquet"


def qrel_files(folder):
    table = rows(GRADES)
    yield lines(folder / "trec.qrels", *(f"{q} 0 {d} {g}" for q, d, g in table))
    yield lines(folder / "trec.tsv", *(f"{q}\t0\t{d}\t{g}" for q, d, g in table))
    beir = ("query-id", "corpus-id", "score")
    yield lines(folder / "beir.tsv", "\t".join(beir), *(f"{q}\t{d}\t{g}" for q, d, g in table))
    yield lines(folder / "bare.csv", *(f"{q},{d},{g}" for q, d, g in table))
    yield jsonl(folder / "beir.jsonl", beir, table)
    columns = dict(zip(("query_id", "doc_id", "relevance"), zip(*table)))
    columns["relevance"] = [float(grade) for grade in columns["relevance"]]
    pyarrow.parquet.write_table(pa.table(columns), folder / "r.parquet")
    yield folder / "r.parquet"


def test_every_form_of_queries_says_the_same(tmp_path):
    read = {path.name: read_queries(path) for path in query_files(tmp_path)}
    assert len(read) == 7
    assert read == dict.fromkeys(read, QUERIES)


def test_every_form_of_judgements_says_the_same(tmp_path):
    read = {path.name: read_qrels(path) for path in qrel_files(tmp_path)}
    assert len(read) == 6
    assert read == dict.fromkeys(read, GRADES)


def test_cells_of_a_table_without_a_header_may_hold_spaces(tmp_path):
    three = lines(tmp_path / "r.tsv", "q1\ta b.md\t2", "q1\tc.md\t0", "q2\tc.md\t1")
    four = lines(tmp_path / "trec.tsv", "q1\t0\ta b.md\t2", "q1\t0\tc.md\t0", "q2\t0\tc.md\t1")
    assert read_qrels(three) == read_qrels(four) == GRADES


def test_ids_that_are_numbers_are_the_same_in_all_types(tmp_path):
    pyarrow.parquet.write_table(pa.table({"id": [1.0, 2.0], "text": ["a", "b"]}), tmp_path / "q.parquet")
    assert list(read_queries(tmp_path / "q.parquet")) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.csv", "id,text\n1,a\n1,b\n", "q.csv row 2: the query id '1' comes twice"),
        ("q.csv", "id,text\n,a\n", "q.csv row 1: the query has no id"),
        ("q.csv", "id,text\n1,\n", "q.csv row 1: the query '1' has no text"),
        ("q.csv", "id,words,more\n1,a,b\n", "has the columns id, words, more: none is called like the text"),
        ("q.tsv", "1\ta\n2\n", "q.tsv line 2 has 1 columns"),
        ("q.txt", "just words", "holds no TREC topic"),
        ("q.json", "[]", "write one JSON object a line"),
        ("q.csv", "", "is empty"),
    ],
)
def test_what_is_wrong_with_queries_is_said_by_row(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.txt", "1 0 a yes\n", "r.txt line 1: the grade 'yes' is no whole number"),
        ("r.csv", "query_id,doc_id,score\n1,a,0.5\n", "r.csv row 1: the grade '0.5' is no whole number"),
        (
            "r.txt",
            f"1 0 a {'9' * 400}\n",
            "r.txt line 1: the grade '9{40}' is no whole number below a billion",
        ),
        ("r.txt", "1 a 1\n", "r.txt line 1 is no judgement in TREC's form"),
        (
            "r.txt",
            "1 0 a 1\n1 0 a 2\n",
            "r.txt line 2: document 'a' has grade 2 for query '1', and 1 in an earlier",
        ),
        ("r.csv", "query_id,doc_id,score\n1,,1\n", "r.csv row 1: a judgement needs a query and a document"),
        ("r.csv", "query_id,doc_id,score\n", "holds no row that can be read"),
        ("r.txt", "\n", "holds no judgement"),
        ("r.txt", "", "is empty"),
    ],
)
def test_what_is_wrong_with_judgements_is_said_by_row(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_qrels(tmp_path / name)
    with pytest.raises(DataError, match="is no file"):
        read_qrels(tmp_path / "gone.tsv")


def test_a_judgement_that_is_said_twice_counts_once_and_is_told(tmp_path):
    path = lines(tmp_path / "r.txt", "1 0 a 1", "1 0 a 1")
    with pytest.warns(BrickworkWarning, match="1 judgements come a second time"):
        assert read_qrels(path) == {"1": {"a": 1}}


def test_judgements_are_held_against_queries_and_documents():
    judged = judge(
        {**QUERIES, "q3": "no answer", "q4": "not judged"}, {**GRADES, "q3": {"x": 0}}, ["a b.md", "c.md"]
    )
    assert judged.queries == QUERIES
    assert judged.grades == GRADES
    assert (judged.unjudged, judged.on_files) == (2, False)
    assert list(judged.select(["q2"]).queries) == ["q2"]


def test_strangers_are_counted_and_named_with_what_ids_look_like():
    with pytest.raises(DataError, match=r"1 judged query is not among the 1 queries: 'q2'.*look like 'q1'"):
        judge({"q1": "a"}, GRADES, ["a b.md", "c.md"])
    with pytest.raises(
        DataError,
        match=r"2 relevant documents are not among the 3 .* 'a b.md', 'c.md'.* like 'x#0', 'x#1', 'y'",
    ):
        judge(QUERIES, GRADES, ["x#0", "x#1", "y"])
    with pytest.raises(DataError, match="files can be judged too: 'x'"):
        judge(QUERIES, GRADES, ["x#0"])
    with pytest.raises(DataError, match="no query has a relevant document"):
        judge({"q1": "a"}, {"q1": {"x": 0}}, ["x"])


def test_a_judgement_of_a_file_counts_for_its_passages():
    judged = judge(
        QUERIES, {"q1": {"x": 2, "y#1": 1}, "q2": {"y#0": 1, "y#1": 2}}, ["x#0", "x#1", "y#0", "y#1"]
    )
    assert judged.on_files
    assert judged.grades == {"q1": {"x": 2, "y": 1}, "q2": {"y": 2}}
    assert [judged.unit(name) for name in ("x#0", "x#11", "y")] == ["x", "x", "y"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "how do I stop?\n\nresume\n"),
        ("q.csv", "query\nhow do I stop?\nresume\n"),
        ("q.tsv", "query\tlang\nhow do I stop?\ten\nresume\ten\n"),
        ("q.jsonl", '{"text": "how do I stop?"}\n{"text": "resume"}\n'),
    ],
)
def test_queries_that_are_only_looked_at_need_no_ids(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert list(read_queries(path, judged=False).values()) == ["how do I stop?", "resume"]
    with pytest.raises(DataError):  # judgements have to find them by an id
        read_queries(path)


def test_queries_with_ids_keep_them_where_nothing_is_judged(tmp_path):
    read = {path.name: read_queries(path, judged=False) for path in query_files(tmp_path)}
    assert read == {path.name: read_queries(path) for path in query_files(tmp_path)}
