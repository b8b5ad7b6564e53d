"""Item 12 of the battery: the README of a system, against its code and its results."""

import ast
import re
from pathlib import Path

import pytest

import brickwork
from brickwork.api import train as api
from brickwork.core import registry
from brickwork.studies.records import claims_of, load_records, results_folder, stale
from brickwork.studies.table import index_page, out_of_date, pages

ROOT = Path(brickwork.__file__).parent
PARTS = ("data", "encoders", "modules", "objectives", "representation")


@pytest.fixture(params=registry.slugs())
def slug(request):
    return request.param


def folder(slug: str) -> Path:
    return ROOT / "systems" / slug.replace("-", "_")


def shared_parts(file: Path) -> set[str]:
    """Modules of the shared folders that a file imports, like ``objectives.nested``; types and configurations excepted."""
    results = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("brickwork."):
            name = node.module.removeprefix("brickwork.")
            if name.split(".")[0] in PARTS and name.split(".")[-1] not in (
                "types",
                "config",
                "build",
                "contract",
            ):
                results.add(name)
    return results


def test_readme_has_its_sections(slug):
    text = (folder(slug) / "README.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    wanted = ["Symbols", "Flow", "When to use it", "Recipes", "Differences from the paper", "Claims"]
    assert [title for title in titles if title in wanted] == wanted
    assert registry.card(slug).arxiv in text
    missing = [name for name in api.recipe_names(slug) if f"| `{name}` |" not in text]
    assert not missing, f"recipes without a row: {missing}"


def test_readme_names_the_parts_that_the_system_imports(slug):
    text = (folder(slug) / "README.md").read_text(encoding="utf-8")
    missing = {part for part in shared_parts(folder(slug) / "system.py") if part not in text}
    assert not missing


def test_symbol_table_is_in_the_code_too(slug):
    docstring = ast.get_docstring(ast.parse((folder(slug) / "system.py").read_text(encoding="utf-8"))) or ""
    assert "| paper" in docstring
    assert registry.card(slug).arxiv in docstring


@pytest.mark.skipif(results_folder() is None, reason="not a checkout: no recorded results")
def test_claims_pages_are_generated(slug):
    contents = [*pages(slug), (results_folder() / "index.md", index_page())]
    assert not out_of_date(iter(contents)), "not what the results say: run python -m brickwork.studies.table"


def test_claims_are_as_new_as_the_code(slug):
    old = [
        f"{scale} {claim}"
        for scale, records in load_records(slug).items()
        for claim, r in records.items()
        if stale(slug, r)
    ]
    if old:
        pytest.skip(f"made with other code: {', '.join(old)}; brickwork claims {slug} runs them again")


def test_claims_say_what_they_measure(slug):
    claims = claims_of(slug)
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.statement
        assert claim.paper
        assert claim.criterion
        assert set(claim.scales) <= {"smoke", "small", "gpu"}
