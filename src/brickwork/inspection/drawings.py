"""A page of drawings: what a system shows of itself in pictures of its own."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brickwork.core.errors import naming_extras
from brickwork.core.files import write_text

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawing:
    """One picture with its title and what it shows in words. ``svg``: finished markup (:mod:`brickwork.inspection.svg`)."""

    title: str
    lead: str
    svg: str


@naming_extras("the page of drawings")
def render_drawings(title: str, subtitle: str, drawings: Sequence[Drawing]) -> str:
    """The page as HTML, without any outside file; every text is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("drawings.html.j2").render(
        title=title,
        subtitle=subtitle,
        created=datetime.date.today().isoformat(),
        drawings=[(one.title, one.lead, Markup(one.svg)) for one in drawings],
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "report.js").read_text(encoding="utf-8")),
    )


def write_drawings(path: Path, title: str, subtitle: str, drawings: Sequence[Drawing]) -> Path:
    """Writes the page atomically and returns its path."""
    write_text(path, render_drawings(title, subtitle, drawings))
    return path
