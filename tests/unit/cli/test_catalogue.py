import importlib
import pydoc
import re
from itertools import pairwise
from pathlib import Path

import pytest

from brickwork.cli import catalogue
from brickwork.core import registry
from brickwork.core.flow import flow
from brickwork.core.registry import SystemCard
from brickwork.representation.card import bibtex
from brickwork.studies import records as claim_records

VERDICT = {
    "verdict": "supported",
    "effect": 1.5,
    "interval": [1.0, 2.0],
    "seeds": [0, 1],
    "date": "2026-11-23",
}


@pytest.fixture
def recorded(monkeypatch):
    """A recorded verdict for the first claim of every system."""

    def verdicts(slug, folder=None):
        first = claim_records.claims_of(slug)[0].id
        return {first: {"small": {**VERDICT, "stale": True}}}

    monkeypatch.setattr(claim_records, "load_verdicts", verdicts)


def test_list_has_the_keys_that_others_rely_on(brickwork, recorded):
    entries = brickwork("list", "--json").json
    assert [entry["slug"] for entry in entries] == registry.slugs()
    for entry in entries:
        assert set(entry) == {"slug", "title", "arxiv", "group", "capabilities", "jobs", "claims"}
        assert isinstance(entry["capabilities"], list)
        assert entry["arxiv"] == registry.card(entry["slug"]).arxiv
        assert entry["claims"]
        for claim in entry["claims"]:
            assert set(claim) == {"id", "statement", "paper", "verdicts"}
        assert entry["claims"][0]["verdicts"] == {"small": {**VERDICT, "stale": True}}
        assert all(claim["verdicts"] == {} for claim in entry["claims"][1:])


def test_list_says_what_to_take_for_which_data(brickwork, recorded):
    page = brickwork("list")
    for slug in registry.slugs():
        assert registry.card(slug).jobs, f"{slug}: what is it good for?"
        assert slug in page.out
    assert {"documents,", "tables", "take"} <= set(page.out.replace("│", " ").replace("┃", " ").split())
    assert "supported" not in page.out
    assert "brickwork list --claims" in page.err
    assert brickwork("list", "--quiet").err == ""


def test_claims_for_people(brickwork, recorded):
    page = brickwork("list", "--claims")
    assert "matryoshka-2d" in page.out
    assert "supported*" in page.out
    assert "* made with older code" in page.err
    assert "older code: the comparison or its numbers changed since" in brickwork("info", "matryoshka-2d").err
    header = page.out.splitlines()[2]
    assert "small" in header  # a column for each scale at which there is a result
    assert "smoke" not in header


def test_a_verdict_of_today_has_no_star(brickwork, monkeypatch):
    def verdicts(slug, folder=None):
        return {
            "C1": {
                "smoke": {**VERDICT, "stale": False},
                "gpu": {**VERDICT, "verdict": "refuted", "stale": False},
            }
        }

    monkeypatch.setattr(claim_records, "load_verdicts", verdicts)
    page = brickwork("list", "--claims")
    assert "*" not in page.out
    assert "older code" not in page.err
    assert page.out.index("smoke") < page.out.index("gpu")
    assert re.search(r"C1 +│ supported +│ refuted ", page.out)
    assert re.search(r"C2 +│ – +│ – ", page.out)


def test_list_slugs_is_one_a_line(brickwork):
    assert brickwork("list", "--slugs").out.split("\n") == [*registry.slugs(), ""]


def test_info_shows_the_whole_system(brickwork):
    page = brickwork("info", "matryoshka-2d")
    card = registry.card("matryoshka-2d")
    assert page.code == 0
    for stage, _ in flow("matryoshka-2d"):
        assert stage in page.out
    for words in ("smoke", "small", "C1", f"eprint = {{{card.arxiv}}}"):
        assert words in page.out


def test_info_json(brickwork):
    results = brickwork("info", "matryoshka", "--json").json
    card = registry.card("matryoshka")
    assert results["flow"] == [{"stage": stage, "part": part} for stage, part in flow("matryoshka")]
    assert {"smoke", "small", "gpu"} <= set(results["recipes"])
    assert all(results["recipes"].values())
    assert results["year"] == card.year


@pytest.mark.parametrize("slug", registry.slugs())
def test_parts_of_the_flow_exist(slug):
    """Each shared part can be imported by the name that is shown; each file of its own is there."""
    chain = dict(flow(slug))
    assert next(iter(chain)) == "data"
    for stage in ("data", "encoder", "modules", "objective", "training"):
        for part in chain.get(stage, "").split(", "):
            assert not part or pydoc.locate(f"brickwork.{part}") is not None, part
    folder = Path(importlib.import_module(f"brickwork.systems.{slug.replace('-', '_')}").__file__).parent
    assert all((folder / name).is_file() for name in chain.get("its own", "system.py").split(", "))


def test_the_flow_names_what_a_system_is_built_of():
    chain = dict(flow("matryoshka"))
    assert chain["encoder"] == "encoders.image.ImageEncoder, encoders.text.TextEncoder"
    assert "modules.heads.NestedLinear" in chain["modules"]
    assert "objectives.nested.nested_loss" in chain["objective"]
    assert chain["its own"] == "cascade.py"
    assert chain["representation"] == "representation.model.Representation"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_flow_diagram_fits_and_keeps_the_order(width):
    flow = (
        ("encoder", "encoders.text.TextEncoder over a long list of words " * 3),
        ("loss", "info_nce"),
        ("x", "y"),
    )
    text = catalogue.flow_diagram(flow, width)
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    stages = re.findall(r"│ +(encoder|loss|x) +│", text)
    assert stages == ["encoder", "loss", "x"]
    assert text.count("▼") == text.count("┬") == 2
    for upper, lower in pairwise(lines):
        if "┬" in upper and "▼" in lower:
            assert upper.index("┬") == lower.index("▼")
    for word in ("encoders.text.TextEncoder", "over", "list", "info_nce"):
        assert word in text


def test_bibtex_names_all_authors():
    card = SystemCard(
        slug="a-b", title="T", authors="Li, Wu", year=2024, arxiv="2402.1", group="g", summary="s",
        capabilities=(),
    )  # fmt: skip
    text = bibtex(card)
    assert text.startswith("@misc{ab2024,")
    assert "author = {Li and Wu}" in text
    assert text.count("{") == text.count("}")
