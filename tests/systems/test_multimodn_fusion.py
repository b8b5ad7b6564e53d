"""A state through modalities that are there, and the parallel fusion beside it."""

import pytest
import torch

from brickwork.systems.multimodn.modules import (
    ParallelFusion,
    StateChain,
    contributions,
    drop_modalities,
)


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    features = [torch.randn(6, 3), torch.randn(6, 2)]
    present = [torch.tensor([1, 1, 0, 1, 0, 1]).bool(), torch.tensor([1, 0, 1, 1, 0, 1]).bool()]
    return features, present


def test_rows_keep_their_state_where_a_modality_is_missing(inputs):
    chain = StateChain([3, 2], 4, [5], 0.0)
    output = chain(*inputs)
    assert [state.shape for state in output.states] == [(6, 4)] * 3
    state = chain.initial.expand(6, -1)
    for step, (x, there) in enumerate(zip(*inputs), start=1):
        new = chain.encoders[step - 1](torch.cat([x, state], 1))
        state = torch.where(there[:, None], new, state)
        torch.testing.assert_close(output.states[step], state)
        assert (output.updated[step] == there).all()
    assert output.updated[0].all()
    assert (output.states[2][4] == chain.initial).all()
    assert (output.states[1][inputs[1][0]] >= 0).all(), "ReLU on the output"


def test_skipping_batches_skips_all_rows(inputs):
    chain = StateChain([3, 2], 4, [5], 0.0)
    output = chain(*inputs, skip="batch")
    assert (torch.stack(output.states) == chain.initial).all()
    assert output.change.tolist() == [0.0, 0.0]
    whole = [torch.ones(6, dtype=torch.bool)] * 2
    both = [torch.stack(chain(inputs[0], whole, skip=skip).states) for skip in ("sample", "batch")]
    torch.testing.assert_close(*both)


def test_order_is_the_order_of_reading(inputs):
    chain = StateChain([3, 2], 4, [5], 0.0)
    output = chain(*inputs, order=[1, 0])
    assert output.order == (1, 0)
    first = chain.encoders[1](torch.cat([inputs[0][1], chain.initial.expand(6, -1)], 1))
    torch.testing.assert_close(output.states[1][inputs[1][1]], first[inputs[1][1]])


def test_parallel_fusion_fills_in(inputs):
    features, present = inputs
    result = ParallelFusion([3, 2])(features, present)
    assert result.shape == (6, 5)
    assert not result[4].any()
    learned = ParallelFusion([3, 2], fill="learned")
    with torch.no_grad():
        learned.fill[1].fill_(7.0)
    assert (learned(features, present)[1, 3:] == 7).all()
    assert learned(features, present)[0].equal(torch.cat([features[0][0], features[1][0]]))


def test_dropped_modalities_are_a_share_of_those_that_were_there():
    torch.manual_seed(0)
    there = torch.arange(20_000) % 2 == 0
    (result,) = drop_modalities([there], 0.3)
    assert not (result & ~there).any()
    assert result[there].float().mean().item() == pytest.approx(0.7, abs=0.02)


def test_contributions_are_by_modality_and_sum_up():
    path = torch.tensor([[0.5, 0.2], [0.7, 0.2], [0.6, 0.9]])
    result = contributions(path, [1, 0])
    torch.testing.assert_close(result, torch.tensor([[-0.1, 0.2], [0.7, 0.0]]))
    torch.testing.assert_close(result.sum(1), path[-1] - path[0])
