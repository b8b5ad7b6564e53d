"""Readers of modalities, from the columns of a table to features; and targets, with the scales of those that are numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.tabular import SeriesEncoder, TabularEncoder, column_statistics, from_architecture
from brickwork.systems.multimodn.frozen import FrozenBackbone, FrozenImages, FrozenTexts
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout

Encoder = TabularEncoder | FrozenTexts | SeriesEncoder | ImageEncoder | FrozenImages


class ModalityReader(nn.Module):
    """From the columns of one modality to tensors, and from tensors to features of ``width`` numbers."""

    def __init__(self, layout: ModalityLayout, encoder: Encoder):
        super().__init__()
        self.layout = layout
        self.encoder = encoder
        self.width = encoder.embedding_dim if isinstance(encoder, ImageEncoder) else encoder.width

    @classmethod
    def fitted(
        cls,
        layout: ModalityLayout,
        columns: Mapping[str, Any],
        image: ImageEncoderConfig,
        series_width: int,
        bins: int = 0,
        backbones: Mapping[str, FrozenBackbone] | None = None,
    ) -> "ModalityReader":
        """A fresh reader with the statistics of training rows. ``backbones``: pretrained encoders for ``text`` and
        ``image``, where there are any."""
        backbones = backbones or {}
        if layout.kind == "image":
            if "image" in backbones:
                return cls(layout, FrozenImages.fitted(list(columns[layout.name]), backbones["image"]))
            height, width, channels = layout.shape
            return cls(layout, ImageEncoder(image, (height, width, channels)))
        if layout.kind == "series":
            return cls(layout, SeriesEncoder.fitted(columns[layout.name], series_width))
        cells = _cells(layout, columns)
        if layout.texts and "text" in backbones:
            return cls(layout, FrozenTexts.fitted(*cells, bins, backbones["text"]))
        return cls(layout, TabularEncoder.fitted(*cells, bins))

    def prepare(self, columns: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of a batch: ``NAME`` and ``NAME.present``, of series also ``NAME.lengths``."""
        name, encoder = self.layout.name, self.encoder
        arrays: dict[str, np.ndarray] = {}
        if isinstance(encoder, TabularEncoder | FrozenTexts):
            arrays[name], arrays[f"{name}.present"] = encoder.prepare(*_cells(self.layout, columns))
        elif isinstance(encoder, SeriesEncoder):
            arrays[name], arrays[f"{name}.lengths"], arrays[f"{name}.present"] = encoder.prepare(
                columns[name]
            )
        elif isinstance(encoder, FrozenImages):
            arrays[name], arrays[f"{name}.present"] = encoder.prepare(list(columns[name]))
        else:
            blank = np.zeros(encoder.image_shape, dtype=np.uint8)
            rows = list(columns[name])
            arrays[f"{name}.present"] = np.array([row is not None for row in rows], dtype=bool)
            images = np.stack([blank if row is None else row for row in rows]) if rows else blank[None][:0]
            return {
                name: encoder.prepare(images),
                **{key: torch.from_numpy(array) for key, array in arrays.items()},
            }
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Features (B, width); those of rows without the modality mean nothing."""
        x = batch[self.layout.name]
        if isinstance(self.encoder, SeriesEncoder):
            return self.encoder(x, batch[f"{self.layout.name}.lengths"])
        return (
            self.encoder(x)[self.encoder.num_layers]
            if isinstance(self.encoder, ImageEncoder)
            else self.encoder(x)
        )

    @classmethod
    def restored(
        cls,
        layout: ModalityLayout,
        architecture: Mapping[str, Any],
        backbones: Mapping[str, FrozenBackbone],
    ) -> "ModalityReader":
        """The reader whose encoder ``architecture`` describes, with fresh weights."""
        if architecture.get("kind") == FrozenImages.kind:
            return cls(layout, FrozenImages(backbones["image"]))
        if architecture.get("kind") == FrozenTexts.kind:
            table = from_architecture(architecture["table"])
            assert isinstance(table, TabularEncoder), "the other kind has no categories"
            return cls(layout, FrozenTexts(table, architecture["num_texts"], backbones["text"]))
        if architecture.get("kind") == "image":
            return cls(layout, ImageEncoder.from_architecture(architecture))
        return cls(layout, from_architecture(architecture))


def _cells(layout: ModalityLayout, columns: Mapping[str, Any]) -> tuple[np.ndarray, Any, Any]:
    name = layout.name
    return columns[name], columns.get(f"{name}.categories"), columns.get(f"{name}.texts")


def target_scales(layout: TableLayout, columns: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each target that is a number, over training rows."""
    scales = {}
    for target in layout.targets:
        if not target.is_class:
            values = np.asarray(columns[target.column], dtype=np.float64)
            mean, deviation = column_statistics(values[:, None])
            scales[target.name] = (mean[0], deviation[0])
    return scales


def target_tensors(
    layout: TableLayout, columns: Mapping[str, Any], scales: Mapping[str, Sequence[float]]
) -> dict[str, Tensor]:
    """The targets that ``columns`` have; numbers are standardised, so that tasks weigh alike."""
    tensors = {}
    for target in layout.targets:
        if target.column in columns:
            values = np.asarray(columns[target.column])
            if not target.is_class:
                mean, deviation = scales[target.name]
                values = ((values - mean) / deviation).astype(np.float32)
            tensors[target.column] = torch.from_numpy(values)
    return tensors
