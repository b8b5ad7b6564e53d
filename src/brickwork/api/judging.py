"""The command ``evaluate`` with the user's own queries: read them, search, measure or show, write the page.

import brickwork
brickwork.evaluate("runs/docs-index", queries="queries.tsv", qrels="qrels.tsv")["rows"]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.answers import answer_queries
from brickwork.api.hybrid import learn_and_keep
from brickwork.api.judged import is_index, measure_judged, opened
from brickwork.api.judged_report import write_answers, write_judged
from brickwork.core.errors import ConfigError, warn
from brickwork.data.readers.judgements import judge, read_qrels, read_queries
from brickwork.evaluation.against import UNTOUCHED

if TYPE_CHECKING:
    from brickwork.index.index import Index
    from brickwork.representation.model import Representation


def evaluate_judged(
    model: "Path | str | Representation | Index",
    data: Path | str | None,
    queries: Path | str,
    qrels: Path | str | None,
    *,
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    report: Path | str | None = None,
    learn_weight: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """:func:`brickwork.evaluate` with ``queries``: what is said there; ``options`` are those of :func:`opened`.

    Raises:
        ConfigError, DataError: as :func:`brickwork.evaluate`.
    """
    # What the user wrote is read before anything is encoded.
    texts = read_queries(queries, judged=qrels is not None)
    grades = None if qrels is None else read_qrels(qrels)
    if learn_weight and (grades is None or not is_index(model)):
        raise ConfigError("a weight is learnt for an index from judgements: give INDEX, queries and qrels")
    with opened(model, data, dims=dims, layers=layers, **options) as searched:
        if grades is None:
            answers = answer_queries(searched, texts)
            if report is not None:
                write_answers(Path(report), searched, answers)
            return {"name": searched.name, "answers": answers, "notes": list(searched.notes)}
        judged = judge(texts, grades, sorted(searched.index.backend.ids()))
        weight = {}
        if learn_weight:
            found, judged = learn_and_keep(searched.index, judged)
            weight = {"dense_weight": found}
        measured = measure_judged(searched, judged, dims, layers)
    if report is not None:
        write_judged(Path(report), measured)
    if any(one.other == UNTOUCHED and one.outcome == "worse" for one in measured.against()):
        warn(measured.verdict())
    return {**measured.summary(), **weight}
