"""Routers against closed forms, scipy and brute force."""

import math

import pytest
import torch
from scipy.stats import entropy

from brickwork.core.errors import ConfigError
from brickwork.modules.routers import (
    RouterScorer,
    TopKRouter,
    assignment_shares,
    concentration_loss,
    gumbel_routing,
    mutual_information_loss,
    routing_drift,
    soft_routing,
    straight_through_routing,
    switch_loss,
    usage_statistics,
    with_keep_slot,
    z_loss,
)


def one_hot_logits(choice, num_modules, size=1e4):
    logits = torch.zeros(len(choice), num_modules, dtype=torch.float64)
    logits[torch.arange(len(choice)), torch.tensor(choice)] = size
    return logits


def test_mutual_information_in_closed_form():
    """Balanced and decisive −log E; undecided 0; all to one 0 (the sheet's identities)."""
    balanced = one_hot_logits([0, 1, 2, 3] * 5, 4)
    assert mutual_information_loss(balanced).item() == pytest.approx(-math.log(4), abs=1e-12)
    assert mutual_information_loss(torch.zeros(7, 4, dtype=torch.float64)).item() == pytest.approx(
        0, abs=1e-12
    )
    assert mutual_information_loss(one_hot_logits([2] * 6, 4)).item() == pytest.approx(0, abs=1e-12)


def test_mutual_information_against_scipy():
    logits = torch.randn(50, 6, dtype=torch.float64)
    p = logits.softmax(-1).numpy()
    expected = -(entropy(p.mean(0)) - entropy(p, axis=1).mean())
    assert mutual_information_loss(logits).item() == pytest.approx(expected, abs=1e-12)
    concentrated = entropy(p.mean(0)) + 0.5 * entropy(p, axis=1).mean()
    assert concentration_loss(logits, decisive=0.5).item() == pytest.approx(concentrated, abs=1e-12)


def test_switch_loss_is_one_when_even_and_e_when_all_go_to_one():
    even = one_hot_logits([0, 1, 2, 3], 4)
    assert switch_loss(even, even.argmax(1, keepdim=True)).item() == pytest.approx(1)
    one = one_hot_logits([1, 1, 1, 1], 4)
    assert switch_loss(one, one.argmax(1, keepdim=True)).item() == pytest.approx(4)


def test_z_loss_does_not_overflow():
    logits = torch.tensor([[1000.0, 1000.0], [0.0, 0.0]])
    expected = ((1000 + math.log(2)) ** 2 + math.log(2) ** 2) / 2
    assert z_loss(logits).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [mutual_information_loss, z_loss, concentration_loss])
def test_padding_has_no_say(loss):
    logits = torch.randn(10, 4)
    mask = torch.arange(10) < 6
    assert loss(logits, mask) == loss(logits[:6])
    assert loss(logits, torch.zeros(10, dtype=torch.bool)) == 0
    index = logits.topk(2).indices
    assert switch_loss(logits, index, mask) == switch_loss(logits[:6], index[:6])
    masked, cut = usage_statistics(logits, index, mask), usage_statistics(logits[:6], index[:6])
    assert all(masked[name] == cut[name] for name in cut)


@pytest.mark.parametrize("loss", [mutual_information_loss, z_loss, concentration_loss])
def test_gradients_in_float64(loss):
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (logits,))


def test_statistics_count_assignments():
    index = torch.tensor([[0, 1], [0, 1], [0, 2]])
    assert assignment_shares(index, 4).tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0])
    results = usage_statistics(torch.zeros(3, 4), index)
    assert results["dead"] == 0.25
    assert results["load_entropy"].item() == pytest.approx(entropy([3, 2, 1]) / math.log(4), rel=1e-6)
    assert results["token_entropy"].item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("scorer", ["mlp", "linear", "cosine"])
def test_top_k_takes_the_best_with_their_softmax_weights(scorer):
    router = TopKRouter(8, 5, 2, scorer=scorer, hidden=16)
    x = torch.randn(20, 8)
    routed = router(x)
    p = router.scorer(x).softmax(-1)
    assert routed.logits.shape == (20, 5)
    for row in range(20):
        best = sorted(range(5), key=lambda m: -p[row, m].item())[:2]
        assert routed.index[row].tolist() == best
        torch.testing.assert_close(routed.weights[row], p[row, best])


