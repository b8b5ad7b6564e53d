"""Passages of documents written out by hand."""

import time
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.data.readers.pairs import plain_pairs
from brickwork.data.readers.passages import (
    Passage,
    Section,
    cut_words,
    html_sections,
    markdown_sections,
    pack,
    passages,
    python_sections,
    rst_sections,
)

MARKDOWN = """---
layout: page
---
Before everything.

# The *Guide*

Welcome.

## Install [it](http://x)

```sh
# not a heading
make
```

Setext
------
Under it.

# Other
Text | table
--- | ---
"""


def test_markdown_headings_fences_and_front_matter():
    assert markdown_sections(MARKDOWN) == [
        Section((), "Before everything."),
        Section(("The Guide",), "Welcome."),
        Section(("The Guide", "Install it"), "```sh\n# not a heading\nmake\n```"),
        Section(("The Guide", "Setext"), "Under it."),
        Section(("Other",), "Text | table\n--- | ---"),
    ]


def test_a_hostile_heading_takes_no_time():
    started = time.process_time()
    (section,) = markdown_sections("# " + " " * 500_000 + "[" * 500_000 + "\ntext")
    assert len(section.path[0]) == 300
    assert time.process_time() - started < 2


RST = """=====
Title
=====

Intro.

Part
====
Text with::

    code
    ----

Deeper
------
More.

Next
====
End.
"""


def test_rst_titles_by_the_order_of_their_marks():
    results = rst_sections(RST)
    # docutils: an overlined title and an underlined one with the same mark are different levels.
    assert [section.path[-1] for section in results] == ["Title", "Part", "Deeper", "Next"]
    assert results[0] == Section(("Title",), "Intro.")
    assert results[1].path == ("Title", "Part")
    assert "    code\n    ----" in results[1].text
    assert results[2].path == ("Title", "Part", "Deeper")
    assert results[3].path == ("Title", "Next")


HTML = """<!doctype html><html><head><title>no</title><style>p {}</style></head><body>
<nav>menu <a>home</a></nav>
<h1>Main &amp; first</h1><p>One
two.</p><script>var x = "<p>no</p>";</script>
<h2>Sub</h2><ul><li>item<li>other</ul><pre>  a
    b</pre>tail</body></html>"""


def test_html_without_scripts_and_navigation():
    assert html_sections(HTML) == [
        Section(("Main & first",), "One two."),
        Section(("Main & first", "Sub"), "item\n\nother\n\n  a\n    b\n\ntail"),
    ]


def test_broken_html_still_gives_its_text():
    assert html_sections("<head><title>t</title><body><p>hello <b>world")[0].text == "hello world"


PYTHON = '''"""About the module."""
import os

@decorator
def f(x):
    """Doc."""
    return x

class C:
    y = 1
'''


def test_python_definitions_under_their_names():
    assert python_sections(PYTHON, "pkg.mod") == [
        Section(("pkg.mod",), "About the module."),
        Section(("pkg.mod", "f"), '@decorator\ndef f(x):\n    """Doc."""\n    return x'),
        Section(("pkg.mod", "C"), "class C:\n    y = 1"),
    ]
    assert python_sections("def f(:", "m") == [Section((), "def f(:")]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "bb", "c.", "d!"]), min_size=1, max_size=40), max_size=6))
def test_packing_keeps_every_word_in_order_and_the_limit(paragraphs):
    texts = [" ".join(words) for words in paragraphs]
    packed = list(pack(texts, 10))
    assert " ".join(packed).split() == [word for words in paragraphs for word in words]
    assert all(len(text.split()) <= 10 for text in packed)
    # No two neighbours would have fitted into one, unless a long paragraph was split.
    if all(len(words) <= 10 for words in paragraphs):
        assert all(len(f"{a} {b}".split()) > 10 or "\n\n" in b for a, b in pairwise(packed))


def test_long_paragraphs_are_split_at_sentences():
    text = "One two three. Four five six. Seven eight nine."
    assert list(pack([text], 6)) == ["One two three. Four five six.", "Seven eight nine."]
    assert [p.first for p in passages([Section(("H",), text)], 6)] == [True, False]


def test_cut_keeps_the_spaces_between():
    assert cut_words("a\n    b  c d", 3) == "a\n    b  c"
    assert cut_words("a b", 3) == "a b"


def passage(text, title="", first=False):
    return Passage(title or "doc", text, first, bool(title))


def test_headings_ask_for_sections_and_passages_for_their_neighbours():
    results = [
        ("a.md", passage("intro", "A", True)),
        ("a.md", passage("more", "A")),
        ("a.md", passage("usage", "A › Use", True)),
        ("b.txt", passage("x")),
        ("b.txt", passage("MORE")),  # seen before
        ("b.txt", passage("y")),
    ]
    pairs = plain_pairs(results)
    assert list(zip(pairs.anchor, pairs.positive, pairs.group, pairs.task)) == [
        ("A", "intro", 0, "heading"),
        ("intro", "more", 0, "neighbour"),
        ("A: Use", "usage", 1, "heading"),
        ("x", "y", 2, "neighbour"),
    ]
    assert pairs.duplicates == 1
    assert pairs.key == ["a.md#0", "a.md#0", "a.md#0", "b.txt#0"]


def test_of_many_documents_each_stays_whole_and_of_few_runs_of_passages_do():
    many = [(f"{n}.txt", passage(f"{n} {place}")) for n in range(30) for place in range(20)]
    assert set(plain_pairs(many).key) == {f"{n}.txt" for n in range(30)}
    few = [("one.txt", passage(f"{place}")) for place in range(40)]
    pairs = plain_pairs(few)
    assert len(set(pairs.key)) == 5
    # A text never stands under two keys: pairs of a run use passages of the run only.
    for key in set(pairs.key):
        texts = {t for k, a, p in zip(pairs.key, pairs.anchor, pairs.positive) if k == key for t in (a, p)}
        others = {t for k, a, p in zip(pairs.key, pairs.anchor, pairs.positive) if k != key for t in (a, p)}
        assert not texts & others
