"""The switches of InfoNCE against torch's cross-entropy and transformers' CLIP loss, and the self-contrastive term of cMIM
against its formula written out with Python loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from brickwork.objectives.contrastive import info_nce, self_contrastive


def vectors(rows: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, dtype=torch.float64, generator=generator) * 3


def unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x, dim=-1)


def test_label_smoothing_is_that_of_torch():
    a, p, n = (vectors(5, seed=s) for s in (1, 2, 3))
    logits = unit(a) @ unit(torch.cat([p, n])).T / 0.1
    for smoothing in (0.0, 0.1, 0.5):
        expected = F.cross_entropy(logits, torch.arange(5), label_smoothing=smoothing)
        results = info_nce(a, p, n, temperature=0.1, label_smoothing=smoothing)
        torch.testing.assert_close(results, expected, rtol=1e-12, atol=0)
    assert info_nce(a, p, label_smoothing=0.1) != info_nce(a, p)


def test_smoothing_gives_nothing_to_what_is_no_candidate():
    a, p = vectors(4, seed=1), vectors(4, seed=2)
    logits = unit(a) @ unit(p).T / 0.1
    rows = []
    for i in range(4):  # rows 0 and 1 are one group: neither is the other's candidate
        allowed = [j for j in range(4) if j == i or {i, j} != {0, 1}]
        rows.append(F.cross_entropy(logits[i, allowed], torch.tensor(allowed.index(i)), label_smoothing=0.3))
    group = torch.tensor([0, 0, 1, 2])
    results = info_nce(a, p, temperature=0.1, group=group, label_smoothing=0.3)
    torch.testing.assert_close(results, torch.stack(rows).mean(), rtol=1e-12, atol=0)


def test_all_positives_of_a_group_by_hand():
    a, p = vectors(5, seed=1), vectors(5, seed=2)
    group = torch.tensor([0, 1, 0, 2, 0])
    log_p = (unit(a) @ unit(p).T / 0.1).log_softmax(dim=1)
    expected = 0.0
    for i in range(5):
        own = [j for j in range(5) if group[j] == group[i]]
        expected -= sum(log_p[i, j].item() for j in own) / len(own) / 5
    results = info_nce(a, p, temperature=0.1, group=group, group_positives=True)
    assert results.item() == pytest.approx(expected, rel=1e-12)
    assert results != info_nce(a, p, temperature=0.1, group=group)


def test_both_directions_are_transformers_clip_loss():
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    a, p = vectors(8, seed=1), vectors(8, seed=2)
    expected = image_text_contrastive_loss(unit(p) @ unit(a).T / 0.07)
    mean = info_nce(a, p, temperature=0.07, symmetric=True)
    torch.testing.assert_close(mean, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(info_nce(a, p, temperature=0.07, symmetric="sum"), 2 * expected)
    assert info_nce(a, p, temperature=0.07) != mean


def self_contrast_by_hand(z: torch.Tensor, tau: float) -> float:
    """−log p(k=1) with p = e^{1/τ} / (e^{1/τ} + mean_{j≠i} e^{c_ij/τ}), as the paper writes it."""
    total = 0.0
    for i in range(len(z)):
        cosines = [float(z[i] @ z[j] / z[i].norm() / z[j].norm()) for j in range(len(z)) if j != i]
        own = math.exp(1 / tau)
        others = sum(math.exp(c / tau) for c in cosines) / len(cosines)
        total -= math.log(own / (own + others))
    return total / len(z)


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0])
def test_self_contrast_by_hand(tau):
    z = vectors(7)
    assert self_contrastive(z, temperature=tau).item() == pytest.approx(
        self_contrast_by_hand(z, tau), rel=1e-10
    )


def test_self_contrast_lies_between_zero_and_log_two():
    same = vectors(1).repeat(6, 1)
    assert self_contrastive(same).item() == pytest.approx(math.log(2), rel=1e-12)
    opposed = torch.cat([vectors(1), -vectors(1)])
    assert self_contrastive(opposed).item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_the_mean_form_does_not_know_the_batch_size_and_the_sum_form_does():
    # Two directions, half of the codes each; among the others of a code, n/2 − 1 have its own and n/2 the other one.
    def halves(n: int) -> torch.Tensor:
        return torch.eye(2, dtype=torch.float64).repeat(n // 2, 1)

    for n in (64, 4096):
        share = (n / 2 - 1) / (n - 1)
        expected = math.log1p(share + (1 - share) * math.exp(-2))
        assert self_contrastive(halves(n), temperature=0.5).item() == pytest.approx(expected, rel=1e-10)
    total = math.log1p(31 + 32 * math.exp(-2))
    assert self_contrastive(halves(64), temperature=0.5, form="sum").item() == pytest.approx(total, rel=1e-10)


def test_two_close_codes_are_moved_apart():
    z = torch.tensor([[1.0, 0.1], [1.0, -0.1]], dtype=torch.float64, requires_grad=True)
    self_contrastive(z, temperature=0.1).backward()
    moved = z.detach() - 0.1 * z.grad
    before, after = (F.cosine_similarity(pair[0], pair[1], dim=0) for pair in (z.detach(), moved))
    assert after < before


def test_a_single_code_has_no_term_and_no_gradient():
    z = vectors(1).requires_grad_()
    loss = self_contrastive(z)
    loss.backward()
    assert loss.item() == 0
    assert not z.grad.any()


def test_self_contrast_computes_in_float32_under_autocast():
    z = vectors(8).float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = self_contrastive(z)
    assert torch.equal(mixed, self_contrastive(z))
