"""What ``evaluate`` prints for the user's own queries: one table of all ways to search, or answers side by side."""

from pathlib import Path
from typing import Any

from brickwork.cli import output


def show(results: dict[str, Any], report: Path | None) -> None:
    """The results on standard output; whether a training helped is the last line."""
    out = output.console()
    for note in results["notes"]:
        out.print(f"note: {note}", style="dim", soft_wrap=True)
    if "answers" in results:
        _show_answers(results["answers"])
    else:
        _show_rows(results)
    if report is not None:
        out.print(f"look at it in a browser: {report}", style="dim", soft_wrap=True)
    if verdict := results.get("verdict"):
        out.print(verdict, soft_wrap=True)


def _show_rows(results: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    out = output.console()
    out.print(
        f"{results['name']}: {results['queries']:,} judged queries, {results['documents']:,} documents",
        style="bold",
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("search", no_wrap=True)
    for name in ("layers", "dims", "nDCG@10", "R@100", "MRR@10"):
        table.add_column(name, justify="right", no_wrap=True)
    if compared := results["compared_with"]:
        table.add_column(f"minus {compared.split()[0]} [95 %]", no_wrap=True)
    best = max(row["ndcg@10"] for row in results["rows"])
    last = None
    for row in results["rows"]:
        name = row["search"] + (" + BM25" if row["mode"] == "hybrid" else "")
        size = [str(row["layers"]), str(row["dim"])] if row["dim"] else ["", ""]
        values = [_short(row[metric]) for metric in ("ndcg@10", "recall@100", "mrr@10")]
        cells = ["" if name == last else name, *size, *values]
        if compared:
            cells.append(_difference(row))
        table.add_row(*cells, style="bold" if row["ndcg@10"] == best else "")
        last = name
    out.print(table)
    if compared:
        out.print(
            f"  last column: nDCG@10 minus that of {compared}, 95 % interval over queries, * leaves out 0",
            style="dim",
            soft_wrap=True,
        )
    if weight := results.get("dense_weight"):
        _show_weight(weight)


def _difference(row: dict[str, Any]) -> str:
    if "difference" not in row:
        return ""
    clear = "*" if row["low"] > 0 or row["high"] < 0 else ""
    change, low, high = (_short(row[name], "+") for name in ("difference", "low", "high"))
    return f"{change} [{low}, {high}]{clear}"


def _short(value: float, sign: str = "") -> str:
    """``.660``, ``+.133``: no zero before the point."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def _show_weight(found: dict[str, Any]) -> None:
    learnt = found["learnt"]
    change = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    if learnt["weight"] == 0.5:
        text = f"on {learnt['num_queries']:,} queries no weight is clearly better than equal ones"
    else:
        text = (
            f"learnt on {learnt['num_queries']:,} queries: vectors count {learnt['weight']:g}; on the other "
            f"{found['measured_on']:,}: nDCG@10 {found['with_learnt']:.3f}, with equal weights {found['with_equal']:.3f} "
            f"({change})"
        )
    kept = "the index keeps it" if found["kept"] else "the index keeps none, both count alike"
    output.console().print(f"hybrid searches: {text}; {kept}", soft_wrap=True)


def _show_answers(answers: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    out = output.console()
    for answer in answers:
        out.print(f"{answer['id']}  {answer['query']}", style="bold", soft_wrap=True)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), expand=True)
        for name in answer["sides"]:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        for place in range(max(map(len, answer["sides"].values()))):
            table.add_row(*(_hit(hits, place) for hits in answer["sides"].values()))
        out.print(table)


def _hit(hits: list[dict[str, Any]], place: int) -> Any:
    from brickwork.core.console import styled

    if place >= len(hits):
        return ""
    hit = hits[place]
    return styled(hit["title"] or hit["text"] or hit["id"])
