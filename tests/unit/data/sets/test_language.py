"""Texts with domains: folders, files, tables, known sets, and what is refused."""

import json

import pytest

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.data.sets.language import Text, pieces, text_task


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def task(path, **config):
    return text_task(DataConfig(source=str(path), max_passage_words=10, **config), 0)


def everything(data):
    """(domain, piece) of all parts."""
    return sorted(
        row
        for part in (data.train, data.validation, data.test)
        for row in zip(part.columns["domain"], part.columns["input"])
    )


def test_sub_folders_are_domains_and_no_character_is_lost(tmp_path):
    code = "def f(x):\n    return x + 1\n" * 30
    prose = "It was a dark and stormy night; the rain fell in torrents. " * 20
    write(tmp_path, {"code/a.py": code, "prose/deep/b.txt": prose, "notes.md": "# A note\n"})
    data = task(tmp_path)
    assert data.kind == "texts"
    assert data.class_names == ("code", "prose", tmp_path.name)
    results = everything(data)
    assert {domain for domain, _ in results} == set(data.class_names)
    assert sum(len(piece) for domain, piece in results if domain == "code") == len(code)
    assert max(len(piece) for _, piece in results) == 50
    assert "code" in data.notes[0]


def test_files_of_a_flat_folder_are_domains(tmp_path):
    write(tmp_path, {f"{name}.txt": f"{name} text " * 50 for name in ("one", "two", "three")})
    assert task(tmp_path).class_names == ("one", "three", "two")


def test_many_files_are_one_domain(tmp_path):
    write(tmp_path, {f"{number}.txt": "text " * 30 for number in range(20)})
    assert task(tmp_path).class_names == (tmp_path.name,)


def test_a_file_is_one_domain(tmp_path):
    path = write(tmp_path, {"book.txt": "Call me Ishmael. " * 100}) / "book.txt"
    data = task(path)
    assert data.class_names == ("book",)
    assert "".join(sorted(data.train.columns["input"])) != ""


def test_labels_of_a_table_are_domains(tmp_path):
    rows = [{"text": f"text number {n}", "label": "ab"[n % 2]} for n in range(40)] + [
        {"text": "", "label": "a"}
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(BrickworkWarning, match="1 skipped: 'text' is empty"):
        data = task(path)
    assert data.class_names == ("a", "b")
    assert len(everything(data)) == 40
    named = task(path, columns=ColumnNames(text="label"))
    assert {piece for _, piece in everything(named)} == {"a\n", "b\n"}


def test_neighbouring_pieces_stay_together():
    """Pieces of one block of 8 have one key, by which the split goes."""
    results = list(pieces([Text("d", "name", "x" * 1000)], 50))
    assert len(results) == 20
    assert [block for _, block, _ in results] == ["d/name/0"] * 8 + ["d/name/1"] * 8 + ["d/name/2"] * 4


def test_parts_share_no_block(tmp_path):
    text = "".join(f"{number:04d} and so on, line by line.\n" for number in range(800))
    data = task(write(tmp_path, {"a.txt": text}), test_share=0.2, validation_share=0.2)
    seen = [set(part.columns["input"]) for part in (data.train, data.validation, data.test)]
    assert not seen[0] & seen[2]
    assert len(data.test) == pytest.approx(0.2 * sum(map(len, seen)), rel=0.1)
    assert data.train.columns == task(tmp_path, test_share=0.2, validation_share=0.2).train.columns


def test_limit_is_of_each_domain(tmp_path):
    write(tmp_path, {"a/x.txt": "aaaa " * 500, "b/x.txt": "bbbb " * 40})
    results = everything(task(tmp_path, limit=5))
    assert [domain for domain, _ in results].count("a") == 5
    assert [domain for domain, _ in results].count("b") == 4


def test_known_sets_can_be_joined():
    data = task("toy", limit=30)
    assert data.class_names == ("questions", "statements")
    joined = text_task(DataConfig(source="toy", limit=30, max_passage_words=10), 0, also=["stdlib"])
    assert joined.class_names == ("code", "questions", "statements")
    assert len(everything(joined)) == 90


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        (
            {"a/x.txt": "text " * 30, "b/y.bin": "text"},
            "",
            r"b is a domain without any text.*remove the folder",
        ),
        ({"a/x.txt": "text " * 30, "b/y.txt": b"\x00\x01\x02" * 99}, "", "b is a domain without any text"),
        ({"x.bin": "no"}, "", "holds no text that can be read"),
        ({"x.pdf": "no"}, "x.pdf", "of no type that is read as texts"),
        ({"x.txt": "   \n"}, "x.txt", "holds no text that can be read"),
        ({}, "missing", r"missing does not exist, and is no known set of texts \(toy"),
        ({"x.csv": "a,b\n1,2\n"}, "x.csv", r"columns a, b: none is called like a text.*--column text=NAME"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, files, source, message):
    write(tmp_path, files)
    with pytest.raises(DataError, match=message):
        task(tmp_path / source if source else tmp_path)


def test_seven_domains_have_as_many_pieces_from_many_documents():
    """Where the sets are on this machine."""
    config = DataConfig(source="seven-domains", limit=30, max_passage_words=60)
    try:
        task = text_task(config, 0)
    except DataError as error:
        pytest.skip(str(error))
    parts = (task.train, task.validation, task.test)
    domains = [name for part in parts for name in part.columns["domain"]]
    assert sorted(set(domains)) == ["code", "data", "drama", "math", "news", "prose", "translation"]
    assert {domains.count(name) for name in set(domains)} == {30}
    texts = [text for part in parts for text in part.columns["input"]]
    assert max(map(len, texts)) <= 300
    own = [text for text, name in zip(texts, domains) if name == "translation"]
    assert sum("English:" in text for text in own) > 25
