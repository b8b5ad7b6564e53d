"""What the user keeps of a training: an encoder and the sizes it may be cut to.

model = brickwork.load("runs/demo")
vectors = model.encode(["a text", "another"], dim=64, layers=3)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, warn
from brickwork.encoders.prompts import Prompts, Role
from brickwork.representation.cuts import counting_cuts
from brickwork.representation.encode import encode
from brickwork.representation.folder import fingerprint, tokenizer_json
from brickwork.representation.inference import Precision, engine_of
from brickwork.representation.truncate import truncate


class Representation:
    """An encoder, the axes along which it can be cut, where it comes from, and what its card tells.

    ``axes``: trained prefix lengths and depths. ``lineage``: the system that trained it, what it replaces.
    ``card``: facts for the model card (representation/card.py). ``prompts``: what the model wants before its texts.

    Raises:
        ConfigError: ``axes`` go beyond the encoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        axes: ElasticAxes,
        lineage: Mapping[str, Any] | None = None,
        card: Mapping[str, Any] | None = None,
        prompts: Prompts | None = None,
    ):
        self.encoder = cast(Any, encoder)
        self.axes = axes
        self.lineage = dict(lineage or {})
        self.card = dict(card or {})
        self.prompts = prompts or Prompts()
        self.notes_given: set[str] = set()  # kinds of notes, each given once
        if axes.full_dim > self.encoder.embedding_dim or axes.num_layers > self.encoder.num_layers:
            raise ConfigError(
                f"axes dims {list(axes.dims)}, layers {list(axes.layers)} go beyond the encoder, which has "
                f"{self.encoder.embedding_dim} dimensions and {self.encoder.num_layers} layers"
            )

    def size(self, dim: int | None = None, layers: int | None = None) -> tuple[int, int]:
        """The (dim, layers) that a request stands for; ``None`` is full. Warns once of sizes in between.

        Raises:
            ConfigError: outside of what the encoder has.
        """
        dim, layers, notes = self.axes.resolve(dim, layers)
        depths = getattr(self.encoder, "depths", None)
        if depths is not None and layers not in depths:
            raise ConfigError(f"layers={layers} has no map in this model; choose one of {list(depths)}")
        for note in notes:
            self._tell(note, note)
        return dim, layers

    def encode(
        self,
        inputs: Any,
        *,
        dim: int | None = None,
        layers: int | None = None,
        batch_size: int | None = None,
        normalize: bool = True,
        progress: bool | Callable[[int], None] = False,
        precision: Precision = "auto",
        token_budget: int | None = None,
        role: Role | None = None,
    ) -> Float32[np.ndarray, "*n dim"]:
        """Vectors of texts (one string; a list, tuple, series or array of one dimension, or an iterator, which is used up)
        or of images (uint8, N × H × W × C). Tables, mappings, sets, bytes, numbers and nested lists are refused.

        ``layers`` runs these blocks only; ``dim`` cuts, then ``normalize`` scales to length 1. ``batch_size``
        caps the inputs of a batch and ``token_budget`` its tokens: both change the speed, not the vectors
        (beyond rounding). ``precision``: ``auto`` is bf16 where the device has instructions for it.
        ``progress``: a bar on the error stream, or what to call with the number of inputs done. ``role``: whether the
        texts are queries or documents, for models that want another prompt before each.

        Shapes: N inputs → (N, dim); one string → (dim,); an empty list → (0, dim).

        Raises:
            ConfigError: a size that the model does not have.
            DataError: an input is not a text; images of other numbers than uint8 or of another rank.
            ResourceError: a single input does not fit into memory.
        """
        dim, layers = self.size(dim, layers)
        single = isinstance(inputs, str)
        texts = [inputs] if single else inputs
        if self.prompts:
            texts = self.prompted(texts, role)
        with counting_cuts(self) as count:
            vectors = encode(
                self.encoder,
                texts,
                dim,
                layers,
                batch_size=batch_size,
                normalize=normalize,
                progress=progress,
                precision=precision,
                token_budget=token_budget,
            )
            count(len(vectors))
        return vectors[0] if single else vectors

    def prompted(self, texts: Any, role: Role | None = None) -> Any:
        """The texts behind the prompt for their role; inputs of other kinds as they are."""
        prompt = self.prompts.of(role)
        if not prompt or not isinstance(texts, list | tuple):
            return texts
        return [prompt + text if isinstance(text, str) else text for text in texts]

    def similarity(self, a: Any, b: Any) -> Float32[np.ndarray, "a b"]:
        """Cosines between all of ``a`` and all of ``b``; each is texts, one text, or vectors."""
        left, right = self._unit(a), self._unit(b)
        if left.shape[1] != right.shape[1]:
            raise ConfigError(
                f"vectors of {left.shape[1]} and {right.shape[1]} dimensions cannot be compared"
            )
        return left @ right.T

    def _unit(self, given: Any) -> Float32[np.ndarray, "n dim"]:
        if isinstance(given, np.ndarray) and given.dtype.kind == "f":
            rows = np.atleast_2d(given)
            return truncate(rows, rows.shape[1])
        return self.encode([given] if isinstance(given, str) else given)

    @property
    def device(self) -> torch.device:
        """Where the encoder runs."""
        return next(self.encoder.parameters()).device

    def to(self, device: torch.device | str) -> "Representation":
        """Moves the encoder; returns itself."""
        self.encoder.to(device)
        return self

    @property
    def engine(self) -> str:
        """What encodes where no precision is asked for: ``torch``, or ``int8`` and which (representation/int8.py)."""
        engine = engine_of(self.encoder)
        return "torch" if engine is None else f"int8-{engine.id}"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight, the architecture, the tokenizer or the prompts."""
        tokenizer = getattr(self.encoder, "tokenizer", None)
        text = tokenizer_json(tokenizer) if tokenizer is not None else None
        architecture = {**self.encoder.architecture(), **self.prompts.to_dict()}
        return fingerprint(architecture, text, self.encoder.state_dict())

    def save(self, folder: Path | str) -> Path:
        """Writes model.safetensors, tokenizer.json, README.md and, last, brickwork.json with their hashes.

        Other files in an existing folder (those of the run) are left alone.

        Raises:
            ResourceError: disk full, read-only folder.
        """
        from brickwork.representation.store import save

        written, engine = save(self, Path(folder)), cast(Any, engine_of(self.encoder))
        if engine is not None:
            engine.save_in_use(self.fingerprint, written)
        return written

    def push_to_hub(self, repo_id: str, *, private: bool = False, revision: str | None = None) -> str:
        """Uploads the model to the Hugging Face hub and returns its address.

        Raises:
            ArtifactError: not logged in, no such name, or no network.
        """
        from brickwork.representation.hub import push

        return push(self, repo_id, private=private, revision=revision)

    def __repr__(self) -> str:
        return (
            f"Representation({self.encoder.kind}, dims={list(self.axes.dims)}, "
            f"layers={list(self.axes.layers)}, system={self.lineage.get('system')!r})"
        )

    def _tell(self, key: str, message: str) -> None:
        """A warning, once for each ``key`` in the life of this object."""
        if key not in self.notes_given:
            self.notes_given.add(key)
            warn(message)
