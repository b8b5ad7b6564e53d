"""Texts and images of a table through pretrained encoders whose weights stay as they are.

A vector is computed once for each different text or image, however many epochs read it. A system that is kept names its
encoder by name and fingerprint and does not hold its weights: they are looked for when it is loaded.

Shape legend: B rows, D dimensions of a vector, X text columns, F features.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from brickwork.core.errors import AbsentModelError, ArtifactError, ConfigError
from brickwork.encoders.build import build_text_encoder, find_backbone
from brickwork.encoders.build_images import build_image_encoder
from brickwork.encoders.config import PretrainedImageConfig, TextEncoderConfig
from brickwork.encoders.feature_cache import FeatureCache
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.packaged import is_gguf
from brickwork.encoders.tabular import TabularEncoder, column_statistics
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.text_folder import load_text_folder
from brickwork.representation.encode import encode
from brickwork.representation.folder import fingerprint, tokenizer_json
from brickwork.systems.multimodn.config import FrozenImage, FrozenText

_BAR = 500  # inputs to compute from which a bar is drawn
_FLUSH = 16  # new vectors from which they are written to the folder for features, if there is one


class FrozenBackbone:
    """A pretrained encoder and the vectors that it gave so far. ``about``: what it is found again by."""

    def __init__(self, encoder: TextEncoder | HubImageEncoder, about: Mapping[str, Any], folder: str | None):
        self.encoder = encoder.eval().requires_grad_(False)
        self.about = dict(about)
        self.dim = encoder.embedding_dim
        # Batches are made in a thread, while another may measure.
        self._lock = threading.Lock()
        place = None if folder is None else Path(folder).expanduser() / self.about["fingerprint"]
        self._cache = FeatureCache(place)

    @classmethod
    def of_texts(cls, config: FrozenText) -> "FrozenBackbone":
        """Raises ArtifactError where the encoder is missing, damaged, unsafe or of an unknown kind."""
        assert config.backbone is not None
        about = {
            "kind": "text",
            "backbone": _place(config.backbone),
            "revision": config.revision,
            "max_tokens": config.max_tokens,
        }
        return cls._loaded(about, config.feature_folder)

    @classmethod
    def of_images(cls, config: FrozenImage) -> "FrozenBackbone":
        """Raises as :meth:`of_texts`."""
        assert config.backbone is not None
        about = {"kind": "image", "backbone": _place(config.backbone), "revision": config.revision}
        return cls._loaded(about, config.feature_folder)

    @classmethod
    def restored(cls, about: Mapping[str, Any]) -> "FrozenBackbone":
        """The encoder that a kept system names.

        Raises:
            AbsentModelError: it is not to be had, or is another one by now.
        """
        reads = "texts" if about["kind"] == "text" else "images"
        what = f"the model reads its {reads} with the pretrained encoder '{about['backbone']}'"
        wanted = about["fingerprint"]
        try:
            backbone = cls._loaded({k: v for k, v in about.items() if k != "fingerprint"}, None)
        except (ArtifactError, ConfigError) as error:
            raise AbsentModelError(
                f"{what} (fingerprint {wanted}), which is not kept with it and not to be had: {error}"
            ) from error
        if backbone.about["fingerprint"] != wanted:
            raise AbsentModelError(
                f"{what} of fingerprint {wanted}, and what is there has {backbone.about['fingerprint']}; put the encoder "
                "that it was trained with in its place, or train again"
            )
        return backbone

    @classmethod
    def _loaded(cls, about: Mapping[str, Any], folder: str | None) -> "FrozenBackbone":
        backbone, revision = about["backbone"], about["revision"]
        encoder: TextEncoder | HubImageEncoder
        with torch.device("cpu"):  # a system is restored where tensors have no memory yet
            if about["kind"] == "text":
                encoder = _text_encoder(backbone, revision, about["max_tokens"])
            else:
                encoder = build_image_encoder(PretrainedImageConfig(backbone=backbone, revision=revision))
        tokenizer = tokenizer_json(encoder.tokenizer) if isinstance(encoder, TextEncoder) else None
        seen = fingerprint(encoder.architecture(), tokenizer, encoder.state_dict())
        return cls(encoder, {**about, "fingerprint": seen}, folder)

    def vectors(
        self, inputs: Sequence[Any], device: torch.device | None = None
    ) -> Float32[np.ndarray, "inputs dim"]:
        """The vectors of texts, or of images (height, width, channels) of uint8 of any size: at full depth, of length 1,
        in float32 whatever the machine. ``device``: where those are computed that are new."""
        if not len(inputs):
            return np.empty((0, self.dim), dtype=np.float32)

        def compute(places: list[int]) -> Tensor:
            return torch.from_numpy(self._compute([inputs[place] for place in places], device))

        with self._lock:
            known = self._cache.misses
            rows = self._cache.rows([_key(one) for one in inputs], compute, torch.empty(0)).numpy()
            if self._cache.misses - known >= _FLUSH:
                self._cache.flush()
        return rows

    def _compute(self, inputs: list[Any], device: torch.device | None) -> np.ndarray:
        encoder = self.encoder if device is None else self.encoder.to(device)
        given: Any
        if isinstance(encoder, TextEncoder):
            prompt = encoder.prompts.of()
            given = [prompt + text for text in inputs]
        else:
            given = encoder.framing.of_arrays(inputs)
        return encode(
            encoder,
            given,
            self.dim,
            encoder.num_layers,
            precision="fp32",
            progress=len(inputs) >= _BAR,
        )

    def __deepcopy__(self, memo: Any) -> "FrozenBackbone":
        """Itself: its weights never change."""
        return self

    def __reduce__(self) -> tuple[Callable[..., "FrozenBackbone"], tuple[dict[str, Any]]]:
        """Pickled as it is kept: by name and fingerprint."""
        return FrozenBackbone.restored, (self.about,)


def _text_encoder(backbone: str, revision: str | None, max_tokens: int | None) -> TextEncoder:
    if max_tokens is None and not is_gguf(backbone):
        folder = find_backbone(backbone, revision)
        assert folder is not None, "fresh weights are refused"
        return load_text_folder(folder)
    config = TextEncoderConfig(backbone=backbone, revision=revision, max_tokens=max_tokens or 256)
    return build_text_encoder(config)


def _place(backbone: str) -> str:
    """A folder by its whole path, which holds wherever the system is loaded from; other names as they are."""
    folder = Path(backbone).expanduser()
    return str(folder.resolve()) if folder.is_dir() else backbone


def _key(given: str | np.ndarray) -> bytes:
    if isinstance(given, str):
        return hashlib.blake2b(b"text " + given.encode("utf-8", "replace"), digest_size=16).digest()
    about = f"image {given.dtype} {given.shape} ".encode()
    return hashlib.blake2b(about + np.ascontiguousarray(given).tobytes(), digest_size=16).digest()


class _Standardised(nn.Module):
    """Vectors of a backbone with mean 0 and deviation 1 in each dimension over the training rows, as the paper's are."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: FrozenBackbone):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.zeros(backbone.dim))
        self.register_buffer("scale", torch.ones(backbone.dim))

    def fit(self, inputs: Sequence[Any]) -> None:
        """Takes mean and deviation from these; computes the vectors of all of them."""
        mean, scale = column_statistics(self.backbone.vectors(inputs).astype(np.float64))
        self.mean.copy_(torch.tensor(mean))
        self.scale.copy_(torch.tensor(scale))

    def rows(self, cells: Sequence[Any]) -> Float32[np.ndarray, "rows dim"]:
        """A row for each cell; zeros, the mean, where it is ``None``."""
        there = np.array([cell is not None for cell in cells], dtype=bool)
        rows = np.zeros((len(cells), self.backbone.dim), dtype=np.float32)
        vectors = self.backbone.vectors([cell for cell in cells if cell is not None], self.mean.device)
        rows[there] = (vectors - self.mean.cpu().numpy()) / self.scale.cpu().numpy()
        return rows


