"""``list`` and ``info``: which systems there are, and what one of them is."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Quiet, Slug, add
from brickwork.core.console import styled

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


_MARKS = {
    "supported": "green",
    "undecided": "yellow",
    "refuted": "red",
    "not at this scale": "yellow",
    "not run": "dim",
}


def register(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    add(
        app,
        list_systems,
        "Look",
        "brickwork list",
        "brickwork list --claims",
        "brickwork list --json",
        name="list",
    )
    add(app, info, "Look", "brickwork info matryoshka-2d")


def list_systems(
    as_json: AsJson = False,
    slugs: Annotated[bool, typer.Option("--slugs", help="Only the slugs, one a line.")] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="The verdicts on the claims of each paper.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Which system for which data; with --claims what came of checking their papers."""
    from brickwork.core import registry

    if slugs:
        print("\n".join(registry.slugs()))
        return
    with output.results_only(as_json):
        entries = [entry(slug) for slug in registry.slugs()]
    if as_json:
        output.emit_json(entries)
        return
    if claims:
        output.console().print(_claims_table(entries))
        if any(r["stale"] for item in entries for c in item["claims"] for r in c["verdicts"].values()):
            output.hint("* made with older code; run it again: brickwork claims SLUG --scale SCALE", quiet)
        output.hint("all numbers behind them: docs/claims/", quiet)
        return
    output.console().print(_jobs_table(entries))
    output.hint(
        "more about one: brickwork info SLUG; did it hold what its paper claims: brickwork list --claims",
        quiet,
    )


def _jobs_table(entries: list[dict[str, Any]]) -> "Table":
    """Which one should I use? Keyed by what the user has."""
    from rich.table import Table

    table = Table(title="Which system for which data?", title_justify="left", title_style="bold")
    table.add_column("you have", ratio=3)
    table.add_column("you want", ratio=4)
    table.add_column("take", no_wrap=True, style="bold")
    table.add_column("paper", no_wrap=True, style="dim")
    rows = [
        (job["have"], job["want"], item["slug"], item["arxiv"]) for item in entries for job in item["jobs"]
    ]
    last = ""
    for have, want, slug, arxiv in sorted(rows, key=lambda row: (row[0], row[2])):
        if have != last:
            table.add_section()
        table.add_row("" if have == last else have, want, slug, arxiv)
        last = have
    return table


def _claims_table(entries: list[dict[str, Any]]) -> "Table":
    """Every claim with its verdict at each scale that has results."""
    from rich.table import Table

    scales = _scales(entries)
    table = Table(title="Claims", title_justify="left", title_style="bold", show_lines=True)
    table.add_column("system", ratio=1)
    for name in ("claim", *scales):
        table.add_column(name, no_wrap=True)
    for item in entries:
        about = styled((item["slug"], "bold"), f"\n{item['title']}, arXiv {item['arxiv']}")
        columns = [
            _joined("\n", [_verdict(claim["verdicts"].get(scale)) for claim in item["claims"]])
            for scale in scales
        ]
        table.add_row(about, "\n".join(claim["id"] for claim in item["claims"]), *columns)
    return table


