"""Divergences by hand, and the classification loss by its formula."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.distillation import Sparse, feature_kl, kl_to, mse, principal_target, soft_labels


def random(rows: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_feature_kl_by_hand(temperature):
    teacher, student = random(3, 4, 0), random(3, 4, 1)
    total = 0.0
    for t, s in zip(teacher.tolist(), student.tolist()):
        p = np.exp(np.array(t) / temperature)
        q = np.exp(np.array(s) / temperature)
        p, q = p / p.sum(), q / q.sum()
        total += sum(p * np.log(p / q))
    assert feature_kl(teacher, student, temperature=temperature).item() == pytest.approx(total / 3, rel=1e-12)


def test_feature_kl_gradient_reaches_the_teacher_only_when_asked():
    for detach in (True, False):
        teacher, student = random(3, 4, 0).requires_grad_(), random(3, 4, 1).requires_grad_()
        feature_kl(teacher, student, detach_teacher=detach).backward()
        assert student.grad.any()
        assert (teacher.grad is None) == detach


def test_unit_vectors_are_almost_uniform():
    # Sheet, gotchas: with unit-norm vectors and T = 1 the term is close to nothing.
    teacher, student = (torch.nn.functional.normalize(random(8, 384, s), dim=1) for s in (0, 1))
    assert feature_kl(teacher, student).item() < 0.01
    assert feature_kl(teacher * 20, student * 20).item() > 0.1


def test_mse_by_hand():
    teacher, student = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]]).requires_grad_()
    loss = mse(teacher, student)
    loss.backward()
    assert loss.item() == (4 + 9) / 2
    assert student.grad.tolist() == [[2.0, 3.0]]


def test_principal_target_spans_the_leading_singular_directions():
    x = random(10, 6, 0)
    similarity = torch.softmax(x.T @ x / 6**0.5, dim=-1).numpy()
    u, s, _ = np.linalg.svd(similarity)
    target = principal_target(x, 2).numpy()
    for column in range(2):
        direction = u[:, column] * np.sign(u[:, column].sum())
        np.testing.assert_allclose(target[:, column], x.numpy() @ direction * s[column], rtol=1e-9)


def test_principal_target_has_no_gradient():
    assert not principal_target(random(4, 6, 0).requires_grad_(), 2).requires_grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(smoothing):
    logits, label = [[1.0, 2.0, -1.0], [0.5, 0.0, 0.0]], [1, 2]
    total = 0.0
    for row, y in zip(logits, label):
        norm = math.log(sum(math.exp(v) for v in row))
        for c, v in enumerate(row):
            total -= ((1 - smoothing) * (c == y) + smoothing / 3) * (v - norm)
    loss = cross_entropy(torch.tensor(logits), torch.tensor(label), label_smoothing=smoothing)
    assert loss.item() == pytest.approx(total / 2, rel=1e-6)


# ---- distillation of labels -------------------------------------------------------------------------------------------


def test_kl_to_is_torchs_kl_div():
    """torch.nn.functional.kl_div on the same probabilities; the mean of its entries is our `numel`, C times smaller."""
    teacher, student = torch.randn(6, 5), torch.randn(6, 5)
    p = soft_labels(teacher, 4.0)
    log_q = torch.log_softmax(student / 4.0, -1)
    expected = 16 * F.kl_div(log_q, p, reduction="batchmean")
    torch.testing.assert_close(kl_to(p, student, temperature=4.0), expected)
    numel = kl_to(p, student, temperature=4.0, reduction="numel")
    torch.testing.assert_close(numel, 16 * F.kl_div(log_q, p, reduction="none").mean())
    torch.testing.assert_close(5 * numel, expected)


def test_sparse_targets_are_dense_ones_with_zeros():
    student = torch.randn(3, 7)
    ids = torch.tensor([[0, 2], [6, 1], [3, 4]])
    probs = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.5, 0.5]])
    dense = torch.zeros(3, 7).scatter(1, ids, probs)
    torch.testing.assert_close(kl_to(Sparse(ids, probs), student), kl_to(dense, student))
    hard = kl_to(Sparse(ids[:, :1], torch.ones(3, 1)), student)
    torch.testing.assert_close(hard, F.cross_entropy(student, ids[:, 0]))


def test_a_student_that_agrees_has_no_loss_and_no_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = kl_to(soft_labels(logits, 10.0), logits, temperature=10.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(logits.grad, torch.zeros(4, 3), atol=1e-6, rtol=0)
