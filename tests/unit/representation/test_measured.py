"""What smaller sizes keep, by a model's card."""

import pytest

from brickwork.representation.measured import kept_share


def card(*tasks):
    return {
        "measurement": {
            "retrieval": [
                {
                    "name": str(n),
                    "cells": [{"dim": d, "layers": k, "ndcg@10": v} for (d, k), v in task.items()],
                }
                for n, task in enumerate(tasks)
            ]
        }
    }


def test_it_is_the_mean_over_tasks_of_the_next_shorter_measured_size():
    measured = card(
        {(8, 1): 0.2, (8, 3): 0.3, (32, 3): 0.4}, {(8, 1): 0.1, (8, 3): 0.4, (32, 3): 0.5, (16, 3): 0.6}
    )
    assert kept_share(measured, 8, 1) == pytest.approx((0.5 + 0.2) / 2)
    assert kept_share(measured, 15, 3) == pytest.approx((0.75 + 0.8) / 2)
    assert kept_share(measured, 16, 3) == pytest.approx((0.75 + 1) / 2), "no more than all of it"
    assert kept_share(measured, 32, 3) == 1


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"measurement": None},
        {"measurement": {"retrieval": ["damaged"]}},
        {"measurement": {"retrieval": [{"cells": ["damaged", {"dim": 8, "layers": 1, "ndcg@10": None}]}]}},
        card({(16, 1): 0.2, (32, 3): 0.4}),  # nothing as short
        card({(8, 3): 0.2, (32, 3): 0.4}),  # not that depth
        card({(8, 1): 0.0, (32, 3): 0.0}),
    ],
)
def test_all_where_it_was_not_measured(other):
    assert kept_share(other, 8, 1) == 1
