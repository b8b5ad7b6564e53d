"""Texts and images to vectors of one space: two encoders side by side (a dual encoder)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import Batch
from brickwork.encoders.dense import DenseShape
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import Body, TextEncoder


class ImageTextEncoder(TextEncoder):
    """An encoder of texts with an encoder of images, ``image``, whose vectors are compared with its own.

    Whatever takes an encoder of texts takes this one; images of uint8, N × H × W × C, go through ``image``.

    Raises:
        ConfigError: vectors of different widths.
    """

    kind = "image-text"

    def __init__(
        self,
        image: ImageEncoder,
        body: Body,
        tokenizer: Tokenizer,
        *,
        pooling: str = "mean",
        max_tokens: int = 256,
        projection: int | None = None,
        dense: Sequence[DenseShape] = (),
        marks: Mapping[str, str] | None = None,
    ):
        super().__init__(
            body,
            tokenizer,
            pooling=pooling,
            max_tokens=max_tokens,
            projection=projection,
            dense=dense,
            marks=marks,
        )
        if image.embedding_dim != self.embedding_dim:
            raise ConfigError(
                f"the image encoder gives {image.embedding_dim} dimensions and the text encoder {self.embedding_dim}; "
                "make them equal"
            )
        self.image = image

    @classmethod
    def of(cls, image: ImageEncoder, text: TextEncoder) -> "ImageTextEncoder":
        """Both as one, with the weights of ``text`` taken over."""
        encoder = cls(
            image,
            text.body,
            text.tokenizer,
            pooling=text.pooling,
            max_tokens=text.max_tokens,
            projection=None if text.projection is None else text.embedding_dim,
            dense=[part.shape for part in text.dense],
            marks=text.marks,
        )
        encoder.dense, encoder.projection = text.dense, text.projection
        return encoder

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns of a batch as tensors: images prepared, texts packed, numbers as int64 or float32."""
        images = {
            name: self.image.prepare(values)
            for name, values in columns.items()
            if isinstance(values, np.ndarray) and values.ndim == 4
        }
        rest = {name: values for name, values in columns.items() if name not in images}
        return {**images, **super().collate(rest)}

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this encoder, without its weights."""
        return {**super().architecture(), "image": self.image.architecture()}

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any], tokenizer_json: str) -> "ImageTextEncoder":
        """The encoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        image = architecture.get("image")
        if not isinstance(image, Mapping):
            raise ArtifactError("the description of the encoder is damaged: its image encoder is missing")
        return cls.of(
            ImageEncoder.from_architecture(image), TextEncoder.from_architecture(architecture, tokenizer_json)
        )
