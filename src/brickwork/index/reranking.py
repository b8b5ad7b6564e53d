"""Reranking: the best hits of a search are looked at again by a cross-encoder, which reads query and passage together.

    index.search("how do I resume a run?", rerank="cross-encoder/ms-marco-MiniLM-L6-v2", rerank_top=50)

Slower by far than a comparison of vectors, and better: so only the best of the first stage are read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ConfigError, NonFiniteError

if TYPE_CHECKING:
    from brickwork.encoders.cross_encoder import CrossEncoder


class Reranker:
    """Scores of pairs of texts by a cross-encoder.

    ``precision`` as :meth:`Representation.encode` has it: ``auto`` computes in bf16 where the processor is faster so.
    """

    def __init__(self, model: "CrossEncoder", *, name: str = "reranker", precision: str = "auto"):
        self.model = model
        self.name = name
        self.precision = precision

    @classmethod
    def load(cls, path: Path | str, revision: str | None = None, *, precision: str = "auto") -> "Reranker":
        """The cross-encoder in a folder, or of a hub id at ``revision``.

        Raises:
            ArtifactError: not there, unsafe, damaged, or no cross-encoder with one output.
            ConfigError: a revision of a folder.
        """
        from brickwork.encoders.cross_encoder import load_cross_encoder
        from brickwork.representation.hub import download

        return cls(load_cross_encoder(download(path, revision)), name=str(path), precision=precision)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, " pairs"]:
        """The score of each (query, document), as float32: higher fits better.

        Pairs are sorted by length and share a batch with their like, so that hardly any padding is computed.

        Raises:
            NonFiniteError: the model gave NaN or infinity.
        """
        import torch

        from brickwork.representation.batches import TOKEN_BUDGET
        from brickwork.representation.inference import device_of, for_inference

        inputs = self.model.tokenize(pairs) if pairs else []
        lengths = np.array([len(one["input_ids"]) for one in inputs], dtype=np.int64)
        scores = np.zeros(len(inputs), dtype=np.float32)
        budget = TOKEN_BUDGET.get(device_of(self.model).type, TOKEN_BUDGET["cpu"])
        with torch.inference_mode(), for_inference(self.model, self.precision) as model:
            for rows in by_length(lengths, budget):
                scores[rows] = model([inputs[row] for row in rows]).cpu().numpy()
        if not np.isfinite(scores).all():
            raise NonFiniteError(f"{self.name} gave a score that is not finite; its weights are damaged")
        return scores


def by_length(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows in batches of about ``budget`` tokens with padding, longest first; one row at least."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        stop = start + max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start:stop])
        start = stop
    return batches


def as_reranker(value: Any) -> Reranker:
    """What ``rerank=`` names: a :class:`Reranker`, a folder, or a hub id.

    Raises:
        ConfigError: something else. Otherwise as :meth:`Reranker.load`.
    """
    if isinstance(value, Reranker):
        return value
    if isinstance(value, str | Path):
        return Reranker.load(value)
    raise ConfigError(f"rerank is a {type(value).__name__}; give a Reranker, a folder or a hub id")