class FrozenTexts(nn.Module):
    """:class:`TabularEncoder` for numbers and categories, and in place of hashed words the vectors of a pretrained encoder:
    F features of a row, without weights that learn."""

    kind = "table with texts"

    def __init__(self, table: TabularEncoder, num_texts: int, backbone: FrozenBackbone):
        super().__init__()
        self.table = table
        self.num_texts = num_texts
        self.vectors = _Standardised(backbone)
        self.width = table.width + backbone.dim * num_texts

    @property
    def categories(self) -> list[list[str]]:
        """Those of each column that training knew."""
        return self.table.categories

    @classmethod
    def fitted(
        cls,
        numbers: np.ndarray,
        categories: np.ndarray | None,
        texts: np.ndarray,
        num_bins: int,
        backbone: FrozenBackbone,
    ) -> "FrozenTexts":
        """The encoder with the statistics of training rows; shapes as of :meth:`TabularEncoder.fitted`."""
        table = TabularEncoder.fitted(numbers, categories, None, num_bins)
        encoder = cls(table, texts.shape[1], backbone)
        encoder.vectors.fit([text for text in texts.T.flatten() if text is not None])
        return encoder

    def prepare(
        self, numbers: np.ndarray, categories: np.ndarray | None, texts: np.ndarray
    ) -> tuple[Float32[np.ndarray, "rows features"], Bool[np.ndarray, " rows"]]:
        """Features and which rows have any cell."""
        features, present = self.table.prepare(numbers, categories)
        parts = [features, *(self.vectors.rows(column.tolist()) for column in texts.T)]
        return np.concatenate(parts, axis=1), present | (texts != None).any(axis=1)  # noqa: E711 - cell by cell

    def forward(self, x: Tensor) -> Tensor:
        """The prepared features, as they are."""
        return x

    def architecture(self) -> dict[str, Any]:
        """JSON values from which, with the backbone, the encoder is rebuilt."""
        return {"kind": self.kind, "table": self.table.architecture(), "num_texts": self.num_texts}


