"""From grids to the report's data: numbers are those of the grid, computed here by hand."""

import numpy as np
import pytest

from brickwork.api.report import (
    costs,
    finding,
    in_words,
    retrieval_part,
    run_records,
    score_part,
    training_curves,
)
from brickwork.data.types import Examples, TaskData
from brickwork.evaluation.grid import Cell, Cost, GridResult
from brickwork.evaluation.measure import SizeScore


def grid(scores: dict[tuple[int, int], list[float]]) -> GridResult:
    cells = tuple(
        Cell(
            dim=dim,
            layers=layers,
            scores={metric: tuple(values) for metric in ("ndcg@10", "recall@10", "mrr@10")},
            cost=Cost(
                scan_flops=20 * dim,
                vector_bytes=4 * dim,
                encode_flops=1000.0 * layers,
                encode_milliseconds=2.0,
                scan_milliseconds=0.5,
            ),
        )
        for (dim, layers), values in scores.items()
    )
    return GridResult(
        name="docs", fingerprint="x", num_queries=4, num_documents=9, metrics=("ndcg@10", "recall@10", "mrr@10"), cells=cells
    )  # fmt: skip


BEFORE = grid({(8, 2): [0.5, 0.5, 1.0, 0.0], (4, 1): [0.0, 0.1, 0.2, 0.1]})
AFTER = grid({(8, 2): [0.6, 0.5, 1.0, 0.3], (4, 1): [0.4, 0.5, 0.6, 0.5]})


def test_cells_hold_the_means_before_and_after():
    part = retrieval_part(
        AFTER, BEFORE, {"BM25": {m: [1.0, 0.0, 0.0, 0.0] for m in ("ndcg@10", "recall@10", "mrr@10")}}
    )
    small = next(cell for cell in part.cells if (cell.dim, cell.layers) == (4, 1))
    assert small.before == pytest.approx(0.1)
    assert small.after == pytest.approx(0.5)
    assert (small.low, small.high) == pytest.approx((0.4, 0.4))  # every query gained the same
    assert part.baselines == {"BM25": 0.25}
    assert part.other_metrics["MRR@10"] == pytest.approx({"before": 0.5, "after": 0.6, "BM25": 0.25})


def test_costs_add_encoding_and_scanning():
    points = {(p.dim, p.layers): p for p in costs(AFTER).points}
    assert points[4, 1].flops_per_query == 1000 + 80
    assert points[8, 2].bytes_per_vector == 32
    assert points[8, 2].milliseconds == 2.5
    assert points[8, 2].quality == pytest.approx(np.mean([0.6, 0.5, 1.0, 0.3]))


def test_the_finding_names_both_sizes_and_the_paired_change():
    results = finding(BEFORE, AFTER, 4, 1)
    assert "4 of 8 dimensions and 1 of 2 layers" in results.sentence
    assert "0.500 after training and 0.100 before; uncut, 0.600 and 0.500" in results.sentence
    assert results.effect == pytest.approx(0.4)


def scored(kind, num_classes):
    examples = Examples({"input": ["a"] * 7, "label": np.zeros(7, dtype=np.int64)})
    return TaskData(
        name="x",
        kind=kind,
        modality="text",
        train=examples,
        validation=examples,
        test=examples,
        num_classes=num_classes,
    )


def test_one_number_a_size_is_a_part_of_the_report():
    sizes = [SizeScore(dim=4, layers=1, value=0.25), SizeScore(dim=8, layers=1, value=0.5)]
    part = score_part("knn_accuracy", sizes, scored("labelled", 6))
    assert [(c.dim, c.after, c.before) for c in part.cells] == [(4, 0.25, None), (8, 0.5, None)]
    assert part.weak_below == 5  # six classes: a linear classifier of five dimensions
    assert part.sample.startswith("7 held-out examples")
    assert (
        score_part("knn_accuracy", sizes, scored("labelled", 5)).weak_below is None
    )  # 4 dimensions are enough
    assert score_part("spearman", sizes, scored("scored", None)).metric == "Spearman correlation"
    assert in_words(scored("scored", None)) == "scored pairs"
    assert in_words(scored("labelled", 6)) == "labelled texts"
    assert in_words(scored("pairs", None)) == "pairs"
    assert score_part("bits", sizes, scored("scored", None)).name == "bits"


def test_records_survive_a_line_that_a_kill_cut_short(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "validation": {"ndcg@10": 0.2}}\n{"step": 1, "loss": 3.0}\n{"step": 2, "lo'
    )
    assert [record["step"] for record in run_records(tmp_path)] == [0, 1]
    curves = {curve.name: (curve.steps, curve.values) for curve in training_curves(tmp_path)}
    assert curves == {"loss": ((1,), (3.0,)), "ndcg@10": ((0,), (0.2,))}
