"""Search from texts to images and back, and classification of images by texts alone (zero-shot).

Shape legend: N texts, M images, C classes, D dimensions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from brickwork.representation.nearest import top_k
from brickwork.representation.truncate import truncate

PROMPTS = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "there is a {}",
    "an image of the {}",
    "a small {}",
    "a large {}",
)
"""Prompts for :func:`zero_shot`, in the manner of CLIP (Radford et al. 2021, section 3.1.4): the first is a name alone."""


def cross_modal_recall(
    images: Float[np.ndarray, "images dim"],
    texts: Float[np.ndarray, "texts dim"],
    image_of: Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """The share of texts whose image is among the first k, and of images one of whose texts is.

    Shapes: unit vectors (M, D) and (N, D); ``image_of`` gives the image of each text. Names are
    ``text_to_image_recall@k`` and ``image_to_text_recall@k``; an image without a text does not count.
    """
    of = np.asarray(image_of, dtype=np.int64)
    deepest = max(ks)
    _, image_ranks = top_k(texts, images, min(deepest, len(images)))
    _, text_ranks = top_k(images, texts, min(deepest, len(texts)))
    images_with_text = np.unique(of)
    recalls = {}
    for k in ks:
        recalls[f"text_to_image_recall@{k}"] = float((image_ranks[:, :k] == of[:, None]).any(1).mean())
        right = of[text_ranks[:, :k]] == np.arange(len(images))[:, None]
        recalls[f"image_to_text_recall@{k}"] = float(right.any(1)[images_with_text].mean())
    return recalls


def zero_shot(
    model: Any,
    names: Sequence[str],
    images: Float[np.ndarray, "images dim"],
    prompts: Sequence[str] = PROMPTS,
) -> tuple[Int[np.ndarray, " images"], Float[np.ndarray, "images classes"]]:
    """The class of each image, and the cosines with all classes.

    A class is the normalised mean of the unit vectors of its name in each of ``prompts``; images are vectors (M, D) of
    ``model``, whose ``encode`` takes the texts  (ALIGN, section 5.3; CLIP, section 3.1.4).
    """
    prompt_vectors = model.encode([prompt.replace("{}", name) for name in names for prompt in prompts])
    classes = truncate(
        np.asarray(prompt_vectors).reshape(len(names), len(prompts), -1).mean(1), prompt_vectors.shape[1]
    )
    scores = truncate(images, images.shape[1]) @ classes.T
    return scores.argmax(1), scores
