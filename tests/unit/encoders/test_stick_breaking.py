"""Stick-breaking attention against the naive product and the authors' matrix form, rotary positions against transformers."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.encoders.blocks.causal import KeyValues, alibi_slopes, attend, rotate, visible_keys
from brickwork.encoders.blocks.stick_breaking import stick_breaking_attention, stick_breaking_weights


def causal(length, *, current=True):
    return visible_keys(length, length, attend_current=current, device=torch.device("cpu"))[0]


def naive(scores, visible):
    """β_ij Π_{j<l≤i} (1 − β_il), one number at a time."""
    beta = scores.sigmoid()
    weights = torch.zeros_like(scores)
    left = torch.ones(scores.shape[0], dtype=scores.dtype)
    for i in range(scores.shape[0]):
        for j in reversed(range(scores.shape[1])):
            if visible[i, j]:
                weights[i, j] = beta[i, j] * left[i]
                left[i] = left[i] * (1 - beta[i, j])
    return weights, left


@pytest.mark.parametrize("current", [True, False])
def test_weights_are_the_naive_product(current):
    scores = 3 * torch.randn(9, 9, dtype=torch.float64)
    visible = causal(9, current=current)
    weights, left = stick_breaking_weights(scores, visible)
    expected, rest = naive(scores, visible)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(left, rest, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(weights.sum(-1) + left, torch.ones(9, dtype=torch.float64), rtol=1e-12, atol=0)


def test_weights_are_the_authors_matrix_form():
    """log a = log β + (log(1 − β) masked) times a strictly lower-triangular matrix of ones: the O(T³) form."""
    scores = torch.randn(12, 12, dtype=torch.float64)
    visible = causal(12)
    passed = torch.nn.functional.logsigmoid(-scores).masked_fill(~visible, 0)
    log_a = torch.nn.functional.logsigmoid(scores) + passed @ torch.ones(12, 12, dtype=torch.float64).tril(-1)
    expected = log_a.exp().masked_fill(~visible, 0)
    torch.testing.assert_close(stick_breaking_weights(scores, visible)[0], expected, rtol=1e-12, atol=1e-14)


def test_zero_scores_halve_the_stick():
    """At step 0 of training β = ½, and the weights are pure recency: ½, ¼, ⅛ …"""
    weights, left = stick_breaking_weights(torch.zeros(4, 4, dtype=torch.float64), causal(4))
    assert weights[3].tolist() == pytest.approx([1 / 16, 1 / 8, 1 / 4, 1 / 2], rel=1e-14)
    assert left[3].item() == pytest.approx(1 / 16, rel=1e-14)


def test_extreme_scores_stay_finite():
    scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    weights, left = stick_breaking_weights(scores, causal(2))
    assert weights.tolist() == [[1, 0], [0, 1]]
    (weights.sum() + left.sum()).backward()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("current", [True, False])
def test_gradcheck(current):
    scores = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    visible = causal(5, current=current)
    assert torch.autograd.gradcheck(lambda e: stick_breaking_weights(e, visible), (scores,))


@pytest.mark.parametrize("remainder", ["drop", "self_value"])
def test_attention_by_hand(remainder):
    """Two heads, two queries of each token over shared keys."""
    q = torch.randn(1, 2, 2, 6, 4, dtype=torch.float64)
    k, v = torch.randn(2, 1, 2, 6, 4, dtype=torch.float64)
    results = stick_breaking_attention(q, k, v, causal(6)[None], remainder=remainder)
    for head in range(2):
        for shared in range(2):
            weights, left = naive(q[0, head, shared] @ k[0, head].T / 2, causal(6))
            expected = weights @ v[0, head]
            if remainder == "self_value":
                expected = expected + left[:, None] * v[0, head]
            torch.testing.assert_close(results[0, head, shared], expected, rtol=1e-12, atol=1e-12)


def test_sink_by_hand():
    """Every head's own vector takes what is left of the stick, as if it were the value of a key older than all."""
    q = torch.randn(1, 2, 2, 6, 4, dtype=torch.float64)
    k, v = torch.randn(2, 1, 2, 6, 4, dtype=torch.float64)
    sink = torch.randn(2, 4, dtype=torch.float64)
    seen = causal(6, current=False)
    results = stick_breaking_attention(q, k, v, seen[None], remainder="sink", sink=sink)
    for head in range(2):
        for shared in range(2):
            weights, left = naive(q[0, head, shared] @ k[0, head].T / 2, seen)
            expected = weights @ v[0, head] + left[:, None] * sink[head]
            torch.testing.assert_close(results[0, head, shared], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("remainder", ["self_value", "sink"])
def test_weights_and_remainder_sum_to_one(remainder):
    """Where all values are 1 (and the sink's too), so is the output; dropping the remainder gives less."""
    q, k = torch.randn(1, 2, 3, 6, 4, dtype=torch.float64), torch.randn(1, 2, 6, 4, dtype=torch.float64)
    ones = torch.ones(1, 2, 6, 4, dtype=torch.float64)
    results = stick_breaking_attention(q, k, ones, causal(6)[None], remainder=remainder, sink=ones[0, :, 0])
    torch.testing.assert_close(results, torch.ones_like(results), rtol=1e-12, atol=0)
    assert (stick_breaking_attention(q, k, ones, causal(6)[None]) < 1).all()


def test_sink_gradcheck():
    q = torch.randn(1, 2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    sink = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    seen = causal(4)[None]
    assert torch.autograd.gradcheck(
        lambda *t: stick_breaking_attention(*t[:3], seen, remainder="sink", sink=t[3]), (q, k, v, sink)
    )


def test_sink_without_its_vectors_is_refused():
    q, k = torch.zeros(1, 1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    with pytest.raises(ConfigError, match="needs sink"):
        stick_breaking_attention(q, k, k, causal(2)[None], remainder="sink")


# ---- positions and what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {"position": "stick"},
        {"position": "stick", "attend_current": False, "remainder": "self_value"},
        {"position": "stick", "remainder": "sink", "sink": torch.tensor([[1.0, 2, 3, 4]] * 2).double()},
        {"position": "rope"},
        {"position": "alibi"},
    ],
    ids=["stick", "stick strict", "stick sink", "rope", "alibi"],
)
def test_a_token_at_a_time_is_the_same_as_all_at_once(form):
    q = torch.randn(2, 2, 3, 7, 4, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, 7, 4, dtype=torch.float64)
    whole, kept = attend(q, k, v, None, **form)
    past: KeyValues | None = None
    for start, stop in ((0, 3), (3, 4), (4, 7)):
        part, past = attend(q[..., start:stop, :], k[:, :, start:stop], v[:, :, start:stop], past, **form)
        torch.testing.assert_close(part, whole[..., start:stop, :])
    assert past.seen == kept.seen == 7
    torch.testing.assert_close(past.k, kept.k)
    assert past.last(3).k.shape[2] == 3


@pytest.mark.parametrize("position", ["stick", "rope", "alibi"])
def test_nothing_sees_what_comes_later(position):
    q = torch.randn(1, 2, 1, 6, 4)
    k, v = torch.randn(2, 1, 2, 6, 4)
    before, _ = attend(q, k, v, None, position=position)
    k[:, :, 4:], v[:, :, 4:] = 9.0, -9.0
    after, _ = attend(q, k, v, None, position=position)
    assert torch.equal(before[..., :4, :], after[..., :4, :])
    assert not torch.equal(before[..., 4:, :], after[..., 4:, :])


def test_rotation_is_that_of_transformers():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(hidden_size=16, num_attention_heads=2, head_dim=8)
    x = torch.randn(1, 2, 11, 8)
    position = torch.arange(3, 14)
    cos, sin = LlamaRotaryEmbedding(config)(x, position[None])
    expected, _ = apply_rotary_pos_emb(x, x, cos, sin)
    torch.testing.assert_close(rotate(x, position), expected, rtol=1e-5, atol=1e-5)


def test_alibi_slopes_of_the_paper():
    """Eight heads: 1/2, 1/4 … 1/256 (Press et al., section 3)."""
    assert alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]


def test_alibi_is_a_softmax_with_a_penalty():
    q = torch.randn(1, 2, 1, 5, 4, dtype=torch.float64)
    k, v = torch.randn(2, 1, 2, 5, 4, dtype=torch.float64)
    results, _ = attend(q, k, v, None, position="alibi")
    distance = torch.arange(5)[:, None] - torch.arange(5)
    for head, slope in enumerate((2.0**-4, 2.0**-8)):
        scores = q[0, head, 0] @ k[0, head].T / 2 - slope * distance
        expected = scores.masked_fill(distance < 0, float("-inf")).softmax(-1) @ v[0, head]
        torch.testing.assert_close(results[0, head, 0], expected)
