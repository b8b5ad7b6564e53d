"""A page of drawings: what a system shows of itself in pictures of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brickwork.core.errors import naming_extras
from brickwork.core.files import write_text
from brickwork.inspection.page import fill


@dataclass(frozen=True)
class Drawing:
    """One picture with its title and what it shows in words. ``svg``: finished markup (:mod:`brickwork.inspection.svg`);
    ``style``: the CSS of its own classes, beyond that of all pages."""

    title: str
    lead: str
    svg: str
    style: str = ""


@naming_extras("the page of drawings")
def render_drawings(title: str, subtitle: str, drawings: Sequence[Drawing]) -> str:
    """The page as HTML, without any outside file; every text is escaped."""
    from markupsafe import Markup

    return fill(
        "drawings.html.j2",
        title=title,
        subtitle=subtitle,
        drawings=[(one.title, one.lead, Markup(one.svg)) for one in drawings],
        own_style=Markup("\n".join(one.style for one in drawings if one.style)),
    )


def write_drawings(path: Path, title: str, subtitle: str, drawings: Sequence[Drawing]) -> Path:
    """Writes the page atomically and returns its path."""
    write_text(path, render_drawings(title, subtitle, drawings))
    return path
