import re
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from brickwork.inspection import report
from brickwork.inspection.report_data import (
    ExampleSearch,
    GridCell,
    Hit,
    MapPoint,
    QualityPart,
    ReportData,
    SearchSide,
    curves_from_records,
)

sys.path.insert(0, str(Path(__file__).parent))
import sample

VOID = {"wbr", "meta", "br", "input", "link", "img", "hr"}


class Page(HTMLParser):
    """Reads the page as a browser would, and checks that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.cells, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture(scope="module")
def whole():
    return report.render(sample.whole(2))


def test_the_page_is_well_formed_and_has_every_section(whole):
    headings = Page(whole).headings
    assert headings[0] == "An elastic encoder for Python documentation"
    assert headings[1:] == [
        "Quality at every size: documentation search",
        "Quality at every size: code search",
        "What quality costs",
        "Example searches",
        "Map of the corpus",
        "Training",
        "What next",
    ]


def test_the_page_needs_nothing_from_outside(whole):
    for _, name, value in Page(whole).attributes:
        assert name not in ("src", "href", "action", "srcset")
        assert not name.startswith("on")
        assert "://" not in value or name == "xmlns"
    assert "@import" not in whole
    assert "url(" not in whole
    assert "default-src 'none'" in whole


def test_the_tables_hold_the_numbers(whole):
    cells = Page(whole).cells
    for part in sample.whole(2).quality:
        for cell in part.cells:
            assert f"{cell.after:.3f}" in cells
            assert f"{cell.before:.3f}" in cells
            assert f"{cell.after - cell.before:+.3f}" in cells


def test_what_documents_say_stays_text():
    nasty = "<script>alert(1)</script>\"' onload=x"
    data = sample.whole(2)
    point = replace(data.corpus_map.points[0], title=nasty)
    hit = Hit(title=nasty, score=1.0, text=nasty, source=nasty)
    search = ExampleSearch(
        query=nasty, sides=(SearchSide(label=nasty, dim=1, layers=1, milliseconds=1.0, hits=(hit,)),)
    )
    data = replace(
        data,
        title=nasty,
        subtitle=nasty,
        notes=(nasty,),
        facts={nasty: nasty},
        searches=(search,),
        corpus_map=replace(data.corpus_map, points=(point,)),
        configuration={nasty: {nasty: [nasty]}},
        quality=(replace(data.quality[0], name=nasty, baselines={nasty: 0.5}),),
    )
    text = report.render(data)
    assert text.count("<script>") == 1  # our own
    page = Page(text)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)


def test_a_bare_report_is_only_a_header():
    text = report.render(ReportData(title="nothing yet"))
    assert Page(text).headings == ["nothing yet"]
    assert "<section" not in text


OPTIONAL = [f.name for f in fields(ReportData) if f.name != "title"]


@pytest.mark.parametrize("missing", OPTIONAL)
def test_every_part_may_be_missing(missing):
    empty = ReportData(title="x")
    data = sample.whole(2)
    data = replace(data, quality=data.quality[:1], searches=data.searches[:1])
    Page(report.render(replace(data, **{missing: getattr(empty, missing)})))


def test_a_run_without_before_shows_one_grid():
    cells = tuple(GridCell(dim=d, layers=1, after=0.5) for d in (8, 16))
    part = QualityPart(name="x", cells=cells, sample="1 queries, 2 documents.", baselines={"BM25": 0.4})
    assert [table["kind"] for table in report.grids(part)] == ["after"]
    text = report.render(ReportData(title="x", quality=(part,)))
    assert "Before training" not in text
    assert "0.400" in Page(text).cells


def test_grids_put_deep_layers_on_top_and_mark_what_is_not_significant():
    cells = (
        GridCell(dim=8, layers=1, before=0.3, after=0.5, low=0.1, high=0.3),
        GridCell(dim=8, layers=2, before=0.5, after=0.51, low=-0.01, high=0.03),
        GridCell(dim=16, layers=2, before=0.6, after=0.5, low=-0.2, high=-0.05),
    )
    part = QualityPart(name="x", cells=cells, sample="1 queries, 2 documents.")
    before, after, difference = report.grids(part)
    assert [layers for layers, _ in after["rows"]] == [2, 1]
    assert after["dims"] == [8, 16]
    assert after["rows"][1][1][1] is None
    (unsure, loss), (gain, _) = (row for _, row in difference["rows"])
    assert (unsure["strong"], loss["strong"], gain["strong"]) == (0, 1, 1)
    assert (gain["side"], loss["side"]) == ("gain", "loss")
    assert (gain["text"], loss["text"]) == ("+0.200", "-0.100")
    assert (gain["fill"], loss["fill"]) == (100, 50)
    assert before["rows"][1][1][0]["fill"] == 0  # 0.3 is the lowest of before and after, 0.6 the highest
    assert before["rows"][0][1][1]["fill"] == 100


def test_the_default_finding_is_the_change_at_full_size():
    data = sample.whole(2)
    full = max(data.quality[0].cells, key=lambda c: (c.layers, c.dim))
    results = report.default_finding(data.quality)
    assert (results.effect, results.low, results.high) == (full.after - full.before, full.low, full.high)
    assert "raised nDCG@10 on documentation search:" in results.sentence
    assert report.default_finding(()) is None


@pytest.mark.parametrize(
    ("after", "low", "high", "sentence"),
    [
        (0.7, 0.05, 0.2, "Training raised nDCG@10 on x: 0.600 before, 0.700 after."),
        (0.5, -0.2, -0.05, "Training lowered nDCG@10 on x: 0.600 before, 0.500 after."),
        (0.7, -0.05, 0.2, "Training did not clearly change nDCG@10 on x: 0.600 before, 0.700 after."),
        (0.5, -0.2, 0.0, "Training did not clearly change nDCG@10 on x: 0.600 before, 0.500 after."),
        (0.6, 0.0, 0.0, "At full size nDCG@10 on x is what it was: 0.600."),
        (0.7, None, None, "Training raised nDCG@10 on x: 0.600 before, 0.700 after."),
    ],
)
def test_the_default_finding_says_no_more_than_its_interval(after, low, high, sentence):
    cells = (GridCell(dim=8, layers=1, before=0.6, after=after, low=low, high=high),)
    finding = report.default_finding((QualityPart(name="x", cells=cells, sample="2 queries."),))
    assert finding.sentence == sentence


def test_shared_hits_compare_with_the_first_side():
    def side(*titles):
        hits = tuple(Hit(title=t, score=0.5) for t in titles)
        return SearchSide(label="x", dim=1, layers=1, milliseconds=1.0, hits=hits)

    search = ExampleSearch(query="q", sides=(side("a", "b"), side("b", "c")))
    assert report.shared_hits(search, search.sides[1]) == {("b", "")}


def test_long_names_may_break_after_dots_and_underscores_only():
    assert report.breakable("pkg.read_csv <b>") == "pkg.<wbr>read_<wbr>csv &lt;b&gt;"


def test_cluster_titles_are_those_nearest_to_the_label():
    data = sample.whole(2).corpus_map
    first = data.clusters[0]
    near = MapPoint(x=first.x, y=first.y, cluster=0, title="the nearest")
    corpus = replace(data, points=(*data.points, near))
    assert report.cluster_titles(corpus, 0)[0] == "the nearest"


def test_write_report_leaves_one_file(tmp_path):
    path = report.write_report(tmp_path / "run", ReportData(title="x"))
    assert path == tmp_path / "run" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_curves_leave_out_what_is_not_a_number():
    records = [
        {"step": 1, "loss": 2.0, "note": "x"},
        {"step": 2, "loss": float("nan"), "quality": 0.5},
        {"step": 3, "loss": 1.0, "quality": None},
        {"loss": 9.0},
    ]
    loss, quality = curves_from_records(records, {"loss": ["loss", "note", "absent"], "q": ["quality"]})
    assert (loss.name, loss.steps, loss.values, loss.panel) == ("loss", (1, 3), (2.0, 1.0), "loss")
    assert (quality.steps, quality.values, quality.panel) == ((2,), (0.5,), "q")


def test_the_page_stays_small(whole):
    assert len(whole) < 600_000
    assert len(re.findall("<svg", whole)) >= 9
