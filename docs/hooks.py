"""Pages of the documentation that are derived: one for each system from its README, and their places in the navigation.

The tables of claims are written by ``python -m brickwork.studies.table`` into ``docs/claims/<slug>.md``; here they only get
their places.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ROOT / "src" / "brickwork" / "systems"


def slugs() -> list[str]:
    """Every system that has a README, by slug."""
    return sorted(path.parent.name.replace("_", "-") for path in SYSTEMS.glob("*/README.md"))


def on_config(config: Any) -> Any:
    """Fills the sections ``Systems`` and ``Claims`` of the navigation."""
    for section in config["nav"]:
        if "Systems" in section:
            section["Systems"] = [{slug: f"systems/{slug}.md"} for slug in slugs()]
        if "Claims" in section:
            pages = [
                {slug: f"claims/{slug}.md"} for slug in slugs() if (ROOT / f"docs/claims/{slug}.md").is_file()
            ]
            section["Claims"] = ["claims/index.md", *pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds a page for each system; links from its README into ``docs/`` become links between pages."""
    for slug in slugs():
        text = (SYSTEMS / slug.replace("-", "_") / "README.md").read_text(encoding="utf-8")
        page = re.sub(r"\]\((?:\.\./)+docs/", "](../", text)
        page = re.sub(r"\]\(\.\./(\w+)/README\.md", lambda m: f"]({m[1].replace('_', '-')}.md", page)
        files.append(File.generated(config, f"systems/{slug}.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links to a system's README, which readers of the repository follow, become links to its page."""
    up = "../" * page.file.src_uri.count("/")
    return re.sub(
        r"\]\((?:\.\./)+src/brickwork/systems/(\w+)/README\.md",
        lambda m: f"]({up}systems/{m[1].replace('_', '-')}.md",
        markdown,
    )
