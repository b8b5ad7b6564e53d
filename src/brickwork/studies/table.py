"""The tables of claims in the docs, generated from the recorded results and never edited by hand."""

from collections.abc import Sequence
from pathlib import Path

from brickwork.core.errors import ArtifactError
from brickwork.core.files import write_text
from brickwork.studies.records import Record, load_records

BEGIN = "<!-- claims: begin (generated; edit claims.py and run it instead) -->"
END = "<!-- claims: end -->"


def claims_markdown(slug: str, folder: Path | None = None) -> str:
    """One markdown table for each scale with recorded results, and what every arm cost."""
    recorded = load_records(slug, folder)
    if not recorded:
        return f"No results are recorded yet: `brickwork claims {slug} --scale smoke` makes them.\n"
    return "\n".join(_scale_markdown(scale, list(records.values())) for scale, records in recorded.items())


def _scale_markdown(scale: str, records: Sequence[Record]) -> str:
    lines = [
        f"**Scale `{scale}`**",
        "",
        "| | claim | the paper's figure | ours: effect [95 % interval], every seed | criterion | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for record in records:
        cells = (record["id"], record["statement"], record["paper"], _effect(record), record["criterion"])
        lines.append("| " + " | ".join(_cell(c) for c in (*cells, f"**{record['verdict']}**")) + " |")
    notes = [f"- {record['id']}: {record['note']}" for record in records if record["note"]]
    costs = [f"- {record['id']}: {_costs(record)}" for record in records if record["arms"]]
    if notes:
        lines += ["", "Notes", "", *notes]
    if costs:
        lines += ["", "What each arm cost (all seeds together)", "", *costs]
    made = sorted(
        {(record["date"], record["machine"]["cpu"], record["machine"]["threads"]) for record in records}
    )
    lines += ["", *(f"Run on {date}: {cpu}, {threads} threads." for date, cpu, threads in made), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _effect(record: Record) -> str:
    if record["effect"] is None:
        return "–"
    text = f"{record['effect']:+.3g} {record['unit']}".strip()
    if record["interval"]:
        text += " [{:+.3g}, {:+.3g}]".format(*record["interval"])
    return text + (f"; {', '.join(f'{e:+.3g}' for e in record['effects'])}" if record["effects"] else "")


def _costs(record: Record) -> str:
    return "; ".join(
        f"{arm['name']} {arm['trainings']} trainings, {arm['examples']:,} examples, {arm['seconds']:.0f} s"
        + (f", rate {arm['learning_rate']:.2g}" if arm.get("learning_rate") else "")
        for arm in record["arms"]
    )


def update_block(page: Path, slug: str, *, check: bool = False, folder: Path | None = None) -> bool:
    """Puts today's table between the markers of a page; returns whether the page differed.

    With ``check`` nothing is written, so a test can say that a page is out of date.

    Raises:
        ArtifactError: the page lacks the markers.
    """
    text = page.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ArtifactError(f"{page} has no block for the claims; add the lines\n{BEGIN}\n{END}")
    wanted = f"{head}{BEGIN}\n\n{claims_markdown(slug, folder)}\n{END}{tail}"
    if wanted != text and not check:
        write_text(page, wanted)
    return wanted != text


def main() -> None:
    """Brings the tables in the READMEs of all systems up to date."""
    from brickwork.core import registry

    systems = Path(__file__).resolve().parents[1] / "systems"
    for slug in registry.slugs():
        changed = update_block(systems / slug.replace("-", "_") / "README.md", slug)
        print(f"{slug}: {'written' if changed else 'up to date'}")


if __name__ == "__main__":
    main()
