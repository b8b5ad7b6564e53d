"""The command that searches an index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Dim, Layers, Quiet, add, given_text
from brickwork.core.console import styled
from brickwork.core.errors import ConfigError

if TYPE_CHECKING:
    from brickwork.index.encoding import Query
    from brickwork.index.index import Index


_OTHERS = 3  # hits of the same group that are named
_REASONS = 6  # words that are named


def register(app: typer.Typer) -> None:
    """Adds the command."""
    add(
        app,
        search,
        "Use",
        'brickwork search runs/docs-index "how do I resume a run?"',
        'brickwork search runs/docs-index "resume" --dim 48 --layers 3 --json',
        'brickwork search runs/docs-index "resume" --where "source=guide.md"',
        'brickwork search runs/docs-index "ERR_4711" --mode lexical',
        'brickwork search runs/docs-index "resume" --group-by source --neighbours 1',
        'brickwork search runs/docs-index "resume" --explain',
        'brickwork search runs/docs-index "resume" --rerank cross-encoder/ms-marco-MiniLM-L6-v2',
        'brickwork search runs/photos-index "at night" --image bridge.jpg',
        'brickwork search runs/views-index --image chair.png --change "angle=30"',
    )


def search(
    index: Annotated[Path, typer.Argument(help="The folder of an index.", show_default=False)],
    query: Annotated[
        str, typer.Argument(help="What to look for.", show_default=False, callback=given_text)
    ] = "",
    image: Annotated[
        Path | None,
        typer.Option(help="An image to look for, alone or with the query.", show_default=False),
    ] = None,
    text_weight: Annotated[
        float, typer.Option(help="With --image: how much of the query is added; negative takes away.")
    ] = 1.0,
    part: Annotated[
        str | None,
        typer.Option(
            help="Compare one part of the vectors alone, of a model that has parts.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    change: Annotated[
        str | None,
        typer.Option(
            help="Look for what the query would be after a change that the model knows, e.g. 'angle=30'.",
            metavar="'NAME=BY, …'",
            show_default=False,
        ),
    ] = None,
    dim: Dim = None,
    layers: Layers = None,
    top: Annotated[int, typer.Option(min=1, help="How many results.")] = 10,
    shortlist: Annotated[
        int | None, typer.Option(help="Find this many on a short prefix first, then order them at --dim.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Only documents that match, e.g. 'source=guide.md, year>=2020, tag in a|b'.",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="The cheapest search measured to find this share of the best.")
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="The best search measured to take no longer than this.")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="What is compared: dense (vectors), lexical (words, BM25), or hybrid (both; the default where the index "
            "has words).",
            show_default=False,
        ),
    ] = None,
    dense_weight: Annotated[
        float | None,
        typer.Option(
            help="Of a hybrid search: how much the vectors count, 0 … 1 (default: 0.5).", show_default=False
        ),
    ] = None,
    fusion: Annotated[
        str | None,
        typer.Option(help="Of a hybrid search: scores (default) or ranks.", show_default=False),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="A cross-encoder (folder or hub id) that reads the best hits again, together with the query.",
            metavar="MODEL",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    rerank_revision: Annotated[
        str | None,
        typer.Option(help="With --rerank ID: the commit, branch or tag of the model.", show_default=False),
    ] = None,
    rerank_top: Annotated[
        int | None,
        typer.Option(min=1, help="With --rerank: how many hits it reads (default: 50).", show_default=False),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Only the best hit of each file (source), or of each value of another field.",
            metavar="FIELD",
            show_default=False,
            callback=given_text,
        ),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Passages to show before and after each hit.")] = 0,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Name the words that connect the query with each hit, of a model that reads words.",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search an index; cut the vectors and the encoder for speed.

    The time is that of encoding, comparing and reranking for this query, with models and vectors already in memory.
    """
    if not query.strip() and image is None:
        raise typer.BadParameter(
            "Missing argument 'QUERY': say what to look for, or give an image with --image FILE"
        )
    import warnings
    from dataclasses import replace

    from brickwork.index.encoding import Query
    from brickwork.index.index import open_index

    wanted = {"shortlist": shortlist, "where": where, "recall": recall, "budget_ms": budget_ms}
    wanted |= {"mode": mode, "dense_weight": dense_weight, "fusion": fusion}
    wanted |= {"rerank_top": rerank_top, "group_by": group_by, "neighbours": neighbours or None}
    wanted |= {"explain": _REASONS if explain else None}
    options: dict[str, Any] = {
        "dim": dim,
        "layers": layers,
        **{k: v for k, v in wanted.items() if v is not None},
    }
    with output.results_only(as_json):
        opened = open_index(index)
        if rerank is not None:
            from brickwork.index.reranking import Reranker

            options["rerank"] = Reranker.load(rerank, rerank_revision)
        elif rerank_revision is not None:
            raise ConfigError("--rerank-revision has an effect only with --rerank ID")
        # Once untimed: the first call also loads the model, which says nothing about the size asked for.
        if image is None and text_weight != 1.0:
            raise ConfigError("--text-weight has an effect only with --image FILE")
        questions = query if image is None else _with_image(opened, query, image, text_weight)
        if part is not None or change is not None:
            asked = questions if isinstance(questions, Query) else Query(questions)
            questions = replace(asked, part=part, change=change)
        opened.answer(questions, top, **options)
        answer = opened.answer(questions, top, **options)
    for text in answer.notes:
        warnings.warn(text, stacklevel=1)
    milliseconds = round(answer.milliseconds, 3)
    if as_json:
        results = [hit.values() for hit in answer.hits[0]]
        sizes_used: dict[str, Any] = {
            "mode": answer.mode, "dim": answer.dim, "layers": answer.layers, "notes": list(answer.notes),
        }  # fmt: skip
        if answer.reranked:
            sizes_used["reranked"] = answer.reranked
            sizes_used["rerank_milliseconds"] = round(answer.rerank_milliseconds, 3)
        output.emit_json({"results": results, "milliseconds": milliseconds, **sizes_used})
        return
    _show_hits(answer.hits[0], answer.words_by)
    ways = {"dense": "by vectors", "lexical": "by words", "hybrid": "by vectors and words"}
    depth = "1 layer" if answer.layers == 1 else f"{answer.layers} layers"
    size = f" at {answer.dim} dims, {depth}" if answer.plan else ""
    again = f", {answer.reranked} reranked in {answer.rerank_milliseconds:.1f} ms" if answer.reranked else ""
    output.hint(f"{len(opened):,} documents {ways[answer.mode]}{size}: {milliseconds:.1f} ms{again}", quiet)


