"""From measured numbers to what a person reads: the report of a run and the model card's facts."""

import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.untouched import start_of
from brickwork.core.config import to_dict
from brickwork.core.files import read_json
from brickwork.inspection.report import write_report
from brickwork.inspection.report_data import (
    CostPoint,
    Costs,
    Finding,
    GridCell,
    QualityPart,
    ReportData,
    curves_from_records,
)
from brickwork.training.config import stage_lengths
from brickwork.training.progress import MOST_SHOWN
from brickwork.training.run import planned_stages

if TYPE_CHECKING:
    from brickwork.data.types import TaskData
    from brickwork.evaluation.grid import GridResult
    from brickwork.evaluation.measure import Measurement, SizeScore
    from brickwork.inspection.drawings import Drawing
    from brickwork.training.loop import FitResult
    from brickwork.training.run import RunConfig

METRIC = "ndcg@10"
METRIC_NAMES = {"ndcg@10": "nDCG@10", "recall@10": "Recall@10", "mrr@10": "MRR@10"}
SCORES = {
    "knn_accuracy": (
        "classes of nearest neighbours",
        "1-NN accuracy",
        "{:,} held-out examples, each given the class of its nearest training example.",
    ),
    "spearman": (
        "similarity",
        "Spearman correlation",
        "{:,} held-out pairs, their cosines held against the given scores.",
    ),
}
"""Measure → its title, the name of its axis, and on what it was measured."""
BaselineScores = Mapping[str, Mapping[str, Sequence[float]]]


def retrieval_part(
    grid: "GridResult",
    before: "GridResult | None" = None,
    baselines: BaselineScores | None = None,
    description: str = "",
) -> QualityPart:
    """One retrieval set of the report: after, before with paired intervals, and the baselines."""
    from brickwork.evaluation.grid import compare

    paired = {} if before is None else {(c.dim, c.layers): c for c in compare(before, grid, METRIC)}
    cells = []
    for cell in grid.cells:
        pair = paired.get((cell.dim, cell.layers))
        cells.append(
            GridCell(
                dim=cell.dim,
                layers=cell.layers,
                after=cell.mean(METRIC),
                before=pair.before if pair else None,
                low=pair.difference.low if pair else None,
                high=pair.difference.high if pair else None,
            )
        )
    full, full_before = (
        max(one.cells, key=lambda cell: (cell.layers, cell.dim)) if one else None for one in (grid, before)
    )
    assert full is not None
    others = {}
    for metric, name in METRIC_NAMES.items():
        row = {} if full_before is None else {"before": full_before.mean(metric)}
        row["after"] = full.mean(metric)
        row.update({label: statistics.fmean(scores[metric]) for label, scores in (baselines or {}).items()})
        others[name] = row
    return QualityPart(
        name=grid.name,
        cells=tuple(cells),
        sample=f"{grid.num_queries:,} held-out queries against {grid.num_documents:,} documents.",
        metric=METRIC_NAMES[METRIC],
        description=description,
        baselines={label: statistics.fmean(scores[METRIC]) for label, scores in (baselines or {}).items()},
        other_metrics=others,
    )


def score_part(name: str, sizes: "Sequence[SizeScore]", data: "TaskData") -> QualityPart:
    """One measure of labelled or scored data: a number at every size.

    With labels, prefixes shorter than *classes − 1* are marked: a linear classifier needs that many dimensions.
    """
    title, metric, sample = SCORES.get(name, (name, name, "{:,} held-out examples."))
    wanted = (data.num_classes or 1) - 1
    return QualityPart(
        name=title,
        cells=tuple(GridCell(dim=s.dim, layers=s.layers, after=s.value) for s in sizes),
        sample=sample.format(len(data.test)),
        metric=metric,
        weak_below=wanted if wanted > min(s.dim for s in sizes) else None,
    )


def costs(grid: "GridResult") -> Costs | None:
    """The quality-cost points of a grid; ``None`` where encoding was not counted (images)."""
    points = []
    for cell in grid.cells:
        cost = cell.cost
        if cost.encode_flops is None:
            return None
        timed = cost.encode_milliseconds is not None and cost.scan_milliseconds is not None
        points.append(
            CostPoint(
                dim=cell.dim,
                layers=cell.layers,
                quality=cell.mean(METRIC),
                flops_per_query=cost.encode_flops + cost.scan_flops,
                bytes_per_vector=cost.vector_bytes,
                milliseconds=(cost.encode_milliseconds or 0) + (cost.scan_milliseconds or 0)
                if timed
                else None,
            )
        )
    return Costs(points=tuple(points), name=grid.name, metric=METRIC_NAMES[METRIC])


