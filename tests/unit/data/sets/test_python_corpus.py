"""The Python corpus against a module that was read by hand, and against ``inspect`` and ``ast``."""

import ast
import inspect
import json as json_module
import subprocess
import sys
import textwrap

import pyarrow.parquet as pq
import pytest

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task, read_documents
from brickwork.data.sets import python_corpus, python_source

MODULE = '''"""Module documentation is not an entry."""
import canary_that_does_not_exist  # importing this module would fail

BODY = 1

@wrap(1)
def first(
    a: int, b=BODY
) -> int:
    """Adds two numbers of
    any size.

    The body has more than twenty words, because shorter ones are not worth being searched for in a
    documentation that is as large as this.
    """

    total = a + b
    def inner():
        """Inner documentation is removed, too."""
        return total
    return inner() + a * b + BODY


def _private(x):
    """Private functions are not taken at all."""
    return x + BODY + BODY + BODY + BODY + BODY + BODY


def short(x):
    """Three words only."""
    return x + BODY + BODY + BODY + BODY + BODY + BODY


class Thing(Base):
    """Holds things of many different kinds."""

    size = 3

    def method(self, other):
        """Compares this thing with another thing."""
        return self.size == other.size and BODY > 1 or other.weight < self.weight

    @overload
    def method(self, other, more):
        """Compares this thing with another thing and more."""
        return self.size == other.size and BODY > 1 or other.weight < self.weight


def undocumented(a, b):
    return a + b


def one_line(x): "On one line with its documentation."; return x


if BODY:
    async def later(x):
        """Runs later than everything else here."""
        await x.one(two=3, four=5, six=7, eight=9, ten=11, twelve=13)
'''


@pytest.fixture
def entries(tmp_path):
    path = tmp_path / "mod.py"
    path.write_text(MODULE, encoding="utf-8")
    return {entry["name"]: entry for entry in python_source.file_entries(str(path), "pkg.mod")}


def test_entries_of_a_module_read_by_hand(entries):
    assert list(entries) == ["pkg.mod.first", "pkg.mod.Thing", "pkg.mod.Thing.method", "pkg.mod.later"]
    first = entries["pkg.mod.first"]
    assert first["summary"] == "Adds two numbers of any size."
    assert first["body"].startswith("The body has more than twenty words")
    assert first["body"].endswith("as large as this.")
    assert first["signature"] == "def first( a: int, b=BODY ) -> int"
    assert first["line"] == 7
    assert first["source"] == (
        "@wrap(1)\ndef first(\n    a: int, b=BODY\n) -> int:\n    total = a + b\n    def inner():\n"
        "        return total\n    return inner() + a * b + BODY"
    )
    thing = entries["pkg.mod.Thing"]
    assert (thing["kind"], thing["body"]) == ("class", "")
    assert "Compares" not in thing["source"]
    assert entries["pkg.mod.Thing.method"]["signature"] == "def method(self, other)"
    assert entries["pkg.mod.later"]["source"].startswith("async def later(x):\n    await x.one(")


def test_summaries_and_bodies_are_those_that_inspect_gives():
    """Oracle: the documentation of the imported functions of a real module."""
    results = python_source.file_entries(textwrap.__file__, "textwrap")
    assert {"textwrap.dedent", "textwrap.TextWrapper", "textwrap.TextWrapper.wrap"} <= {
        e["name"] for e in results
    }
    for entry in results:
        value = textwrap
        for part in entry["name"].split(".")[1:]:
            value = getattr(value, part)
        head, _, rest = inspect.getdoc(value).partition("\n\n")
        assert entry["summary"] == " ".join(head.split())[: len(entry["summary"])]
        assert entry["body"] in ("", rest.strip())
        assert inspect.getsourcelines(value)[1] == entry["line"]


def test_sources_parse_and_hold_no_docstring():
    for entry in python_source.file_entries(json_module.decoder.__file__, "json.decoder"):
        if entry["source"] and len(entry["source"]) < python_source.MAX_CHARACTERS:
            (definition,) = ast.parse(entry["source"]).body
            inside = [n for n in ast.walk(definition) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
            assert not any(ast.get_docstring(node) for node in inside)


@pytest.mark.parametrize(
    "content",
    [b"def f(:", b"\xff\xfe\x00", b"x = 1\n" * 200_000, b"", b"# coding: nonsense\nx = 1\n", b"\0"],
    ids=["syntax", "bytes", "huge", "empty", "coding", "nul"],
)
def test_files_that_cannot_be_read_give_nothing(tmp_path, content):
    (tmp_path / "a.py").write_bytes(content)
    assert python_source.file_entries(str(tmp_path / "a.py"), "a") == []
    assert python_source.file_entries(str(tmp_path / "missing.py"), "a") == []


def function(name, words, code):
    doc = f'    """Summary of {name} {words}.\n\n    {" ".join(f"{words}{n}" for n in range(40))}\n    """\n'
    return f"def {name}(x):\n{doc}    return {code}\n\n\n"


def make_packages(root, count=40):
    for n in range(count):
        package = root / f"pack{n % 4}"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / f"mod{n}.py").write_text(
            "".join(
                function(f"fun{n}_{k}", f"word{n}x{k}", " + ".join(f"var{n}_{k}_{v}" for v in range(20)))
                for k in range(3)
            )
        )
    for skipped in ("tests", "_vendor"):
        (root / "pack0" / skipped).mkdir()
        (root / "pack0" / skipped / "mod.py").write_text(function("hidden", "never", "a + b"))
    (root / "pack0" / "test_it.py").write_text(function("hidden", "never", "a + b"))
    copy = (root / "pack1" / "mod1.py").read_text()
    (root / "pack1" / "copied.py").write_text(copy)
    changed = copy.replace("Summary of", "Other summary of").replace("word1x09 ", "changed ")
    (root / "pack2" / "nearly.py").write_text(changed)