def _with_image(opened: "Index", text: str, image: Path, text_weight: float) -> "Query":
    """The query of an image file, in the shape that the model of the index takes."""
    from brickwork.data.readers.images import read_images
    from brickwork.index.encoding import Query, image_form

    form = image_form(opened.representation)
    if form is None:
        raise ConfigError(f"the model of {opened.folder} encodes texts only: leave --image out")
    if image.is_dir():
        raise ConfigError(f"--image {image} is a folder; give one image")
    return Query(text, read_images(image, form)[1][0], text_weight)


def _scores(hit: Any, words_by: str) -> str:
    """The score, and what made it up: of a hybrid search both sides, of a reranked one the score before."""
    parts = []
    if hit.first_score is not None:
        parts.append(f"before {hit.first_score:.3f}")
    if hit.dense is not None and hit.lexical is not None:
        words = f"BM25 {hit.lexical:.2f}" if words_by == "BM25" else f"words {hit.lexical:.3f}"
        parts.append(f"cosine {hit.dense:.3f}, {words}")
    return f"{hit.score:.3f}" + (f" ({'; '.join(parts)})" if parts else "")


def _show_hits(hits: list[Any], words_by: str = "BM25") -> None:
    from rich.padding import Padding

    out = output.console()
    if not hits:
        out.print("nothing found")
    for rank, hit in enumerate(hits, 1):
        named = hit.title or hit.id
        source = (
            "" if hit.source in ("", named) else f"  {hit.source}"
        )  # a file without headings is its own title
        out.print(
            styled((f"{rank:>2}  {named}", "bold"), (f"  {_scores(hit, words_by)}{source}", "dim")),
            soft_wrap=True,
        )
        for passage in hit.before or ():
            out.print(Padding(styled((f"before: {_short(passage.text)}", "dim")), (0, 0, 0, 4)))
        out.print(Padding(_short(hit.text), (0, 0, 0, 4)))
        for passage in hit.after or ():
            out.print(Padding(styled((f"after: {_short(passage.text)}", "dim")), (0, 0, 0, 4)))
        if hit.words is not None:
            out.print(Padding(_reasons(hit.words), (0, 0, 0, 4)))
        if hit.others:
            names = ", ".join(f"{other.id} {other.score:.3f}" for other in hit.others[:_OTHERS])
            more = f" and {len(hit.others) - _OTHERS} more" if len(hit.others) > _OTHERS else ""
            out.print(Padding(styled((f"also found: {names}{more}", "dim")), (0, 0, 0, 4)))


def _reasons(words: Any) -> Any:
    """The words that connect a query with a hit: bold those that both have, dim those that are only meant. What rounds to
    nothing is left out."""
    words = [one for one in words if one.share >= 0.005] or words[:1]
    listed = [
        (f" {one.word} {100 * one.share:.0f} %", "bold" if one.where == "in both texts" else "dim")
        for one in words
    ]
    return styled(("words:", "dim"), *listed)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 240 else text[:239] + "…"
