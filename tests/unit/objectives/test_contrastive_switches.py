"""The switches of InfoNCE, SigLIP and the hinge loss against torch, transformers and sums written out in Python."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from brickwork.objectives.contrastive import LearnedTemperature, hinge, info_nce, siglip
from two_processes import in_two_processes

GROUPS = torch.tensor([0, 1, 2, 0, 1, 3])
KINDS = torch.tensor(
    [[0, 0], [1, 1], [2, 2], [0, 3], [4, 1], [5, 5]]
)  # rows 0 and 3 share the first, 1 and 4 the second


def vectors(rows: int = 6, dim: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, dtype=torch.float64, generator=generator) * 3


def cosines(a: torch.Tensor, p: torch.Tensor) -> np.ndarray:
    """By NumPy, as nothing here is to come from the code under test."""
    a, p = a.detach().numpy(), p.detach().numpy()
    return a @ p.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(p, axis=1)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
@pytest.mark.parametrize("symmetric", [False, True])
def test_label_smoothing_is_that_of_torch(smoothing, symmetric):
    a, p = vectors(seed=1), vectors(seed=2)
    logits = torch.tensor(cosines(a, p)) / 0.2
    wanted = F.cross_entropy(logits, torch.arange(6), label_smoothing=smoothing)
    if symmetric:
        wanted = (wanted + F.cross_entropy(logits.T, torch.arange(6), label_smoothing=smoothing)) / 2
    results = info_nce(a, p, temperature=0.2, label_smoothing=smoothing, symmetric=symmetric)
    torch.testing.assert_close(results, wanted)
    assert results > info_nce(a, p, temperature=0.2, symmetric=symmetric) or smoothing == 0


def test_negatives_take_their_share_of_the_smoothing():
    a, p, n = vectors(seed=1), vectors(seed=2), vectors(3, seed=3)
    logits = torch.tensor(cosines(a, torch.cat([p, n]))) / 0.2
    wanted = F.cross_entropy(logits, torch.arange(6), label_smoothing=0.3)
    torch.testing.assert_close(info_nce(a, p, n, temperature=0.2, label_smoothing=0.3), wanted)


def test_symmetric_is_the_loss_of_transformers_clip():
    """ALIGN's is the same without label smoothing; ``image_loss + caption_loss`` halved, as CLIP does."""
    clip = pytest.importorskip("transformers.models.clip.modeling_clip")
    a, p = vectors(seed=1), vectors(seed=2)
    wanted = clip.image_text_contrastive_loss(torch.tensor(cosines(p, a)) / 0.07)
    torch.testing.assert_close(info_nce(a, p, temperature=0.07, symmetric=True), wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("group", [GROUPS, KINDS], ids=["one kind", "two kinds"])
def test_group_positives_by_hand(group, smoothing):
    """Each row's target is even over its group; groups of two kinds are equal in either."""
    a, p = vectors(seed=1), vectors(seed=2)
    table = group[:, None] if group.ndim == 1 else group

    def by_hand(scores):
        total = 0.0
        for i in range(6):
            mates = [j for j in range(6) if any(x == y for x, y in zip(table[i].tolist(), table[j].tolist()))]
            norm = sum(math.exp(scores[i, j] / 0.3) for j in range(6))
            for j in range(6):
                share = (1 - smoothing) * (j in mates) / len(mates) + smoothing / 6
                total -= share * math.log(math.exp(scores[i, j] / 0.3) / norm)
        return total / 6

    scores = cosines(a, p)
    options = {"temperature": 0.3, "group": group, "group_positives": True, "label_smoothing": smoothing}
    assert info_nce(a, p, **options).item() == pytest.approx(by_hand(scores), rel=1e-12)
    both = (by_hand(scores) + by_hand(scores.T)) / 2
    assert info_nce(a, p, **options, symmetric=True).item() == pytest.approx(both, rel=1e-12)


def test_smoothing_does_not_reach_candidates_that_are_banned():
    a, p = vectors(seed=1).requires_grad_(), vectors(seed=2)
    loss = info_nce(a, p, temperature=0.3, group=GROUPS, label_smoothing=0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(a.grad).all()
    total, scores = 0.0, cosines(a, p)
    for i in range(6):
        allowed = [j for j in range(6) if j == i or GROUPS[i] != GROUPS[j]]
        norm = sum(math.exp(scores[i, j] / 0.3) for j in allowed)
        for j in allowed:
            total -= (0.9 * (i == j) + 0.1 / len(allowed)) * math.log(math.exp(scores[i, j] / 0.3) / norm)
    assert loss.item() == pytest.approx(total / 6, rel=1e-12)


@pytest.mark.parametrize("group", [None, GROUPS, KINDS], ids=["no group", "one kind", "two kinds"])
def test_siglip_by_hand(group):
    a, p = vectors(seed=1), vectors(seed=2)
    total, scores = 0.0, cosines(a, p)
    for i in range(6):
        for j in range(6):
            together = i == j or (group is not None and bool((group[i] == group[j]).any()))
            logit = scores[i, j] / 0.1 - 2.0
            total += math.log1p(math.exp(-logit if together else logit))
    assert siglip(a, p, temperature=0.1, bias=-2.0, group=group).item() == pytest.approx(total / 6, rel=1e-12)


def test_siglip_is_the_loss_of_transformers():
    """``SiglipModel``'s, computed by its own code from given vectors: −Σ log σ(z·logits), averaged over the rows."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = {
        **sizes,
        "vocab_size": 9,
        "max_position_embeddings": 4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = transformers.SiglipConfig(
        text_config=text, vision_config={**sizes, "image_size": 4, "patch_size": 2}
    )
    torch.manual_seed(0)
    model = transformers.SiglipModel(config).eval()
    inputs = {"input_ids": torch.randint(3, 9, (5, 4)), "pixel_values": torch.randn(5, 3, 4, 4)}
    with torch.no_grad():
        results = model(**inputs, return_loss=True)
        # Theirs has a row for each image; the sum over all pairs is the same for a row of each text.
        ours = siglip(
            results.image_embeds,
            results.text_embeds,
            temperature=1 / model.logit_scale.exp(),
            bias=model.logit_bias,
        )
    torch.testing.assert_close(ours, results.loss.reshape(()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("group", [None, GROUPS, KINDS], ids=["no group", "one kind", "two kinds"])
def test_hinge_by_hand(hardest, group):
    a, p = vectors(seed=1), vectors(seed=2)
    total, scores = 0.0, cosines(a, p)
    for i in range(6):
        others = [j for j in range(6) if j != i and (group is None or not bool((group[i] == group[j]).any()))]
        for table in (scores, scores.T):
            wrong = [max(0.0, 0.4 - scores[i, i] + table[i, j]) for j in others]
            total += max(wrong) if hardest else sum(wrong)
    results = hinge(a, p, margin=0.4, hardest=hardest, group=group).item()
    assert results == pytest.approx(total / 6, rel=1e-12)


def test_hinge_of_one_pair_is_zero():
    assert hinge(vectors(1), vectors(1, seed=1), hardest=True).item() == 0
    assert hinge(vectors(1), vectors(1, seed=1)).item() == 0


LOSSES = {
    "info_nce": lambda a, p, t, group: info_nce(
        a, p, temperature=t, group=group, group_positives=True, label_smoothing=0.1, symmetric=True
    ),
    "siglip": lambda a, p, t, group: siglip(a, p, temperature=t, bias=-1.0, group=group),
    "hinge": lambda a, p, t, group: hinge(a, p, group=group) * t / t.detach(),
    "hardest": lambda a, p, t, group: hinge(a, p, hardest=True, group=group) * t / t.detach(),
}


def _results(rows: slice) -> dict[str, list]:
    """Loss and gradients of every objective on these rows of six pairs."""
    results = {}
    for name, objective in LOSSES.items():
        a, p = (vectors(seed=s)[rows].requires_grad_() for s in (1, 2))
        temperature = LearnedTemperature(0.2).double()
        loss = objective(a, p, temperature(), KINDS[rows])
        loss.backward()
        results[name] = [
            loss.item(),
            a.grad.tolist(),
            p.grad.tolist(),
            temperature.log_scale.grad.item(),
        ]
    return results


def _half(process: int) -> dict[str, list]:
    return _results(slice(3 * process, 3 * process + 3))


@pytest.mark.slow
def test_two_processes_equal_one():
    parts = in_two_processes(_half)
    for name, (loss, a, p, temperature) in _results(slice(0, 6)).items():
        first, second = (part[name] for part in parts)
        assert (first[0] + second[0]) / 2 == pytest.approx(loss, rel=1e-9), name
        for place, whole in ((1, a), (2, p)):  # gradients are averaged over processes, as DDP does
            np.testing.assert_allclose(np.concatenate([first[place], second[place]]) / 2, whole, atol=1e-12)
        assert (first[3] + second[3]) / 2 == pytest.approx(temperature, rel=1e-9), name