class FrozenImages(nn.Module):
    """The vectors of a pretrained encoder of images: D features of a row, without weights that learn."""

    kind = "pretrained image"

    def __init__(self, backbone: FrozenBackbone):
        super().__init__()
        self.vectors = _Standardised(backbone)
        self.width = backbone.dim

    @classmethod
    def fitted(cls, rows: Sequence[np.ndarray | None], backbone: FrozenBackbone) -> "FrozenImages":
        """The encoder with the statistics of training rows."""
        encoder = cls(backbone)
        encoder.vectors.fit([row for row in rows if row is not None])
        return encoder

    def prepare(
        self, rows: Sequence[np.ndarray | None]
    ) -> tuple[Float32[np.ndarray, "rows dim"], Bool[np.ndarray, " rows"]]:
        """Features and which rows have an image."""
        return self.vectors.rows(rows), np.array([row is not None for row in rows], dtype=bool)

    def forward(self, x: Tensor) -> Tensor:
        """The prepared features, as they are."""
        return x

    def architecture(self) -> dict[str, Any]:
        """JSON values from which, with the backbone, the encoder is rebuilt."""
        return {"kind": self.kind}


def backbones_of(kinds: Sequence[str], text: FrozenText, image: FrozenImage) -> dict[str, FrozenBackbone]:
    """``text`` and ``image`` -> the encoder for it, where the configuration names one. ``kinds``: which of both the table
    has.

    Raises:
        ConfigError: one is named for what the table does not have.
        ArtifactError: it is missing, damaged, unsafe or of an unknown kind.
    """
    wanted: dict[str, FrozenText | FrozenImage] = {"text": text, "image": image}
    for kind, config in wanted.items():
        if config.backbone is not None and kind not in kinds:
            raise ConfigError(
                f"frozen_{kind}.backbone has no effect: no column of the table is read as {kind}s; leave it out"
            )
    found: dict[str, FrozenBackbone] = {}
    if text.backbone is not None:
        found["text"] = FrozenBackbone.of_texts(text)
    if image.backbone is not None:
        found["image"] = FrozenBackbone.of_images(image)
    return found
