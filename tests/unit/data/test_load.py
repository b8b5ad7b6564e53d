"""The user's own files as tasks: kinds, splits, duplicates, and the message for each thing that is wrong."""

import csv
import json
import os
import random
import re
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.data.config import ColumnNames, DataConfig, ImageDataConfig
from brickwork.data.load import load_task, read_documents
from brickwork.data.readers.files import ReadReport
from brickwork.data.sets.language import read_texts
from brickwork.data.splits import normalised


def write(path, header, records):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(records)
    return path


def load(path, **options):
    seed = options.pop("seed", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        return load_task(DataConfig(source=str(path), **options), seed)


def all_rows(task):
    parts = (task.train, task.validation, task.test)
    return [tuple(row) for part in parts for row in zip(*(part.columns[c] for c in part.columns))]


def disjoint(sides):
    """Whether no element is in two of the sets."""
    return sum(map(len, sides)) == len(set().union(*sides))


def test_pairs_from_csv(tmp_path):
    path = write(tmp_path / "faq.csv", ["question", "answer"], [(f"q {n}", f"a {n}") for n in range(200)])
    task = load(path)
    assert (task.name, task.kind, task.modality) == ("faq.csv", "pairs", "text")
    assert (len(task.train), len(task.validation), len(task.test)) == (170, 10, 20)
    assert sorted((a, p) for a, p, _ in all_rows(task)) == sorted((f"q {n}", f"a {n}") for n in range(200))
    results = task.retrieval["faq"]
    assert (len(results.queries), len(results.documents)) == (20, 20)
    for query, relevant in zip(results.queries, results.relevant):
        assert [results.documents[row] for row in relevant] == [query.replace("q", "a")]
    assert task.notes[0].startswith("read as pairs: anchor = 'question', positive = 'answer'")


def test_the_split_is_a_function_of_data_and_seed(tmp_path):
    path = write(tmp_path / "a.csv", ["query", "text"], [(f"q {n}", f"a {n}") for n in range(100)])
    assert load(path).test.columns == load(path).test.columns
    assert load(path, seed=1).test.columns != load(path).test.columns


def test_texts_that_several_rows_share_never_cross(tmp_path):
    rng = random.Random(0)
    rows = [(f"q {rng.randrange(150)}", f"a {rng.randrange(150)}") for _ in range(120)]
    path = write(tmp_path / "a.csv", ["query", "text"], rows)
    task = load(path, test_share=0.3, validation_share=0.2)
    assert len(all_rows(task)) == len(set(rows))
    for column in ("anchor", "positive", "group"):
        parts = [set(part.columns[column]) for part in (task.train, task.validation, task.test)]
        assert disjoint(parts)
    # Rows with the same anchor or the same positive are one group: never each other's negatives.
    for a1, p1, g1 in all_rows(task):
        assert all(g1 == g2 for a2, p2, g2 in all_rows(task) if a1 == a2 or p1 == p2)


def test_a_group_column_is_kept_together(tmp_path):
    rows = [(f"q {n}", f"a {n}", f"doc {n // 10}") for n in range(100)]
    task = load(write(tmp_path / "a.csv", ["query", "text", "group"], rows))
    tests = {anchor.split()[1] for anchor in task.test.columns["anchor"]}
    assert len(tests) == 10
    assert len({int(n) // 10 for n in tests}) == 1


def test_one_common_answer_is_told(tmp_path):
    rows = [(f"q {n}", "yes" if n % 3 else f"a {n}") for n in range(90)]
    task = load(write(tmp_path / "a.csv", ["query", "text"], rows))
    assert "60 of 90 rows share texts: they stay together in training" in task.notes


def test_triplets_and_scored_pairs(tmp_path):
    rows = [(f"q {n}", f"p {n}", f"n {n}") for n in range(50)]
    task = load(write(tmp_path / "t.csv", ["anchor", "positive", "negative"], rows))
    assert task.kind == "triplets"
    results = task.retrieval["t"]
    assert len(results.documents) == 2 * len(task.test) == 10
    rows = [(f"q {n}", f"p {n}", n / 10) for n in range(51)]
    task = load(write(tmp_path / "s.csv", ["sentence1", "sentence2", "score"], rows))
    assert (task.kind, task.retrieval) == ("scored", {})
    assert "scores from 0 to 5 were brought to 0 … 1" in task.notes
    for anchor, _, score, _ in all_rows(task):
        assert score == pytest.approx(int(anchor.split()[1]) / 50)


def test_equal_numbers_are_one_class_and_mixed_types_are_refused(tmp_path):
    path = tmp_path / "l.jsonl"

    def labels(*given):
        path.write_text(
            "".join(json.dumps({"text": f"t {i}", "label": given[i % len(given)]}) + "\n" for i in range(24))
        )
        return load(path).class_names

    assert labels(1, 1.0, 2) == ("1", "2")
    assert labels("1", "2") == ("1", "2")
    assert labels(True, False) == ("False", "True")
    for mixed in ((1, "1"), (True, 1), ("yes", 2.5)):
        with pytest.raises(DataError, match=r"l.jsonl: 'label' has labels of mixed types"):
            labels(*mixed)


def test_labelled_texts_with_numbers_in_their_order(tmp_path):
    rows = [(f"text {n}", n % 11) for n in range(110)]
    task = load(write(tmp_path / "l.csv", ["text", "label"], rows))
    assert (task.kind, task.num_classes) == ("labelled", 11)
    assert task.class_names == tuple(str(n) for n in range(11))
    assert all(int(text.split()[1]) % 11 == label for text, label in all_rows(task))


def test_duplicates_are_left_out_and_counted(tmp_path):
    rows = [("q", "a"), ("Q ", "a"), ("q2", "a2"), ("q", "a")]
    task = load(write(tmp_path / "a.csv", ["query", "text"], rows))
    assert len(all_rows(task)) == 2
    assert "2 duplicates left out" in task.notes


WRONG = [
    ("a.csv", "query,text\n", "holds no row|holds no rows"),
    ("a.csv", "query,text\nq,a\n", "gives 1 different example out of 1 row; training needs 2 or more"),
    (
        "a.csv",
        "query,text\n" + "q,a\n" * 9,
        r"gives 1 different example out of 9 rows.*8 duplicates left out",
    ),
    ("a.csv", "query,text\n,a\nq,\n", r"gives 0 different examples.*'query' is empty \(first: a.csv row 1\)"),
    ("a.csv", "text,label\na,x\nb,x\n", "has only the class 'x'; classes can be learnt from two on"),
    ("a.csv", "x,y\n1,2\n", "has the columns x, y: no pair and no text among the usual names"),
    ("a.jsonl", '{"text": "short"}\n{"text": "Short"}\n', r"gives 0 pairs .* training needs 2 or more"),
    ("a.txt", "just this\n", "gives 0 pairs"),
    ("a.csv", "", "is empty; give a file with at least two rows"),
]


@pytest.mark.parametrize(("name", "content", "message"), WRONG)
def test_what_cannot_be_trained_on_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert error.value.exit_code == 3


def test_wrong_column_of_the_configuration(tmp_path):
    path = write(tmp_path / "a.csv", ["query", "text"], [("q", "a")] * 3)
    with pytest.raises(DataError, match=r"no column 'txt' \(wanted as positive\): did you mean 'text'\?"):
        load(path, columns=ColumnNames(positive="txt"))


def test_scores_that_are_no_numbers_are_skipped(tmp_path):
    path = write(
        tmp_path / "a.csv",
        ["sentence1", "sentence2", "score"],
        [("a", "b", "0.5"), ("c", "d", "high"), ("e", "f", "1")],
    )
    with pytest.warns(BrickworkWarning, match=r"1 skipped: 'score' is not a number \(first: a.csv row 2\)"):
        task = load_task(DataConfig(source=str(path)), 0)
    assert len(task.train) == 2


def make_folder(root):
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config.md").write_text("hidden")
    (root / ".hidden.md").write_text("hidden")
    (root / "image.png").write_bytes(b"\x89PNG")
    (root / "binary.txt").write_bytes(bytes(range(32)) * 100)
    (root / "empty.md").write_bytes(b"")
    for n in range(12):
        (root / "sub" / f"page{n:02}.md").write_text(
            f"# Page {n}\nThis is page {n}.\n\n## Details of {n}\n" + f"Word{n} again. " * 120
        )
    (root / "index.html").write_text("<h1>Index</h1><p>Start of everything.</p>")
    (root / "tool.py").write_text('"""Tool docs."""\n\ndef run():\n    """Run it."""\n    return 1\n')


def test_a_folder_is_enough(tmp_path):
    make_folder(tmp_path / "docs")
    report = ReadReport()
    with pytest.warns(BrickworkWarning) as caught:
        results = list(read_documents(tmp_path / "docs", report=report))
    assert sorted(str(warning.message) for warning in caught) == [
        "1 skipped: binary file (first: binary.txt)",
        "1 skipped: empty file (first: empty.md)",
    ]
    assert report.quiet == {"hidden": 2, "type .png": 1}
    assert report.files == 14
    by_id = {document.id: document for document in results}
    assert len(by_id) == len(results)
    assert by_id["index.html#0"].title == "Index"
    assert by_id["sub/page03.md#0"].title == "Page 3"
    assert by_id["sub/page03.md#1"].title == "Page 3 › Details of 3"
    assert by_id["sub/page03.md#2"].text.startswith("Word3 again.")
    assert by_id["sub/page03.md#2"].source == "sub/page03.md"
    assert by_id["tool.py#1"].title == "tool › run"
    assert all(len(document.text.split()) <= 200 for document in results)
    assert not any(str(tmp_path) in str(vars(document)) for document in results)
    assert [d.id for d in results] == [d.id for d in quiet_documents(tmp_path / "docs")]


def quiet_documents(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        return list(read_documents(path))


def test_training_pairs_from_a_folder(tmp_path):
    make_folder(tmp_path / "docs")
    task = load(tmp_path / "docs", test_share=0.25, validation_share=0.1)
    assert task.kind == "pairs"
    assert re.search(r" [1-9]\d* heading, [1-9]\d* neighbour, [1-9]\d* opening$", task.notes[-1])
    # An oracle of its own: the pages' numbers. A run of passages is never on two sides.
    texts = [
        {normalised(t) for c in ("anchor", "positive") for t in part.columns[c]}
        for part in (task.train, task.validation, task.test)
    ]
    assert disjoint(texts)
    heading = task.retrieval["heading"]
    assert heading.titles is not None
    assert all(len(relevant) == 1 for relevant in heading.relevant)
    assert any(note.startswith("pairs made from the documents: ") for note in task.notes)
    assert "1 file left out: type .png" in task.notes


def test_of_many_files_none_is_on_two_sides(tmp_path):
    for n in range(40):
        (tmp_path / f"f{n}.txt").write_text("\n\n".join(f"file{n} part{p} " * 60 for p in range(6)))
    task = load(tmp_path, test_share=0.2)
    sides = [
        {text.split()[0] for text in part.columns["anchor"]}
        for part in (task.train, task.validation, task.test)
    ]
    assert [len(side) for side in sides] == [30, 2, 8]
    assert disjoint(sides)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read everything")
def test_unreadable_files_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("readable")
    (tmp_path / "b.txt").write_text("not")
    (tmp_path / "b.txt").chmod(0)
    with pytest.warns(BrickworkWarning, match=r"1 skipped: unreadable file \(first: b.txt\)"):
        assert len(list(read_documents(tmp_path))) == 1


def test_links_to_nowhere_are_counted_and_loops_end(tmp_path):
    (tmp_path / "a.txt").write_text("readable")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.warns(BrickworkWarning, match=r"1 skipped: not a regular file \(first: gone.txt\)"):
        assert len(list(read_documents(tmp_path))) == 1


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no text that can be read .*: there are no files"):
        list(read_documents(tmp_path))
    (tmp_path / "blank.txt").write_text("  \n")
    with pytest.raises(DataError, match=r"holds no text that can be read .*: no words in 1 file$"):
        list(read_documents(tmp_path))


def test_plain_texts_in_a_table(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"doc{n} " * 150 + f"\n\nend{n} " * 150}) + "\n" for n in range(30))
    )
    task = load(path)
    assert re.fullmatch(r"pairs made from the documents: [\d,]+ neighbour", task.notes[-1])
    for anchor, positive in zip(task.train.columns["anchor"], task.train.columns["positive"]):
        assert anchor.split()[0].removeprefix("doc") == positive.split()[0].removeprefix("end")
    assert task.notes[0].startswith("read as plain texts: text = 'text'")


def test_limit_and_passage_length_have_effect(tmp_path):
    path = write(tmp_path / "a.csv", ["query", "text"], [(f"q {n}", f"a {n}") for n in range(100)])
    assert len(all_rows(load(path, limit=30))) == 30
    (tmp_path / "a.txt").write_text("word1 " * 1000)
    short = quiet_documents(tmp_path / "a.txt")
    assert len(short) == 5
    assert len(list(read_documents(tmp_path / "a.txt", max_passage_words=500))) == 2
    assert len(list(read_documents(tmp_path / "a.txt", limit=3))) == 3


def test_configuration_round_trip_and_its_errors():
    config = DataConfig(source="x.csv", columns=ColumnNames(anchor="q"), limit=5)
    assert from_dict(DataConfig, to_dict(config)) == config
    assert override(config, ["columns.anchor=other", "test_share=0.2"]).columns.anchor == "other"
    with pytest.raises(ConfigError) as error:
        override(config, ["limit=0", "test_share=1.5", "max_passage_words=3", "max_held_out=0", "source="])
    for field in ("limit is 0", "test_share is 1.5", "max_passage_words is 3", "max_held_out is 0", "source"):
        assert field in str(error.value)
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        override(config, ["validation_share=0.6", "test_share=0.6"])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_other_columns_of_a_table_are_metadata(tmp_path, kind):
    """Numbers and truth values are such in every format; what is missing, empty or no plain value is left out."""
    rows = [
        {"id": "a", "text": "one", "year": 2020, "price": 1.5, "open": True, "zip": "007", "note": "x, y"},
        {"id": "b", "text": "two", "year": -3, "price": None, "open": False, "zip": "10a", "note": ""},
    ]
    path = tmp_path / f"table.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "vector": [0.5, 0.5]} for row in rows]), path)
    elif kind == "jsonl":
        rows[1]["extra"] = "only here"
        path.write_text("".join(json.dumps({**row, "nested": {"k": 1}}) + "\n" for row in rows))
    else:
        header = list(rows[0])
        lines = [",".join(header)]
        for row in rows:
            cells = ["" if row[name] is None else str(row[name]) for name in header]
            lines.append(",".join(f'"{cell}"' if "," in cell else cell for cell in cells))
        path.write_text("\n".join(lines) + "\n")
    first, second = read_documents(path)
    assert first.meta == {"year": 2020, "price": 1.5, "open": True, "zip": "007", "note": "x, y"}
    assert second.meta == {
        "year": -3,
        "open": False,
        "zip": "10a",
        **({"extra": "only here"} if kind == "jsonl" else {}),
    }
    assert [type(first.meta[name]) for name in ("year", "price", "open")] == [int, float, bool]


def test_a_column_source_is_where_the_document_is_from(tmp_path):
    """A filter on ``source`` means that field, so the column must not be hidden in the metadata."""
    path = tmp_path / "table.csv"
    path.write_text("id,text,source,year\na,one,guide.md,2020\nb,two,,2021\nc,three,7,2022\n")
    results = list(read_documents(path))
    assert [document.source for document in results] == ["guide.md", "table.csv:1", "7"]
    assert [document.meta for document in results] == [{"year": 2020}, {"year": 2021}, {"year": 2022}]


OWN = {
    "model": ("brickwork.json",),
    "run": ("config.json", "checkpoints/step-1/state.json"),
    "index": ("manifest.json", "segments/a.arrow"),
    "vectors": ("vectors.json",),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_folder_of_ours_is_no_data(tmp_path, kind):
    """Its README would be learnt from."""
    for name in (*OWN[kind], "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Title\n\n" + "some words of it\n\n" * 40)
    for read in (load, read_documents, lambda path: list(read_texts(path, DataConfig(), ReadReport()))):
        with pytest.raises(DataError, match=rf"is no folder of data: it .*{kind}"):
            read(tmp_path)
    for name in OWN[kind]:
        (tmp_path / name).unlink()
    assert list(read_documents(tmp_path))


def test_a_known_set_that_is_also_a_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.warns(BrickworkWarning, match="known set of that name.*write ./digits"):
        assert load_task(ImageDataConfig(source="digits"), 0).num_classes == 10