def test_normalised_gates_sum_to_one():
    routed = TopKRouter(8, 5, 2, hidden=4, gate_norm="topk")(torch.randn(9, 8))
    torch.testing.assert_close(routed.weights.sum(1), torch.ones(9))
    assert (TopKRouter(8, 5, 2, hidden=4)(torch.randn(9, 8)).weights.sum(1) < 0.9).all()


def test_exploration_is_for_training_and_never_repeats_a_module():
    router = TopKRouter(8, 5, 3, hidden=4, explore=2)
    x = torch.randn(200, 8)
    index = router(x).index
    assert all(len(set(row)) == 3 for row in index.tolist())
    best = router.scorer(x).topk(3).indices
    assert (index != best).any()
    assert torch.equal(index[:, 0], best[:, 0])
    assert torch.equal(router.eval()(x).index, best)


def test_cosine_scores_are_bounded_by_the_scale():
    scorer = RouterScorer(8, 5, "cosine", 4)
    assert scorer(100 * torch.randn(50, 8)).abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("top_k", [0, 6])
def test_more_modules_than_there_are_is_refused(top_k):
    with pytest.raises(ConfigError, match=f"top_k={top_k} with 5 modules"):
        TopKRouter(8, 5, top_k)


# ---- gates over all modules ------------------------------------------------------------------------------------


def test_keep_slot_leaves_less_than_one_for_the_modules():
    gates = soft_routing(with_keep_slot(torch.zeros(3, 4), 2.0)).weights
    kept = math.exp(2) / (math.exp(2) + 4)
    torch.testing.assert_close(gates[:, -1], torch.full((3,), kept))
    torch.testing.assert_close(gates.sum(1), torch.ones(3))


def test_temperature_sharpens():
    logits = torch.tensor([[0.0, 1.0]])
    cold, warm = (soft_routing(logits, temperature=t).weights[0, 1] for t in (0.1, 10.0))
    assert cold.item() == pytest.approx(1 / (1 + math.exp(-10)))
    assert warm.item() == pytest.approx(1 / (1 + math.exp(-0.1)))


def test_straight_through_is_hard_with_a_soft_gradient():
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(6, 4, dtype=torch.float64)
    routed = straight_through_routing(logits, temperature=0.7)
    assert set(routed.weights.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(routed.weights.argmax(1), logits.argmax(1))
    (hard,) = torch.autograd.grad((routed.weights * values).sum(), logits)
    (soft,) = torch.autograd.grad((soft_routing(logits, temperature=0.7).weights * values).sum(), logits)
    torch.testing.assert_close(hard, soft)


def test_gumbel_draws_with_the_probabilities_of_the_softmax():
    """20,000 draws: within 4 standard errors of softmax."""
    logits = torch.tensor([[0.0, 1.0, -1.0]]).expand(20_000, 3)
    drawn = gumbel_routing(logits, generator=torch.Generator().manual_seed(0)).weights
    p = logits[0].softmax(-1)
    assert ((drawn.mean(0) - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all()


def test_gumbel_is_a_function_of_its_generator():
    logits = torch.randn(5, 3, requires_grad=True)
    draws = [
        gumbel_routing(logits, hard=False, generator=torch.Generator().manual_seed(seed)).weights
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    draws[0][:, 0].sum().backward()
    assert logits.grad.abs().sum() > 0


def test_routing_drift_has_its_bounds():
    """0 for the same routing, 2 for a sure choice of another module, what new modules take from old ones in between."""
    logits = torch.randn(5, 3, dtype=torch.float64)
    assert routing_drift(logits, logits + 7.0).item() == pytest.approx(0, abs=1e-15)
    one, other = torch.tensor([[50.0, 0, 0]]).double(), torch.tensor([[0.0, 50, 0]]).double()
    assert routing_drift(one, other).item() == pytest.approx(2, rel=1e-12)
    # Two old modules of ½ each, and a new one that takes a third of all: 2 (½ − ⅓)² + (⅓)².
    even = torch.zeros(1, 3, dtype=torch.float64)
    assert routing_drift(even, even[:, :2]).item() == pytest.approx(2 / 36 + 1 / 9, rel=1e-12)
    assert routing_drift(logits, logits, torch.zeros(5, dtype=torch.bool)).item() == 0
