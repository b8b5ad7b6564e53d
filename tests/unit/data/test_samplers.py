"""The order of batches against brute force: one long list of epoch permutations, cut by hand."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.data.samplers import BatchSampler


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 25), seed=st.integers(0, 5))
def test_every_example_comes_once_an_epoch(n, batch, seed):
    sampler = BatchSampler(n, batch, seed)
    steps = -(-3 * n // batch)
    row = [index for step in range(steps) for index in sampler.indices(step)]
    assert len(row) == steps * batch
    for epoch in range(3):
        assert sorted(row[epoch * n : (epoch + 1) * n]) == list(range(n))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 25), steps=st.permutations(range(8)))
def test_a_step_does_not_depend_on_what_was_asked_before(n, batch, steps):
    used = BatchSampler(n, batch, 3)
    for step in steps:
        assert used.indices(step) == BatchSampler(n, batch, 3).indices(step)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_shards_together_are_the_global_batch(world):
    batch = BatchSampler(100, 12, 0).indices(5)
    parts = [BatchSampler.shard(batch, rank, world) for rank in range(world)]
    assert [index for part in parts for index in part] == batch
    assert {len(part) for part in parts} == {12 // world}


def test_epochs_and_seeds_differ_and_orders_are_uniform():
    orders = {tuple(BatchSampler(3, 3, seed).indices(epoch)) for seed in range(20) for epoch in range(5)}
    assert len(orders) == 6  # all 3! orders occur
    first = Counter(BatchSampler(4, 4, seed).indices(0)[0] for seed in range(400))
    # Binomial(400, 1/4): mean 100, standard deviation 8.7; five of them.
    assert all(56 < first[value] < 144 for value in range(4))


def test_epoch_counts_passes_over_the_set():
    assert BatchSampler(10, 4, 0).epoch(5) == 2.0


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(ValueError, match="0 examples"):
        BatchSampler(0, 4, 0)
    with pytest.raises(ValueError, match="does not divide among 3"):
        BatchSampler.shard([1, 2, 3, 4], 0, 3)