def test_collect_takes_all_modules_once_and_no_copies(tmp_path):
    make_packages(tmp_path)
    table = python_corpus.collect(roots=[tmp_path]).to_pydict()
    assert len(table["name"]) == 120
    assert len({name.rpartition(".")[2] for name in table["name"]}) == 120
    assert not any("hidden" in name for name in table["name"])
    assert not any(str(tmp_path) in str(row) for column in table.values() for row in column)


def test_a_smaller_collection_is_the_beginning_of_a_larger_one(tmp_path):
    make_packages(tmp_path)
    everything = python_corpus.collect(roots=[tmp_path])
    assert python_corpus.collect(50, roots=[tmp_path]).equals(everything.slice(0, 50))


def test_worker_programs_and_this_process_find_the_same(tmp_path, monkeypatch):
    make_packages(tmp_path)
    here = python_corpus.collect(roots=[tmp_path])
    monkeypatch.setattr(python_corpus, "_CHUNK", 7)
    assert python_corpus.collect(roots=[tmp_path]).equals(here)


def test_nothing_documented_is_an_error(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="no documented Python functions below"):
        python_corpus.collect(roots=[tmp_path])


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A small Python environment in place of the installed one, and an empty cache."""
    make_packages(tmp_path / "site")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(python_corpus, "default_roots", lambda: [tmp_path / "site"])
    return tmp_path


def test_the_cache_is_used_and_a_damaged_one_is_made_anew(environment, monkeypatch):
    first = python_corpus.collect(30)
    (cached,) = (environment / "cache").rglob("30.parquet")
    assert pq.read_table(cached).equals(first)
    with monkeypatch.context() as patch:
        patch.setattr(python_corpus, "_entries", lambda files: pytest.fail("the cache was not used"))
        assert python_corpus.collect(30).equals(first)
    cached.write_bytes(b"PAR1 damaged")
    assert python_corpus.collect(30).equals(first)
    assert pq.read_table(cached).equals(first)


def test_the_cache_knows_the_packages(environment, monkeypatch):
    before = python_corpus.fingerprint([environment])
    assert before == python_corpus.fingerprint([environment])
    monkeypatch.setattr(python_corpus.importlib.metadata, "distributions", lambda: [])
    assert python_corpus.fingerprint([environment]) != before


def test_the_two_tasks_split_by_module(environment):
    task = load_task(DataConfig(source="python", test_share=0.2, validation_share=0.1), 0)
    assert set(task.train.columns) == {"anchor", "positive", "group"}
    assert len(task.train) + len(task.validation) + len(task.test) == 240
    sides = [
        {anchor.split()[2].split("_")[0] for anchor in part.columns["anchor"]}
        for part in (task.train, task.validation, task.test)
    ]
    assert [len(side) for side in sides] == [28, 4, 8]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert set(task.retrieval) == {"documentation", "code"}
    for name, results in task.retrieval.items():
        assert len(results.queries) == len(results.documents) == 24
        for query, relevant, title in zip(results.queries, results.relevant, results.titles):
            (row,) = relevant
            function_name = query.split()[2]
            assert results.titles[row].endswith(function_name)
            assert title.startswith("pack")
            word = function_name.removeprefix("fun").replace("_", "x")
            assert (f"word{word}" in results.documents[row]) == (name == "documentation")
    short = load_task(DataConfig(source="python", max_passage_words=12), 0)
    assert max(len(text.split()) for text in short.train.columns["positive"]) == 12
    # The two pairs of one function are one group.
    groups = dict(zip(task.train.columns["anchor"], task.train.columns["group"]))
    assert len(set(groups.values())) == len(groups) == len(task.train) // 2


def test_documents_of_the_corpus_carry_no_path_of_the_machine(environment):
    results = list(read_documents("python", limit=40))
    assert len({document.id for document in results}) == 40
    for document in results:
        module, _, line = document.source.partition(":")
        assert document.title.startswith(module)
        assert int(line) in (1, 9, 17)
        assert document.text.startswith("def fun")
        assert str(environment) not in str(vars(document))


def test_the_real_environment_is_walked_in_the_same_order_in_every_process():
    code = (
        "from brickwork.data.sets.python_corpus import *; "
        "print([name for _, name in modules(default_roots())[:50]])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
        ).stdout
        for environ in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert len(runs) == 1
    names = {name for _, name in python_corpus.modules(python_corpus.default_roots())}
    assert {"json.decoder", "textwrap", "numpy.linalg"} <= names
    folders = {part for name in names for part in name.split(".")[:-1]}
    assert not folders & {"test", "tests", "_vendor", "site-packages"}