def finding(before: "GridResult", after: "GridResult", dim: int, layers: int) -> Finding:
    """What training changed at one small size, on the same queries, and at full size beside it."""
    from brickwork.evaluation.grid import compare

    pairs = {(c.dim, c.layers): c for c in compare(before, after, METRIC)}
    full_dim, full_layers = max(dims for dims, _ in pairs), max(depth for _, depth in pairs)
    small, full = pairs[dim, layers], pairs[full_dim, full_layers]
    return Finding(
        sentence=(
            f"Cut to {dim} of {full_dim} dimensions and {layers} of {full_layers} layers, the model scores "
            f"{small.after:.3f} after training and {small.before:.3f} before; uncut, {full.after:.3f} and "
            f"{full.before:.3f}."
        ),
        metric=METRIC_NAMES[METRIC],
        effect=small.difference.mean,
        low=small.difference.low,
        high=small.difference.high,
        explanation=(
            f"The change at the small size, paired over {after.num_queries} held-out queries. Its vectors are "
            f"{full_dim / dim:.0f} times smaller, and {layers} of {full_layers} layers run."
        ),
    )


def run_records(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``; a half-written last line (after a kill) is left out."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def training_curves(folder: Path) -> tuple[Any, ...]:
    """Loss, statistics called like a metric (hit@10), and validation quality over the steps, from the run's records."""
    records = run_records(folder)
    metrics = dict.fromkeys(name for r in records for name in r.get("stats", {}) if "@" in name)
    names = dict.fromkeys(name for r in records for name in r.get("validation", {}))
    # What is recommended is a choice, on a scale of its own; more lines than colours tell nobody anything.
    quality = sorted([name for name in names if not name.startswith("recommended_")][:MOST_SHOWN])
    flat = [{**r, **r.get("stats", {}), **r.get("validation", {})} for r in records]
    panels = {"loss": ["loss"], "of training batches": sorted(metrics), "validation quality": quality}
    return curves_from_records(flat, panels)


def run_report(
    folder: Path,
    run: "RunConfig",
    data: "TaskData",
    measurement: "Measurement | None",
    scores: Mapping[str, float] | None = None,
    drawings: "Sequence[Drawing]" = (),
) -> Path:
    """Writes ``report.html`` for a run; ``scores`` and ``drawings``: a system's own, on held-out data."""
    grids = list(measurement.grids.values()) if measurement else []
    measured = measurement.scores if measurement else {}
    environment = folder / "env.json"
    return write_report(
        folder,
        ReportData(
            title=f"{run.system} on {data.name}",
            subtitle=f"recipe {run.recipe}, seed {run.seed}",
            created=datetime.date.today().isoformat(),
            facts={
                **facts(data),
                **stage_facts(run),
                **{name: f"{value:.4g}" for name, value in (scores or {}).items()},
            },
            quality=(
                *(
                    retrieval_part(
                        grid, measurement.untouched.get(grid.name), measurement.baselines.get(grid.name)
                    )
                    for grid in grids
                    if measurement
                ),
                *(score_part(name, sizes, data) for name, sizes in measured.items() if sizes),
            ),
            costs=costs(grids[0]) if grids else None,
            curves=training_curves(folder),
            drawings=tuple(drawings),
            notes=tuple(data.notes),
            environment=read_json(environment) if environment.is_file() else {},
            configuration=to_dict(run),
        ),
    )


def facts(data: "TaskData") -> dict[str, str]:
    """The cards under the report's title that describe the data."""
    what = in_words(data)
    return {
        "data": data.name,
        "training": f"{len(data.train):,} {what}",
        "held out": f"{len(data.test):,} {what}",
    }


def stage_facts(run: "RunConfig") -> dict[str, str]:
    """The card that says in which stages a run was trained, where it has any."""
    stages = planned_stages(run)
    if not stages:
        return {}
    named = zip((stage.name for stage in stages), stage_lengths(run.train, stages))
    told = []
    for steps, group in groupby(named, key=lambda one: one[1]):  # five members of 450 steps are one entry
        names = [name for name, _ in group]
        told.append(
            f"{names[0]}: {steps:,} steps"
            if len(names) == 1
            else f"{names[0]} to {names[-1]}: {steps:,} steps each"
        )
    return {"stages": ", ".join(told)}


def in_words(data: "TaskData") -> str:
    """What the examples are: ``pairs``, ``triplets``, ``scored pairs``, ``labelled images``, ``images with texts``."""
    if data.modality == "image-text":
        return "images with texts"
    words = {
        "scored": "scored pairs",
        "labelled": f"labelled {data.modality}s",
        "inputs": f"{data.modality}s",
    }
    return words.get(data.kind, data.kind)


def card(
    run: "RunConfig", data: "TaskData", result: "FitResult", measurement: "Measurement | None"
) -> dict[str, Any]:
    """What the model card tells: system, data, training and the measured grid."""
    return {
        "system": run.system,
        "recipe": run.recipe,
        "seed": run.seed,
        "data": data.name,
        **({"start": start} if (start := start_of(run)) else {}),
        "examples": len(data.train),
        "steps": result.step,
        "batch_size": run.train.batch_size,
        **stage_facts(run),
        "measurement": measurement.summary() if measurement else None,
    }
