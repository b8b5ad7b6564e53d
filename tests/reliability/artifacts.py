"""One small example of everything that Brickwork keeps on disk: how it is made, changed and read.

``read`` gives a value that tells two states apart, and raises only errors of :mod:`brickwork.core.errors` for
what cannot be used.
"""

import contextlib
import functools
import hashlib
import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkWarning
from brickwork.core.files import checksum
from brickwork.core.seeding import seed_everything
from brickwork.data.types import Document
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.index.build import build_index
from brickwork.index.index import Index, open_index
from brickwork.index.types import Plan
from brickwork.representation.export_parquet import encode_to_disk, read_vectors
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation
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


@functools.cache
def model(seed: int = 0, **options) -> Representation:
    """An encoder from scratch with random weights: 16 dimensions, 2 layers."""
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

    ``verb`` completes "every call that …", ``noun`` "bits flipped in …".
    """

    name: str
    noun: str
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
    "a checkpoint",
    "saves a checkpoint",
    make=lambda folder: _save_checkpoint(folder, 1),
    change=lambda folder: _save_checkpoint(folder, 2),
    read=read_checkpoint,
)

MODEL = Artifact(
    "model",
    "a model folder",
    "saves a model over another",
    make=lambda folder: model(0).save(folder) and None,
    change=lambda folder: model(1).save(folder) and None,
    read=lambda folder: load_representation(folder).fingerprint,
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
    "a folder of vectors",
    "encodes a shard to Parquet",
    make=_encode_and_stop,
    change=lambda folder: _encode(folder, 24),
    read=read_shards,
)


def _build(folder: Path, count: int = 12, seed: int = 0, kind: str = "int8") -> None:
    with build_index(model(seed), documents(count), folder, layers=(1, 2), kind=kind):
        pass


def _clean(index: Index) -> None:
    """What every writer does first; a sync without changes writes nothing."""
    with index.backend.writing("cleaning up"):
        pass


def _add(folder: Path) -> None:
    """Adds what is not there yet, as one does after a crash."""
    with open_index(folder) as index:
        index.sync(documents(16))
        _clean(index)


def _remove(folder: Path) -> None:
    with open_index(folder) as index:
        index.sync(documents(11))
        _clean(index)


def _build_and_remove(folder: Path) -> None:
    _build(folder)
    _remove(folder)


def _compact(folder: Path) -> None:
    with open_index(folder) as index:
        index.backend.compact()


def read_index(folder: Path) -> object:
    """A hash of the documents and of the model, and how many rows are removed, after a search by every shortlist."""
    with open_index(folder) as index:
        digest = hashlib.sha256(repr(index.contents.model).encode("utf-8", "replace"))
        for document in index.backend.documents():
            digest.update(repr((document.id, document.title, document.text, document.source)).encode())
        for layers in index.contents.depths:
            for kind in index.statistics().kinds:
                plan = Plan(stages=((4, 8), (16, 3)), kind=kind)
                (hits,) = index.search("seven small birds", 3, layers=layers, plan=plan)
                assert len(hits) == min(3, len(index))
        return f"{len(index)} {index.statistics().removed} {digest.hexdigest()}"


INDEX_ADD = Artifact("index-add", "an index", "adds to an index", make=_build, change=_add, read=read_index)
INDEX_REMOVE = Artifact(
    "index-remove", "an index", "removes from an index", make=_build, change=_remove, read=read_index
)
INDEX_COMPACT = Artifact(
    "index-compact", "an index", "compacts an index", make=_build_and_remove, change=_compact, read=read_index
)
INDEX_BUILD = Artifact(
    "index-build",
    "an index",
    "builds an index in the place of another",
    make=_build,
    change=lambda folder: _build(folder, 8, seed=1, kind="flat"),
    read=read_index,
)

# One of each kind of folder, and every change that is made to one.
FOLDERS = (CHECKPOINT, MODEL, VECTORS, INDEX_ADD)
ALL = (*FOLDERS, INDEX_REMOVE, INDEX_COMPACT, INDEX_BUILD)


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rehash(folder: Path, path: Path) -> None:
    """What an attacker does: puts the hash of a changed file into the manifest that vouches for it."""
    for manifest in (
        path.parent / "brickwork.json",
        path.parent / "manifest.json",
        folder / "manifest.json",
        folder / "vectors.json",
    ):
        if manifest.is_file() and manifest != path:
            values = json.loads(manifest.read_text())
            for shard in values.get("shards", ()):
                if shard["file"] == path.name:
                    shard["sha256"] = sha256(path)
            if path.name in values.get("sha256", ()):
                values["sha256"][path.name] = sha256(path)
            entry = values.get("files", {}).get(path.relative_to(folder).as_posix())
            if entry is not None:
                entry.update(bytes=path.stat().st_size, sha256=sha256(path))
            if "checksum" in values:
                values["checksum"] = checksum(values)
            manifest.write_text(json.dumps(values))
            if manifest.parent == folder / "model":
                rehash(folder, manifest)
