"""A representation as a model of mteb (version 2): ``mteb.evaluate(MtebEncoder(representation), tasks)``."""

from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from mteb.models import ModelMeta

    from brickwork.representation.model import Representation


class MtebEncoder:
    """The methods that mteb calls of a text encoder; vectors are cut to ``dim`` and ``layers``.

    ``name`` (organisation/name) is what mteb files the results under.

    Raises:
        MissingExtraError: mteb is not installed.
        ConfigError: a size that the model does not have.
    """

    def __init__(
        self,
        representation: "Representation",
        *,
        dim: int | None = None,
        layers: int | None = None,
        name: str = "brickwork/representation",
    ):
        try:
            import mteb  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("mteb", "peers", "evaluation with mteb") from error
        if name.count("/") != 1:
            raise ConfigError(f"name is '{name}'; mteb wants organisation/name")
        self.representation = representation
        self.dim, self.layers = representation.size(dim, layers)
        self.name = name

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        batch_size: int | None = None,
        **_: Any,
    ) -> np.ndarray:
        """Unit vectors of all texts in mteb's batches, each a dictionary with a list under ``text``.

        ``prompt_type``: whether they are queries or documents, for models that want another prompt before each.
        mteb's batch size, made for GPUs and padded batches, is not used: batches here are sized by tokens.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        role = getattr(prompt_type, "value", prompt_type)  # mteb's enumeration has the names of our roles
        return self.representation.encode(texts, dim=self.dim, layers=self.layers, role=role)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Cosines between all of both sides."""
        return self.representation.similarity(_array(embeddings1), _array(embeddings2))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Cosines row by row."""
        left, right = _unit(_array(embeddings1)), _unit(_array(embeddings2))
        return np.einsum("nd,nd->n", left, right)

    @property
    def mteb_model_meta(self) -> "ModelMeta":
        """What mteb records about the model."""
        from mteb.models import ModelMeta

        encoder = self.representation.encoder
        size = f"dim={self.dim},layers={self.layers}"
        return ModelMeta.create_empty(
            {
                "name": self.name,
                "revision": f"{self.representation.fingerprint}-{size}",
                "n_parameters": sum(p.numel() for p in encoder.parameters()),
                "max_tokens": getattr(encoder, "max_tokens", None),
                "embed_dim": self.dim,
                "framework": ["PyTorch"],
                "similarity_fn_name": "cosine",
                "open_weights": True,
            }
        )


def _array(vectors: Any) -> np.ndarray:
    return np.asarray(vectors.cpu() if hasattr(vectors, "cpu") else vectors, dtype=np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    from brickwork.representation.truncate import truncate

    rows = np.atleast_2d(vectors)
    return truncate(rows, rows.shape[1])
