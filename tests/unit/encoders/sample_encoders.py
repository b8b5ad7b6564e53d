"""A small text encoder, built in milliseconds."""

import torch

from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
from brickwork.encoders.text import TextEncoder

TEXTS = [f"def function_{i}(value): return value + {i}" for i in range(40)] + [
    "The quick brown fox jumps over the lazy dog.",
    "Reading and writing files with the standard library of Python",
    "Ein größeres Beispiel mit Umlauten und 数字 123",
]


def build_small(**changes) -> TextEncoder:
    """A small encoder from scratch, fresh at every call."""
    torch.manual_seed(0)
    options = {"backbone": "scratch", "vocab_size": 400, "width": 16, "num_heads": 2, "num_layers": 3}
    config = TextEncoderConfig(**{**options, "max_tokens": 16, **changes})
    return build_text_encoder(config, TEXTS).eval()
