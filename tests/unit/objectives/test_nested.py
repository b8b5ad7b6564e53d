"""Prefix losses: the identities of the matryoshka sheet, and sentence-transformers' MatryoshkaLoss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.core.elastic import NestedSampler, geometric_weights
from brickwork.objectives.contrastive import info_nce
from brickwork.objectives.nested import nested_loss, nested_prefixes


def random(rows: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_prefixes_are_cut_first_and_normalised_then():
    z = random(3, 8, 0)
    prefixes = nested_prefixes(z, [2, 8])
    for m, prefix in prefixes.items():
        torch.testing.assert_close(prefix, z[:, :m] / z[:, :m].norm(dim=1, keepdim=True))
    assert torch.equal(nested_prefixes(z, [2], normalize=False)[2], z[:, :2])


@pytest.mark.parametrize("order", [[2, 4, 8], [8, 4, 2], [4, 8, 2]])
def test_the_order_of_prefixes_does_not_matter(order):
    z = random(3, 8, 0)
    copy = z.clone()
    torch.testing.assert_close(nested_prefixes(z, order)[4], nested_prefixes(z, [4])[4])
    assert torch.equal(z, copy)


@pytest.mark.parametrize("dims", [[], [0, 2], [9]])
def test_impossible_prefixes(dims):
    with pytest.raises(ValueError, match="prefixes"):
        nested_prefixes(random(3, 8, 0), dims)


def test_longer_than_the_vector():
    with pytest.raises(ValueError, match="16"):
        nested_loss(info_nce, random(3, 8, 0), random(3, 8, 1), dims=[4, 16])


def test_the_full_width_alone_is_the_plain_loss_bit_for_bit():
    a, p = random(5, 8, 0).requires_grad_(), random(5, 8, 1)
    nested, plain = nested_loss(info_nce, a, p, dims=[8]).total, info_nce(a, p)
    assert torch.equal(nested, plain)
    assert torch.equal(torch.autograd.grad(nested, a)[0], torch.autograd.grad(plain, a)[0])


def test_sum_mean_and_weights():
    a, p = random(5, 8, 0), random(5, 8, 1)
    single = [info_nce(a[:, :m], p[:, :m]) for m in (2, 4, 8)]
    torch.testing.assert_close(nested_loss(info_nce, a, p, dims=[2, 4, 8]).total, sum(single))
    mean = nested_loss(info_nce, a, p, dims=[2, 4, 8], reduction="mean")
    torch.testing.assert_close(mean.total, sum(single) / 3)
    weighted = nested_loss(info_nce, a, p, dims=[2, 4, 8], weights=[1.0, 0.0, 3.0])
    torch.testing.assert_close(weighted.total, single[0] + 3 * single[2])
    for output in (mean, weighted):
        rebuilt = sum(output.weights[name] * term for name, term in output.terms.items())
        torch.testing.assert_close(output.total, rebuilt)
    with pytest.raises(ValueError, match="2 weights for 3"):
        nested_loss(info_nce, a, p, dims=[2, 4, 8], weights=[1.0, 2.0])


def test_absent_columns_stay_absent():
    a, p, n = random(5, 8, 0), random(5, 8, 1), random(5, 8, 2)
    without = nested_loss(info_nce, a, p, None, dims=[4])
    assert torch.equal(without.total, info_nce(a[:, :4], p[:, :4]))
    assert torch.equal(nested_loss(info_nce, a, p, n, dims=[4]).total, info_nce(a[:, :4], p[:, :4], n[:, :4]))


def test_gradient_of_a_coordinate_is_the_sum_over_prefixes_that_hold_it():
    z = random(5, 8, 0).double().requires_grad_()
    target = random(5, 8, 1).double()

    def base(prefix):
        return (prefix - target[:, : prefix.shape[1]]).pow(3).sum() / prefix.shape[1]

    total = torch.autograd.grad(nested_loss(base, z, dims=[2, 4, 8]).total, z)[0]
    expected = torch.zeros_like(z)
    for m in (2, 4, 8):
        prefix = z.detach()[:, :m].requires_grad_()
        expected[:, :m] += torch.autograd.grad(base(prefix), prefix)[0]
    torch.testing.assert_close(total, expected)


def test_equals_the_peer():
    # sentence-transformers: MatryoshkaLoss over MultipleNegativesRankingLoss, all dims each step.
    from sentence_transformers.sentence_transformer import losses

    a, p = random(6, 16, 0), random(6, 16, 1)
    dims, weights = [16, 8, 4], [1.0, 0.5, 2.0]
    peer = losses.MultipleNegativesRankingLoss(None, scale=20.0)
    unit = torch.nn.functional.normalize
    expected = sum(
        w * peer.compute_loss_from_embeddings([unit(a[:, :m], dim=1), unit(p[:, :m], dim=1)], None)
        for m, w in zip(dims, weights)
    )
    torch.testing.assert_close(nested_loss(info_nce, a, p, dims=dims, weights=weights).total, expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), step=st.integers(0, 10**6), count=st.integers(1, 6))
def test_choices_are_members_distinct_ascending_and_repeatable(seed, step, count):
    sizes = (8, 16, 32, 64)
    chosen = NestedSampler(seed).choose(sizes, step, "dims", count)
    assert chosen == NestedSampler(seed).choose(sizes, step, "dims", count)
    assert chosen == tuple(sorted(set(chosen)))
    assert set(chosen) <= set(sizes)
    assert len(chosen) == min(count, 4)


def test_choices_are_uniform_and_independent_by_name():
    sampler, sizes = NestedSampler(0), (1, 2, 3)
    draws = [(sampler.choose(sizes, s, "layer")[0], sampler.choose(sizes, s, "dim")[0]) for s in range(1800)]
    for pair in [(i, j) for i in sizes for j in sizes]:
        assert abs(draws.count(pair) - 200) < 60  # 4.5 standard deviations


def test_nested_dims_always_hold_the_full_width():
    sampler = NestedSampler(3)
    chosen = [sampler.nested_dims((8, 16, 32), step, 2) for step in range(20)]
    assert all(dims[-1] == 32 and len(dims) == 2 for dims in chosen)
    assert {dims[0] for dims in chosen} == {8, 16}
    assert sampler.nested_dims((8, 16, 32), 0, None) == sampler.nested_dims((8, 16, 32), 0, 3) == (8, 16, 32)
    assert sampler.nested_dims((8, 16, 32), 0, 1) == (32,)


def test_draws_are_those_of_before_the_sampler_moved():
    """Pinned: another draw would change every run of matryoshka-2d."""
    sampler = NestedSampler(0)
    drawn = [sampler.choose((1, 2, 3, 4), step, "layer", 2) for step in range(6)]
    assert drawn == [(2, 3), (2, 4), (1, 2), (1, 3), (2, 3), (2, 4)]


def test_weighted_draws_follow_their_weights():
    sampler, sizes = NestedSampler(1), (1, 2, 4)
    weights = geometric_weights(sizes, 0.5)
    assert weights == (1.0, 0.5, 0.125)
    draws = [sampler.weighted(sizes, weights, step, "rank") for step in range(2000)]
    assert draws == [sampler.weighted(sizes, weights, step, "rank") for step in range(2000)]
    for size, weight in zip(sizes, weights):
        assert abs(draws.count(size) / 2000 - weight / sum(weights)) < 0.05  # 4.5 standard deviations
    assert {sampler.weighted(sizes, (0.0, 0.0, 1.0), step, "rank") for step in range(20)} == {4}
