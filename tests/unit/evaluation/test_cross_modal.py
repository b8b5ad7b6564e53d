"""Recall between images and texts, and classes by their names, against counting by hand and torchmetrics."""

import numpy as np
import pytest
import torch

from brickwork.evaluation.cross_modal import PROMPTS, cross_modal_recall, zero_shot


def unit(rows: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    results = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return results / np.linalg.norm(results, axis=1, keepdims=True)


def test_recall_by_hand():
    """30 images, the first 25 with 1 to 3 texts; images without one are distractors and do not count."""
    rng = np.random.default_rng(1)
    of = [number for number in range(25) for _ in range(rng.integers(1, 4))]
    images, texts = unit(30), unit(len(of), seed=2)
    scores = texts @ images.T
    results = cross_modal_recall(images, texts, of, (1, 3, 10))
    for k in (1, 3, 10):
        right = [of[row] in np.argsort(-scores[row])[:k] for row in range(len(of))]
        back = [
            any(of[text] == number for text in np.argsort(-scores[:, number])[:k]) for number in range(25)
        ]
        assert results[f"text_to_image_recall@{k}"] == pytest.approx(np.mean(right))
        assert results[f"image_to_text_recall@{k}"] == pytest.approx(np.mean(back))


def test_recall_is_that_of_torchmetrics():
    metrics = pytest.importorskip(
        "torchmetrics.retrieval", reason="torchmetrics is not installed (extra 'dev')"
    )
    images, texts = unit(20), unit(20, seed=3)
    scores = torch.tensor(texts @ images.T)
    rows = torch.arange(20)[:, None].expand(20, 20)
    target = torch.eye(20, dtype=torch.bool)
    results = cross_modal_recall(images, texts, range(20), (5,))
    for name, table in (("text_to_image", scores), ("image_to_text", scores.T)):
        wanted = metrics.RetrievalRecall(top_k=5)(table.flatten(), target.flatten(), rows.flatten())
        assert results[f"{name}_recall@5"] == pytest.approx(wanted.item())


def test_more_places_than_images():
    results = cross_modal_recall(unit(3), unit(3, seed=1), range(3), (1, 10))
    assert results["text_to_image_recall@10"] == results["image_to_text_recall@10"] == 1.0


class Words:
    """A model whose vectors depend on the text alone."""

    def encode(self, texts):
        return np.stack([unit(1, seed=sum(map(ord, text)))[0] for text in texts])


def test_zero_shot_by_hand():
    names, images = ["dog", "cat {x}", "house"], unit(40, seed=5)
    best, scores = zero_shot(Words(), names, images)
    for column, name in enumerate(names):
        mean = np.mean([Words().encode([prompt.replace("{}", name)])[0] for prompt in PROMPTS], axis=0)
        np.testing.assert_allclose(scores[:, column], images @ (mean / np.linalg.norm(mean)), atol=1e-6)
    assert np.array_equal(best, scores.argmax(1))
    assert set(best.tolist()) == {0, 1, 2}
