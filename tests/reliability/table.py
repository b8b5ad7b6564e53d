"""Makes ``docs/reliability.md`` from what the tests counted.

python tests/reliability/table.py TALLY      # counts of a run → docs/reliability.json and the page
python tests/reliability/table.py            # the page from the committed counts
"""

import datetime
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from brickwork.core.files import write_json, write_text
from brickwork.core.hardware import cpu_name

DOCS = Path(__file__).resolve().parents[2] / "docs"
COUNTS = DOCS / "reliability.json"
PAGE = DOCS / "reliability.md"

ROWS = {
    "R1": ("Killed", "SIGKILL at any moment: old or new, never half; a training ends with the same bits"),
    "R2": ("Writes that fail", "whatever call fails, the state before loads, and what was begun is cleaned up"),
    "R3": ("Damaged files", "refused with the file's name and what to do, or the newest good one taken and told"),
    "R4": ("Hostile files", "refused before anything is allocated; nothing in them is ever run"),
    "R5": ("Not finite", "training stops before the update and names term, step and rows; an index names the document"),
    "R6": ("No room, no permission", "a message that says what to do, exit code 6, everything that was there intact"),
    "R7": ("Texts", "repaired by fixed rules, counted and told once; no text stops the work"),
    "R8": ("Images", "refused with the reason; a bomb before it is decoded"),
    "R10": ("Large inputs", "memory that does not grow with the input; goes on where it was stopped"),
    "R11": ("The service under load", "429 with Retry-After, no accepted request lost, p99 bounded, drains on SIGTERM"),
    "R12": ("Several processes", "one writer at a time, readers see the old state or the new one"),
    "R13": ("Laws", "hold for whatever hypothesis comes up with"),
    "R14": ("Fuzzed inputs", "no error but our own, no hang, bounded memory"),
    "R17": ("Surroundings", "works the same, or says why it cannot"),
    "R18": ("Too little memory", "advice instead of a traceback; batches are halved in encoding; no state is spoilt"),
    "R19": ("Leaks", "memory and file descriptors stay where they were"),
}  # fmt: skip


def collect(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The lines of a tally as one entry for each thing that was done: counts added up, measurements at their largest."""
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        entry = json.loads(line)
        if entry["row"] not in ROWS:
            raise SystemExit(f"{entry['test']} counts for {entry['row']}, which is no row of the table")
        known = results.setdefault((entry["row"], entry["what"]), entry)
        if known is entry:
            continue
        if "missing" in entry or "missing" in known:
            continue
        if entry["limit"] is None:
            known["count"] += entry["count"]
        else:
            known["count"] = max(known["count"], entry["count"])
        if entry["test"] not in known["test"]:
            known["test"] += f", {entry['test']}"
    return sorted(
        results.values(),
        key=lambda e: (int(e["row"][1:]), e["limit"] is not None if "limit" in e else True, e["what"]),
    )


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Reliability, counted",
        "",
        "What breaks software in practice, done to Brickwork on purpose and counted. Every line is the work of the",
        "tests in `tests/reliability/`; a line appears only when its test passed. A few of each kind of fault are",
        "part of `make test`; `make reliability` does all of this and writes this page. The codes are those of the",
        "test list that the tests follow.",
        "",
        f"Counted on {values['date']}: {values['cpu']}, {values['minutes']} minutes, Brickwork {values['version']}.",
    ]
    if not values["long"]:
        lines += ["", "This was a short run: of each kind of fault, only a few were injected."]
    for row, (title, promise) in ROWS.items():
        entries = [entry for entry in values["entries"] if entry["row"] == row]
        if not entries:
            continue
        lines += ["", f"## {row} · {title}", "", f"Expected: {promise}.", ""]
        lines += ["| what was done | count | test |", "|---|---:|---|"]
        for entry in entries:
            lines.append(f"| {entry['what']} | {_count(entry)} | `{entry['test'].replace(', ', '`, `')}` |")
    counted = {entry["row"] for entry in values["entries"]}
    missing = [f"{row} ({title.lower()})" for row, (title, _) in ROWS.items() if row not in counted]
    if missing:
        lines += ["", f"Not counted in this run: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _count(entry: dict[str, Any]) -> str:
    if "missing" in entry:
        return f"not here: {entry['missing']}"
    number = _number(entry["count"])
    return number if entry["limit"] is None else f"{number} (at most {_number(entry['limit'])})"


def _number(value: float) -> str:
    return f"{value if isinstance(value, int) else round(value, 2):,}"


def main(arguments: list[str]) -> None:
    """Writes the counts, if a tally is given, and the page."""
    if arguments:
        import brickwork

        tally = Path(arguments[0])
        lines = tally.read_text().splitlines()
        if not lines:
            raise SystemExit(f"{tally} is empty: no test counted anything")
        began = float(arguments[1]) if len(arguments) > 1 else tally.stat().st_mtime
        values = {
            "date": datetime.date.today().isoformat(),
            "cpu": cpu_name(),
            "minutes": max(1, round((datetime.datetime.now().timestamp() - began) / 60)),
            "version": brickwork.__version__,
            "long": os.environ.get("BRICKWORK_LONG") == "1",
            "entries": collect(lines),
        }
        write_json(COUNTS, values)
    write_text(PAGE, markdown(json.loads(COUNTS.read_text())))
    print(f"{PAGE.relative_to(DOCS.parent)} is written")


if __name__ == "__main__":
    main(sys.argv[1:])
