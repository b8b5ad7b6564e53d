"""One small example of everything that Brickwork keeps on disk: how it is made, changed and read.

``read`` gives a value that tells two states apart, and raises only errors of :mod:`brickwork.core.errors` for
what cannot be used.
"""

import contextlib
import hashlib
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkWarning
from brickwork.core.seeding import seed_everything
from brickwork.data.types import Document
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.representation.export_parquet import encode_to_disk, read_vectors
from brickwork.representation.model import Representation, load
from brickwork.training.checkpoint import load_checkpoint, newest_good, save_checkpoint
from brickwork.training.config import TrainConfig
from brickwork.training.optimizers import build_optimizer
from toy_system import Toy, toy_data

_SONG = "the cat sat on a mat while seven small birds sang about rivers and old stone bridges"
WORDS = [*_SONG.split()]


def texts(count: int, seed: int = 0) -> list[str]:
    """Sentences of one to thirty words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


def documents(count: int, first: int = 0) -> list[Document]:
    """Documents with ids ``d<first>`` and on, each with a source and a page."""
    return [
        Document(id=f"d{n}", title=f"title {n}", text=text, source=f"{n % 3}.md", meta={"page": n % 7})
        for n, text in enumerate(texts(count, seed=first + 1), start=first)
    ]


def model(seed: int = 0, **options) -> Representation:
    """An encoder from scratch with random weights: 16 numbers, 2 layers."""
    arguments = {
        "backbone": "scratch",
        "width": 16,
        "num_heads": 2,
        "num_layers": 2,
        "vocab_size": 300,
        "max_tokens": 128,
    }
    seed_everything(seed)
    encoder = build_text_encoder(TextEncoderConfig(**{**arguments, **options}), texts=texts(40))
    axes = ElasticAxes(dims=(4, 8, encoder.embedding_dim), layers=tuple(range(1, encoder.num_layers + 1)))
    return Representation(encoder.eval(), axes, lineage={"system": "toy"}, card={"data": "words"})


def static_model() -> Representation:
    """The mean of token vectors: the fastest encoder."""
    return model(backbone="static", num_layers=None, num_heads=None)


@dataclass(frozen=True)
class Artifact:
    """``make`` writes the first state into a folder that is not there, ``change`` the next; ``read`` tells which it is.

    ``verb`` completes "every call that …".
    """

    name: str
    verb: str
    make: Callable[[Path], None]
    change: Callable[[Path], None]
    read: Callable[[Path], object]


def _trained(steps: int) -> tuple[Toy, torch.optim.Optimizer]:
    system = Toy()
    optimiser = build_optimizer(system, TrainConfig())
    for _ in range(steps):
        optimiser.zero_grad()
        system.loss(system.collate(toy_data().take(range(8)))).total.backward()
        optimiser.step()
    return system, optimiser


def _save_checkpoint(folder: Path, step: int) -> None:
    save_checkpoint(folder, step, *_trained(step), {"note": "x"}, keep=2)


def read_checkpoint(folder: Path) -> object:
    """The step of the newest good checkpoint, after all of it was loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)  # a damaged one was passed over
        path = newest_good(folder)
    return None if path is None else load_checkpoint(path, *_trained(0))["step"]


CHECKPOINT = Artifact(
    "checkpoint",
    "saves a checkpoint",
    make=lambda folder: _save_checkpoint(folder, 1),
    change=lambda folder: _save_checkpoint(folder, 2),
    read=read_checkpoint,
)

MODEL = Artifact(
    "model",
    "saves a model over another",
    make=lambda folder: model(0).save(folder) and None,
    change=lambda folder: model(1).save(folder) and None,
    read=lambda folder: load(folder).fingerprint,
)


def _encode(folder: Path, count: int) -> None:
    encode_to_disk(model(), iter(documents(count)), folder, shard_size=8, precision="fp32")


def _encode_and_stop(folder: Path) -> None:
    """Two shards are finished, and then the input breaks."""

    def broken():
        yield from documents(24)[:17]
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        encode_to_disk(model(), broken(), folder, shard_size=8, precision="fp32")


def read_shards(folder: Path) -> object:
    """How many documents have vectors, and a hash of these."""
    digest, count = hashlib.sha256(), 0
    for ids, vectors in read_vectors(folder):
        digest.update("".join(ids).encode() + np.ascontiguousarray(vectors).tobytes())
        count += len(ids)
    return f"{count} {digest.hexdigest()}"


VECTORS = Artifact(
    "vectors",
    "encodes a shard to Parquet",
    make=_encode_and_stop,
    change=lambda folder: _encode(folder, 24),
    read=read_shards,
)

ALL = (CHECKPOINT, MODEL, VECTORS)
