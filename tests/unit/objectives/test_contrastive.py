"""InfoNCE, CoSENT and AnglE against sentence-transformers and against the formulas, element by element."""

import math

import pytest
import torch

from brickwork.objectives.contrastive import LearnedTemperature, angle, cosent, info_nce
from two_processes import in_two_processes


def vectors(rows: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, dtype=torch.float64, generator=generator) * 3


@pytest.fixture
def peer_losses():
    from sentence_transformers.sentence_transformer import losses

    return losses


def by_hand(anchor, candidates, own, allowed, temperature):
    """Mean over rows of −log softmax, with Python loops."""
    total = 0.0
    for i in range(len(anchor)):
        scores = []
        for j in range(len(candidates)):
            cosine = anchor[i] @ candidates[j] / (anchor[i].norm() * candidates[j].norm())
            scores.append(math.exp(cosine / temperature) if allowed(i, j) else 0.0)
        total -= math.log(scores[own(i)] / sum(scores))
    return total / len(anchor)


def test_info_nce_by_hand():
    a, p = vectors(5, seed=1), vectors(5, seed=2)
    expected = by_hand(a, p, lambda i: i, lambda i, j: True, 0.1)
    assert info_nce(a, p, temperature=0.1).item() == pytest.approx(expected, rel=1e-12)


def test_info_nce_leaves_out_positives_of_the_same_group():
    a, p = vectors(5, seed=1), vectors(5, seed=2)
    group = torch.tensor([0, 1, 0, 2, 0])
    expected = by_hand(a, p, lambda i: i, lambda i, j: i == j or group[i] != group[j], 0.1)
    assert info_nce(a, p, temperature=0.1, group=group).item() == pytest.approx(expected, rel=1e-12)
    backward = by_hand(p, a, lambda i: i, lambda i, j: i == j or group[i] != group[j], 0.1)
    both = info_nce(a, p, temperature=0.1, group=group, symmetric=True).item()
    assert both == pytest.approx((expected + backward) / 2, rel=1e-12)


def test_info_nce_equals_multiple_negatives_ranking(peer_losses):
    a, p, n = (vectors(8, seed=s).float() for s in (1, 2, 3))
    peer = peer_losses.MultipleNegativesRankingLoss(None, scale=20.0)
    for negative in (None, n):
        columns = [a, p] if negative is None else [a, p, negative]
        expected = peer.compute_loss_from_embeddings(columns, None)
        torch.testing.assert_close(info_nce(a, p, negative, temperature=1 / 20), expected)


def test_info_nce_symmetric_equals_the_peer(peer_losses):
    a, p = vectors(8, seed=1).float(), vectors(8, seed=2).float()
    peer = peer_losses.MultipleNegativesRankingLoss(
        None, scale=20.0, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    expected = peer.compute_loss_from_embeddings([a, p], None)
    torch.testing.assert_close(info_nce(a, p, temperature=1 / 20, symmetric=True), expected)


def test_info_nce_of_one_pair_is_zero_and_differentiable():
    a = vectors(1).requires_grad_()
    loss = info_nce(a, vectors(1, seed=1))
    loss.backward()
    assert loss.item() == 0
    assert not a.grad.any()


def test_info_nce_computes_in_float32_under_autocast():
    a, p = vectors(8, seed=1).float(), vectors(8, seed=2).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(a, p), info_nce(a, p).float())
        mixed = info_nce(a, p)
    assert torch.equal(mixed, info_nce(a, p))
    assert info_nce(a.bfloat16(), p.bfloat16()).dtype == torch.float32


def test_length_of_vectors_does_not_matter():
    a, p = vectors(5, seed=1), vectors(5, seed=2)
    torch.testing.assert_close(info_nce(a * 7, p * 0.1), info_nce(a, p))


@pytest.mark.parametrize("score", [[0.1, 0.9, 0.9, 0.4, 0.1, 1.0], [0.5] * 6])
@pytest.mark.parametrize("dim", [6, 5])
def test_cosent_and_angle_equal_the_peer(peer_losses, score, dim):
    a, p, score = vectors(6, dim, 1).float(), vectors(6, dim, 2).float(), torch.tensor(score)
    for ours, theirs in ((cosent, peer_losses.CoSENTLoss), (angle, peer_losses.AnglELoss)):
        expected = theirs(torch.nn.Identity(), scale=20.0).compute_loss_from_embeddings([a, p], score)
        torch.testing.assert_close(ours(a, p, score), expected, atol=1e-5, rtol=1e-5)


def test_angle_is_the_complex_quotient():
    # AnglE, eq. 5–8: z / w of the halves as complex numbers, times |w| / |z|; both parts summed.
    a, p = vectors(2, 6, 1), vectors(2, 6, 2)
    measures = []
    for x, y in zip(a, p):
        z, w = torch.complex(x[:3], x[3:]), torch.complex(y[:3], y[3:])
        quotient = z * w.conj() / (z.abs().square().sum().sqrt() * w.abs().square().sum().sqrt())
        measures.append(abs((quotient.real + quotient.imag).sum().item()))
    expected = math.log(1 + math.exp(20 * (measures[1] - measures[0])))
    assert angle(a, p, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected, rel=1e-12)


def _gathered_gradients(process: int) -> tuple[float, list]:
    rows = slice(3 * process, 3 * process + 3)
    a, p, n = (vectors(6, seed=s)[rows].requires_grad_() for s in (1, 2, 3))
    group = torch.tensor([0, 1, 2, 0, 1, 3])[rows]
    loss = info_nce(a, p, n, group=group, symmetric=True)
    loss.backward()
    return loss.item(), [x.grad.tolist() for x in (a, p, n)]


@pytest.mark.slow
def test_two_processes_equal_one():
    results = in_two_processes(_gathered_gradients)
    a, p, n = (vectors(6, seed=s).requires_grad_() for s in (1, 2, 3))
    loss = info_nce(a, p, n, group=torch.tensor([0, 1, 2, 0, 1, 3]), symmetric=True)
    loss.backward()
    assert sum(loss for loss, _ in results) / 2 == pytest.approx(loss.item(), rel=1e-12)
    for i, x in enumerate((a, p, n)):
        both = torch.tensor(results[0][1][i] + results[1][1][i], dtype=torch.float64) / 2  # as DDP averages
        torch.testing.assert_close(both, x.grad)


def test_a_learned_temperature_stays_positive_and_comes_back():
    """exp(−s), s clamped at log 100 in use (CLIP, section 2.5): beyond it the value stands and the gradient goes on."""
    temperature = LearnedTemperature(0.07)
    assert temperature().item() == pytest.approx(0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(50.0)
    value = temperature()
    assert value.item() == pytest.approx(0.01, rel=1e-4)
    value.backward()
    assert temperature.log_scale.grad.item() == pytest.approx(-0.01, rel=1e-4)
    with pytest.raises(ValueError, match="cannot start below"):
        LearnedTemperature(0.001)
