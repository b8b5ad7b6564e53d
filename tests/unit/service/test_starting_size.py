"""The size at which the search page opens."""

import pytest

from brickwork.service.starting_size import starting_size

DIMS, DEPTHS = (8, 16, 32), (1, 3)


def measured(*tasks, metric="ndcg@10"):
    """A card with the quality of each size by task."""
    return {
        "measurement": {
            "retrieval": [
                {
                    "name": f"task {number}",
                    "cells": [{"dim": d, "layers": n, metric: value} for (d, n), value in cells.items()],
                }
                for number, cells in enumerate(tasks)
            ]
        }
    }


FIRST = {(32, 3): 0.5, (16, 3): 0.495, (8, 3): 0.45, (32, 1): 0.491, (16, 1): 0.3, (8, 2): 0.6}


def test_it_is_the_smallest_that_keeps_98_percent():
    size = starting_size(measured(FIRST), DIMS, DEPTHS)
    # 32 dimensions after one layer are less than 16 after three; a depth that the index does not hold is no choice.
    assert (size.dim, size.layers, size.metric, size.tasks) == (32, 1, "ndcg@10", ("task 0",))
    assert size.kept == pytest.approx(0.982)
    assert starting_size(measured(FIRST), DIMS, (3,)).dim == 16


def test_every_task_has_to_keep_it():
    second = {(32, 3): 0.2, (16, 3): 0.2, (32, 1): 0.1}
    size = starting_size(measured(FIRST, second), DIMS, DEPTHS)
    assert (size.dim, size.layers) == (16, 3)
    assert size.kept == pytest.approx(0.99)
    assert size.tasks == ("task 0", "task 1")


def test_full_size_is_taken_where_nothing_smaller_is_good_enough():
    size = starting_size(measured({(32, 3): 0.5, (8, 3): 0.4}), DIMS, DEPTHS)
    assert (size.dim, size.layers, size.kept) == (32, 3, 1.0)


def test_another_measure_is_taken_where_there_is_no_ndcg():
    assert starting_size(measured(FIRST, metric="recall@10"), DIMS, DEPTHS).metric == "recall@10"


def test_where_there_are_words_hybrid_searches_count():
    card = measured(FIRST)
    (task,) = card["measurement"]["retrieval"]
    for cell in task["cells"]:
        cell["hybrid"] = {"ndcg@10": 0.6 if cell["dim"] == 32 else 0.59 if cell["dim"] == 16 else 0.5}
    size = starting_size(card, DIMS, DEPTHS, words=True)
    assert (size.dim, size.layers, size.mode) == (16, 1, "hybrid")
    assert size.kept == pytest.approx(0.59 / 0.6)
    assert starting_size(card, DIMS, DEPTHS).mode == "dense"
    del task["cells"][0]["hybrid"]  # of full size, so nothing can be kept of it
    assert starting_size(card, DIMS, DEPTHS, words=True) == starting_size(card, DIMS, DEPTHS)


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"measurement": None},
        {"measurement": {"retrieval": []}},
        {"measurement": {"retrieval": ["damaged"]}},
        measured({(8, 3): 0.4}),  # full size was not measured
        measured({(32, 3): 0.0, (8, 3): 0.0}),
        measured({(32, 3): float("nan"), (8, 3): 0.2}),
    ],
)
def test_what_was_not_measured_is_not_guessed(card):
    assert starting_size(card, DIMS, DEPTHS) is None
