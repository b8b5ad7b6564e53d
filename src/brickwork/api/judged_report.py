"""The page of a search that was measured by the user's own judgement, or only looked at."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.judged import METRICS, OURS, THEIRS, WORDS, JudgedSearches, Searched
from brickwork.core.files import write_text
from brickwork.evaluation.against import METRIC, UNTOUCHED, Against
from brickwork.evaluation.significance import paired_bootstrap_columns
from brickwork.inspection.report import render
from brickwork.inspection.report_data import (
    ExampleSearch,
    Finding,
    GridCell,
    Hit,
    QualityPart,
    ReportData,
    SearchSide,
)

if TYPE_CHECKING:
    from brickwork.api.judged import Opened

NAMES = {METRIC: "nDCG@10", "recall@100": "Recall@100", "mrr@10": "MRR@10"}
_TITLES = {"dense": "by vectors", "hybrid": "by vectors and words"}


def write_judged(path: Path, measured: JudgedSearches) -> None:
    """Writes the page of a measurement (atomically)."""
    judged = measured.judged
    write_text(
        path,
        render(
            ReportData(
                title="A search, measured by your own judgement",
                subtitle=measured.name,
                created=datetime.date.today().isoformat(),
                finding=_finding(measured),
                facts={
                    "queries": f"{len(judged.queries):,} judged",
                    "documents": f"{measured.documents:,}",
                    "judged": "files" if judged.on_files else "documents",
                },
                quality=tuple(
                    _part(measured, mode) for mode in ("hybrid", "dense") if measured.find(OURS, mode)
                ),
                notes=measured.notes,
            )
        ),
    )


def _finding(measured: JudgedSearches) -> Finding | None:
    rows = [one for one in measured.against() if one.other == UNTOUCHED] or list(measured.against())
    if not rows:
        return None
    row = next((one for one in rows if one.outcome == "worse"), rows[0])
    said = {one.task: _said(one) for one in rows if one.other == row.other}
    lost = row.outcome == "worse" and row.other == UNTOUCHED
    return Finding(
        sentence=f"This training made your search worse. {said[row.task]}" if lost else said[row.task],
        effect=row.ours - row.theirs,
        low=row.low,
        high=row.high,
        explanation=" ".join(text for task, text in said.items() if task != row.task),
    )


def _said(row: Against) -> str:
    """Its sentence, in the words of the page: ``By vectors: nDCG@10 …``."""
    return f"{replace(row, task=_TITLES[row.task].capitalize()).sentence}."


def _part(measured: JudgedSearches, mode: str) -> QualityPart:
    """The sizes of one mode, those of the untouched model as "before" at the sizes that both have."""
    ours = [one for one in measured.searches if (one.who, one.mode) == (OURS, mode)]
    theirs = {(o.dim, o.layers): o for o in measured.searches if (o.who, o.mode) == (THEIRS, mode)}
    words = measured.find(WORDS, "lexical")
    full = {OURS: measured.find(OURS, mode), THEIRS: measured.find(THEIRS, mode), WORDS: words}
    return QualityPart(
        name=_TITLES[mode],
        cells=tuple(_cell(one, theirs.get((one.dim, one.layers))) for one in ours),
        sample=f"{len(measured.judged.queries):,} judged queries against {measured.documents:,} documents.",
        metric=NAMES[METRIC],
        description="Before: the model as it was published, with its own token limit and prompts."
        if theirs
        else "",
        baselines={} if words is None else {WORDS: words.mean()},
        other_metrics={
            NAMES[metric]: {name: one.mean(metric) for name, one in full.items() if one} for metric in METRICS
        },
    )


def _cell(ours: Searched, theirs: Searched | None) -> GridCell:
    if theirs is None:
        return GridCell(dim=ours.dim, layers=ours.layers, after=ours.mean())
    import numpy as np

    scores = np.array([ours.scores[METRIC], theirs.scores[METRIC]])
    (difference,) = paired_bootstrap_columns((scores[0] - scores[1])[:, None])
    return GridCell(
        dim=ours.dim,
        layers=ours.layers,
        after=ours.mean(),
        before=theirs.mean(),
        low=difference.low,
        high=difference.high,
    )


def write_answers(path: Path, searched: "Opened", answers: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page of answers that nobody has judged (atomically)."""
    index = searched.index
    full, depth = index.axes.full_dim, max(index.contents.depths)
    sizes = {WORDS: (0, 0)}
    searches = tuple(
        ExampleSearch(
            query=answer["query"],
            sides=tuple(
                SearchSide(
                    label=name,
                    dim=sizes.get(name, (full, depth))[0],
                    layers=sizes.get(name, (full, depth))[1],
                    milliseconds=None,
                    hits=tuple(
                        Hit(
                            title=hit["title"] or hit["id"],
                            score=hit["score"],
                            text=hit["text"],
                            source=hit["source"],
                        )
                        for hit in hits
                    ),
                )
                for name, hits in answer["sides"].items()
            ),
        )
        for answer in answers
    )
    write_text(
        path,
        render(
            ReportData(
                title="Answers side by side",
                subtitle=searched.name,
                created=datetime.date.today().isoformat(),
                facts={"queries": f"{len(answers):,}", "documents": f"{len(index):,}"},
                searches=searches,
                searches_lead="The same queries, answered in several ways.",
                notes=searched.notes,
            )
        ),
    )