def info(slug: Slug, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """One system: the chain of its parts, recipes, claims with verdicts, citation."""
    from brickwork.api import train as api
    from brickwork.core import registry
    from brickwork.core.flow import flow
    from brickwork.representation.card import bibtex

    card = registry.card(slug)
    with output.results_only(as_json):
        module = registry.load(slug, "recipes")
        recipes = {name: _first_paragraph(getattr(module, name).__doc__) for name in api.recipe_names(slug)}
        about = entry(slug)
    if as_json:
        more = {"authors": card.authors, "year": card.year, "summary": card.summary}
        chain = [{"stage": stage, "part": part} for stage, part in flow(slug)]
        output.emit_json({**about, **more, "flow": chain, "recipes": recipes, "citation": bibtex(card)})
        return
    out = output.console()
    out.print(styled((card.title, "bold"), (f"  {card.slug} · {card.group}", "dim")))
    out.print(f"{card.authors}, {card.year}, arXiv {card.arxiv}", style="dim")
    out.print(f"\n{card.summary}\n")
    out.print(flow_diagram(flow(slug), out.width), soft_wrap=True)
    out.print("\nRecipes", style="bold")
    out.print(_columns([(styled((name, "cyan")), styled(line)) for name, line in recipes.items()]))
    out.print("\nClaims", style="bold")
    rows = []
    for claim in about["claims"]:
        rows.append((styled((claim["id"], "bold")), styled(claim["statement"])))
        rows.append((styled(), styled((f"paper: {claim['paper']}", "dim"))))
        rows.append((styled(), _verdicts(claim)))
    out.print(_columns(rows))
    if any(record["stale"] for claim in about["claims"] for record in claim["verdicts"].values()):
        output.hint(
            f"older code: the comparison or its numbers changed since; run it again: brickwork claims {slug} --scale SCALE",
            quiet,
        )
    out.print("\nCitation", style="bold")
    out.print(bibtex(card), soft_wrap=True)
    output.hint(f"\ntrain it: brickwork train {slug} --data PATH", quiet)


def entry(slug: str) -> dict[str, Any]:
    """A system as ``brickwork list --json`` shows it."""
    from brickwork.core import registry
    from brickwork.studies.records import claims_of, has_study, load_verdicts

    card = registry.card(slug)
    verdicts = load_verdicts(slug)
    claims = [
        {"id": c.id, "statement": c.statement, "paper": c.paper, "verdicts": verdicts.get(c.id, {})}
        for c in (claims_of(slug) if has_study(slug) else ())
    ]
    return {
        "slug": card.slug,
        "title": card.title,
        "arxiv": card.arxiv,
        "group": card.group,
        "capabilities": list(card.capabilities),
        "jobs": [{"have": have, "want": want} for have, want in card.jobs],
        "claims": claims,
    }


def flow_diagram(flow: tuple[tuple[str, str], ...], width: int) -> str:
    """The chain of parts from top to bottom: a box a stage, its parts' names beside it, arrows between."""
    inner = max(len(stage) for stage, _ in flow)
    beside = max(width - inner - 7, 12)
    left, right = "─" * ((inner + 2) // 2), "─" * (inner + 1 - (inner + 2) // 2)
    down = " " * (len(left) + 1) + "│" + " " * (len(right) + 1)
    lines: list[str] = []
    for number, (stage, parts) in enumerate(flow, 1):
        words = textwrap.wrap(parts, beside, break_on_hyphens=False)
        beginning, end = "─" if number == 1 else "▼", "─" if number == len(flow) else "┬"
        lines.append(f"╭{left}{beginning}{right}╮")
        lines.append(f"│ {stage:^{inner}} │  {words[0]}")
        lines.append(f"╰{left}{end}{right}╯  {' '.join(words[1:2])}".rstrip())
        lines.extend(f"{down}  {word}" for word in words[2:])
    return "\n".join(lines)


def _columns(rows: list[tuple["Text", "Text"]]) -> "Table":
    """Names and what they mean, side by side, wrapped under themselves."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column()
    for name, text in rows:
        table.add_row("", name, text)
    return table


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split()).replace("``", "`")


def _scales(entries: list[dict[str, Any]]) -> list[str]:
    """The scales at which any claim has a result, in the order of their size; ``small`` if there is none."""
    present = {scale for item in entries for claim in item["claims"] for scale in claim["verdicts"]}
    return [scale for scale in ("smoke", "small", "gpu") if scale in present] or ["small"]


def _joined(between: str, parts: "list[Text]") -> "Text":
    return styled(between).join(parts)


def _verdict(record: dict[str, Any] | None) -> "Text":
    """One verdict in its colour, short enough for a column."""
    if record is None:
        return styled(("–", "dim"))
    return styled((record["verdict"], _MARKS[record["verdict"]]), "*" if record["stale"] else "")


def _verdicts(claim: dict[str, Any]) -> "Text":
    """The verdicts of a claim in their colours."""
    verdicts = []
    for scale, record in claim["verdicts"].items():
        style = _MARKS.get(record["verdict"], "")
        age = " (older code)" if record["stale"] else ""
        verdicts.append(styled((record["verdict"], style), (f" {scale}{age}" if style else "", "dim")))
    return _joined(", ", verdicts) if verdicts else styled(("no result yet", "dim"))
