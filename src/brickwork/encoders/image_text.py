"""Texts and images to vectors of one space: two encoders side by side (a dual encoder).

Shape legend: I images, T texts, D dimensions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from tokenizers import Tokenizer

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import Batch
from brickwork.encoders.dense import DenseShape
from brickwork.encoders.hub_images import image_encoder_from
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import Body, TextEncoder


class ImageTextEncoder(TextEncoder):
    """An encoder of texts with an encoder of images, ``image``, whose vectors are compared with its own.

    Whatever takes an encoder of texts takes this one; images of uint8, N × H × W × C, go through ``image``.

    ``scale``: what cosines are multiplied by to be logits (CLIP's and SigLIP's, learned); ``bias``: what is then added
    (SigLIP's). None where the encoder has none.

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
        scale: float | None = None,
        bias: float | None = None,
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
        self.scale, self.bias = scale, bias

    @classmethod
    def of(
        cls, image: ImageEncoder, text: TextEncoder, *, scale: float | None = None, bias: float | None = None
    ) -> "ImageTextEncoder":
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
            scale=scale,
            bias=bias,
        )
        encoder.dense, encoder.projection, encoder.prompts = text.dense, text.projection, text.prompts
        return encoder

    def collate(self, columns: Mapping[str, Any], max_tokens: int | None = None) -> Batch:
        """Columns of a batch as tensors: images prepared, texts packed and cut, numbers as int64 or float32."""
        images = {
            name: self.image.prepare(values)
            for name, values in columns.items()
            if isinstance(values, np.ndarray) and values.ndim == 4
        }
        rest = {name: values for name, values in columns.items() if name not in images}
        return {**images, **super().collate(rest, max_tokens)}

    def logits(
        self, cosines: Float32[np.ndarray, "images texts"]
    ) -> Float32[np.ndarray, "images texts"] | None:
        """Cosines of images and texts as the logits that the model was trained with; None where it has no scale."""
        return None if self.scale is None else (self.scale * cosines + (self.bias or 0.0)).astype(np.float32)

    def probabilities(
        self, cosines: Float32[np.ndarray, "images texts"]
    ) -> Float32[np.ndarray, "images texts"] | None:
        """How likely each text belongs to the image: among all the texts (CLIP), or each for itself, so that rows do not add
        up to 1 (SigLIP, whose logits have a bias). None where the encoder has no scale."""
        logits = self.logits(cosines)
        if logits is None:
            return None
        if self.bias is not None:
            return (0.5 * (1 + np.tanh(logits / 2))).astype(np.float32)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this encoder, without its weights."""
        numbers = {"scale": self.scale, "bias": self.bias}
        return {
            **super().architecture(),
            "image": self.image.architecture(),
            **{name: value for name, value in numbers.items() if value is not None},
        }

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
            image_encoder_from(image),
            TextEncoder.from_architecture(architecture, tokenizer_json),
            scale=architecture.get("scale"),
            bias=architecture.get("bias"),
        )
