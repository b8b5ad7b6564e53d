"""The choice of a learning rate: the best by score wins, one training a rate, the same for every seed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from brickwork.core import registry
from brickwork.studies.bench import Workbench
from brickwork.studies.tuning import FACTORS, tuned


class CountingBench(Workbench):
    """Notes what is trained; the model of a rate is the rate."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.forgotten = []

    def forget(self, run):
        self.forgotten.append((run.seed, run.train.learning_rate))

    def train(self, run):
        self.asked.append((run.seed, run.train.learning_rate))
        return SimpleNamespace(rate=run.train.learning_rate)


@pytest.mark.parametrize("best", FACTORS)
def test_the_best_rate_wins(best):
    run = registry.load("matryoshka", "recipes").smoke()
    base, bench = run.train.learning_rate, CountingBench()

    def score(trained):
        return -abs(trained.rate - best * base)

    chosen = tuned(bench, replace(run, seed=2), score)
    assert (chosen.seed, chosen.train.learning_rate) == (2, best * base)
    assert sorted(bench.asked) == sorted((0, factor * base) for factor in FACTORS)
    assert tuned(bench, replace(run, seed=1), score).train.learning_rate == best * base
    assert len(bench.asked) == len(FACTORS), "another seed chose anew"
    assert sorted(bench.forgotten) == sorted((0, factor * base) for factor in FACTORS if factor != best)


def test_at_a_tie_the_given_rate_stands():
    run = registry.load("matryoshka", "recipes").smoke()
    assert tuned(CountingBench(), run, lambda trained: 1.0) == run
