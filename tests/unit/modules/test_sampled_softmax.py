"""Losses with drawn words: against torch's cross-entropy, sums written out, and shares of a table."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from brickwork.core.errors import ConfigError
from brickwork.modules.sampled_softmax import (
    AliasTable,
    count_cross_entropy,
    log_uniform,
    negative_sampling,
    sampled_softmax,
)

V, D = 12, 5


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, D, dtype=torch.float64, generator=generator)
    words = torch.randn(V, D, dtype=torch.float64, generator=generator)
    bias = torch.randn(V, dtype=torch.float64, generator=generator)
    labels = torch.tensor([[3, -1], [0, 11], [5, 5], [-1, -1]])
    return hidden, labels, words, bias


def test_with_every_word_drawn_it_is_the_full_cross_entropy(case):
    hidden, labels, words, bias = case
    every = torch.arange(V).repeat(3)
    loss = sampled_softmax(hidden, labels, words, every, torch.zeros(V, dtype=torch.float64), bias)
    logits = (hidden @ words.T + bias).repeat_interleave(2, 0)
    expected = F.cross_entropy(logits, labels.flatten(), ignore_index=-1, reduction="none")
    torch.testing.assert_close(loss.flatten(), expected)


def test_few_drawn_words_by_the_formula(case):
    hidden, labels, words, bias = case
    q = torch.rand(V, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    q = q / q.sum()
    drawn = torch.tensor([3, 7, 7, 1])
    expected = (1 - (1 - q) ** 4).log()
    loss = sampled_softmax(hidden, labels, words, drawn, expected, bias)
    for row in range(4):
        for place, label in enumerate(labels[row].tolist()):
            if label < 0:
                assert loss[row, place] == 0
                continue
            s = [float(hidden[row] @ words[w] + bias[w]) - float(expected[w]) for w in range(V)]
            rivals = [math.exp(s[w]) for w in (1, 3, 7) if w != label]
            assert float(loss[row, place]) == pytest.approx(
                -s[label] + math.log(math.exp(s[label]) + sum(rivals))
            )


def test_its_expectation_is_least_where_scores_are_the_logarithms_of_shares():
    """With one drawn word, P(label a | the two are a and b) = p_a q_b / (p_a q_b + p_b q_a), which the corrected scores
    give for s = ln p: so the gradient over all labels and draws is 0 there, and is not without the correction."""
    p = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.04, 0.01], dtype=torch.float64)
    table = AliasTable(np.array([1, 3, 2, 4, 1, 2]))

    def gradient(log_expected):
        scores = p.log().requires_grad_()
        for word, often in enumerate(table.log_expected(1).exp()):
            loss = sampled_softmax(
                torch.ones(6, 1).double(),
                torch.arange(6)[:, None],
                scores[:, None],
                torch.tensor([word]),
                log_expected,
            )
            (often * (p * loss[:, 0]).sum()).backward()
        return scores.grad

    torch.testing.assert_close(
        gradient(table.log_expected(1).double()), torch.zeros(6).double(), atol=1e-7, rtol=0
    )
    assert gradient(torch.zeros(6).double()).abs().max() > 0.01


def test_only_what_was_drawn_has_a_gradient(case):
    hidden, labels, words, bias = case
    words = words.requires_grad_()
    drawn = torch.tensor([2, 9])
    uniform = torch.full((V,), -1.0, dtype=torch.float64)
    sampled_softmax(hidden, labels, words, drawn, uniform, bias).sum().backward()
    assert set(words.grad.abs().sum(1).nonzero()[:, 0].tolist()) == {0, 2, 3, 5, 9, 11}


def test_negative_sampling_written_out(case):
    hidden, labels, words, _ = case
    drawn = torch.randint(V, (4, 2, 3), generator=torch.Generator().manual_seed(2))
    drawn[0, 0, 0] = 3  # the label itself
    loss = negative_sampling(hidden, labels, words, drawn)
    for row in range(4):
        for place, label in enumerate(labels[row].tolist()):
            expected = 0.0
            if label >= 0:
                expected = -math.log(1 / (1 + math.exp(-float(hidden[row] @ words[label]))))
                for n in drawn[row, place].tolist():
                    if n != label:
                        expected -= math.log(1 / (1 + math.exp(float(hidden[row] @ words[n]))))
            assert float(loss[row, place]) == pytest.approx(expected)


@pytest.mark.parametrize("weights", [[1.0], [5, 1, 0, 4], list(range(100)), np.array([1e-9, 1.0])])
def test_the_table_holds_each_words_share_exactly(weights):
    table = AliasTable(np.asarray(weights))
    share = table._own.double().clone()
    share.scatter_add_(0, table._other, 1 - table._own.double())
    expected = np.asarray(weights, float) / np.sum(weights)
    np.testing.assert_allclose(share / len(share), expected, atol=1e-7)
    for count in (1, 7):
        np.testing.assert_allclose(table.log_expected(count).exp(), 1 - (1 - expected) ** count, atol=1e-6)


def test_draws_follow_the_shares_and_the_generator():
    weights = np.arange(10)
    table = AliasTable(weights)
    drawn = table.draw(90_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=10).numpy()
    expected = weights / weights.sum() * 90_000
    assert counts[0] == 0
    assert ((counts - expected)[1:] ** 2 / expected[1:]).sum() < 27.9  # χ² of 9, p = .001
    assert torch.equal(drawn, table.draw(90_000, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [1, math.nan], [math.inf, 1]])
def test_weights_that_nothing_can_be_drawn_by(weights):
    with pytest.raises(ConfigError):
        AliasTable(np.asarray(weights))


def test_log_uniform_shares():
    """TensorFlow's documentation of its log-uniform sampler: P(r) = (ln(r + 2) − ln(r + 1)) / ln(V + 1)."""
    weights = log_uniform(50)
    np.testing.assert_allclose(
        weights / weights.sum(), [math.log((r + 2) / (r + 1)) / math.log(51) for r in range(50)]
    )


def test_the_loss_of_counts_is_that_of_each_word_by_itself():
    logits = torch.randn(2, V, dtype=torch.float64)
    texts = [[1, 1, 4], [0, 9, 9, 9, 2]]
    counts = torch.stack([torch.bincount(torch.tensor(t), minlength=V) for t in texts]).double()
    expected = [
        F.cross_entropy(logits[i].expand(len(t), -1), torch.tensor(t), reduction="sum")
        for i, t in enumerate(texts)
    ]
    torch.testing.assert_close(count_cross_entropy(logits, counts), torch.stack(expected))
