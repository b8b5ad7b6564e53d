"""Pages of one file: a template with the house's style and script in it, and every text escaped."""

import datetime
from pathlib import Path
from typing import Any

from brickwork.core.errors import naming_extras

_TEMPLATES = Path(__file__).parent / "templates"


@naming_extras("a page")
def fill(template: str, **values: Any) -> str:
    """The page that ``template`` (a file of this room's templates) makes of ``values``, which it must all be given.

    It also has ``style`` and ``script``, which every page shares, and ``created``, the day.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    shared = {
        name: Markup((_TEMPLATES / file).read_text(encoding="utf-8"))
        for name, file in (("style", "report.css"), ("script", "report.js"))
    }
    created = datetime.date.today().isoformat()
    return environment.get_template(template).render(created=created, **shared, **values)
