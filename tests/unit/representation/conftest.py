"""Tiny encoders with weights that are far from zero everywhere, and texts of many lengths."""

import random

import numpy as np
import pytest
import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.seeding import seed_everything
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.model import Representation

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "seven",
    "small",
    "birds",
    "sang",
    "about",
    "rivers",
    "and",
    "old",
    "stone",
    "bridges",
]


def make_texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


def shake(module: torch.nn.Module) -> None:
    """Random biases and norms too: zeros and ones would hide a term that is left out."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def make_representation(**config) -> Representation:
    seed_everything(0)
    arguments = {"backbone": "scratch", "width": 32, "num_layers": 3, "vocab_size": 400, "max_tokens": 48}
    encoder = build_text_encoder(TextEncoderConfig(**{**arguments, **config}), texts=make_texts(50))
    shake(encoder)
    axes = ElasticAxes(dims=(8, 16, encoder.embedding_dim), layers=tuple(range(1, encoder.num_layers + 1)))
    return Representation(encoder.eval(), axes, lineage={"system": "matryoshka-2d"}, card={"data": "words"})


@pytest.fixture
def texts() -> list[str]:
    return make_texts(37)


@pytest.fixture
def model() -> Representation:
    return make_representation()


@pytest.fixture
def static_model() -> Representation:
    return make_representation(backbone="static", num_layers=None)


@pytest.fixture
def image_model() -> Representation:
    seed_everything(0)
    encoder = ImageEncoder(ImageEncoderConfig(embedding_dim=16, width=4, depth=2), (8, 8, 3))
    return Representation(encoder.eval(), ElasticAxes(dims=(4, 16), layers=(1,)))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
