"""Batches come in the sampler's order, whatever is made ahead."""

import pytest
import torch

from brickwork.data.samplers import BatchSampler
from brickwork.training.batches import Batches
from toy_system import Toy, toy_data

SAMPLER = BatchSampler(40, 8, seed=3)


def test_each_batch_is_the_one_of_its_number():
    data = toy_data()
    with Batches(Toy().collate, data, SAMPLER, last=9) as batches:
        for number in (4, 5, 6, 9):
            batch = batches.get(number)
            assert batch["indices"] == SAMPLER.indices(number)
            torch.testing.assert_close(
                batch["anchor"], torch.as_tensor(data.columns["anchor"][SAMPLER.indices(number)])
            )


def test_processes_share_a_batch():
    parts = []
    for rank in range(2):
        with Batches(Toy().collate, toy_data(), SAMPLER, last=0, rank=rank, world=2) as batches:
            parts += batches.get(0)["indices"]
    assert parts == SAMPLER.indices(0)


def test_an_error_while_collating_reaches_the_caller():
    def collate(columns):
        raise ValueError("row 7 is odd")

    with Batches(collate, toy_data(), SAMPLER, last=1) as batches, pytest.raises(ValueError, match="row 7"):
        batches.get(0)


def test_batches_are_made_on_one_thread_of_torch():
    """Two threads that compute keep a pool each on the same cores, and wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        asked = []

        def collate(columns):
            asked.append(torch.get_num_threads())
            return {}

        with Batches(collate, toy_data(), SAMPLER, last=1) as batches:
            batches.get(0)
            batches.get(1)
            assert torch.get_num_threads() == 3
        assert asked == [1, 1]
    finally:
        torch.set_num_threads(before)
