"""Cells of a table and series of numbers to features, with what is missing kept apart from the numbers.

No NaN goes into a network: a missing cell is the mean of its column (0 after standardisation), a missing category is no
category, and ``present`` says which rows have anything at all. Statistics come from the training rows alone.
Shape legend: B rows, N numbers, C categorical columns, X text columns, F features, T time, V variables, H width.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError

TEXT_WIDTH = 128  # numbers that the words of a text column are hashed to


def column_statistics(values: Float[np.ndarray, "rows numbers"]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each column over its finite cells; 0 and 1 for a column without any, or constant."""
    there = np.isfinite(values)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, values, 0).sum(0) / count
    deviation = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(0) / count)
    # Below the rounding of the mean, a deviation is noise, and dividing by it would make numbers of it.
    steady = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
    return mean.tolist(), np.where(steady, 1.0, deviation).tolist()


def quantile_bins(values: Float[np.ndarray, "rows numbers"], count: int) -> list[list[float]]:
    """For each column the different ones of ``count`` + 1 quantiles of its finite cells; a constant column has none."""
    edges = []
    for column in values.T:
        column = column[np.isfinite(column)]
        quantiles = np.quantile(column, np.linspace(0, 1, count + 1)) if len(column) else column
        different: list[float] = np.unique(quantiles).tolist()
        edges.append(different if len(different) > 1 else [])
    return edges


def piecewise(values: Float[np.ndarray, " rows"], edges: Sequence[float]) -> Float[np.ndarray, "rows bins"]:
    """The share of each bin that lies below a value: 1 for the bins below it, 0 for those above (Gorishniy et al. 2022,
    *On Embeddings for Numerical Features in Tabular Deep Learning*). A missing value gives zeros."""
    low, high = np.asarray(edges[:-1]), np.asarray(edges[1:])
    shares = np.clip((values[:, None] - low) / (high - low), 0.0, 1.0)
    return np.where(np.isfinite(values)[:, None], shares, 0.0)


class TabularEncoder(nn.Module):
    """Numbers standardised, categories one-hot, words of texts hashed: F features of a row, without weights.

    With ``bins`` (edges for each number), a number is also a :func:`piecewise` code, and its standardised value is clipped
    to ±5 and followed by whether it is missing. A network learns from it what a tree does: thresholds, whatever the scale.
    """

    kind = "table"

    def __init__(
        self,
        mean: Sequence[float],
        scale: Sequence[float],
        categories: Sequence[Sequence[str]] = (),
        num_texts: int = 0,
        bins: Sequence[Sequence[float]] = (),
    ):
        super().__init__()
        self.mean = np.asarray(mean, dtype=np.float64)
        self.scale = np.asarray(scale, dtype=np.float64)
        self.categories = [list(known) for known in categories]
        self.num_texts = num_texts
        self.bins = [list(edges) for edges in bins]
        of_bins = sum(max(0, len(edges) - 1) for edges in self.bins) + len(self.bins)
        self.width = len(self.mean) + of_bins + sum(map(len, self.categories)) + TEXT_WIDTH * num_texts

    @classmethod
    def fitted(
        cls,
        numbers: Float[np.ndarray, "rows numbers"],
        categories: np.ndarray | None = None,
        texts: np.ndarray | None = None,
        num_bins: int = 0,
    ) -> "TabularEncoder":
        """The encoder with the statistics of training rows. Shapes: numbers (B, N), categories (B, C), texts (B, X).

        ``num_bins``: of each number, between quantiles; 0: numbers are only standardised.
        """
        mean, scale = column_statistics(numbers)
        known = [
            sorted({value for value in column if value is not None})
            for column in (() if categories is None else categories.T)
        ]
        bins = quantile_bins(numbers, num_bins) if num_bins else []
        return cls(mean, scale, known, 0 if texts is None else texts.shape[1], bins)

    def prepare(
        self,
        numbers: Float[np.ndarray, "rows numbers"],
        categories: np.ndarray | None = None,
        texts: np.ndarray | None = None,
    ) -> tuple[Float32[np.ndarray, "rows features"], Bool[np.ndarray, " rows"]]:
        """Features and which rows have any cell. A category that was not there in training is no category, but present."""
        finite, standard = np.isfinite(numbers), (numbers - self.mean) / self.scale
        present = finite.any(axis=1)
        parts = [standard if finite.all() else np.where(finite, standard, 0.0)]
        if self.bins:
            parts = [np.clip(parts[0], -5.0, 5.0), (~finite).astype(np.float64)]
            parts += [
                piecewise(column, edges) for column, edges in zip(numbers.T, self.bins) if len(edges) > 1
            ]
        for place, known in enumerate(self.categories):
            column = categories[:, place]  # type: ignore[index]
            parts.append(one_hot(column, known))
        if self.categories:
            present = present | (categories != None).any(axis=1)  # type: ignore[union-attr] # noqa: E711
        if texts is not None:
            parts += [hashed_words(column) for column in texts.T]
            present = present | (texts != None).any(axis=1)  # noqa: E711 - cell by cell
        return np.concatenate(parts, axis=1).astype(np.float32), present

    def forward(self, x: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """The prepared features, as they are."""
        return x

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :func:`from_architecture` rebuilds the encoder."""
        return {
            "kind": self.kind,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "categories": self.categories,
            "num_texts": self.num_texts,
            "bins": self.bins,
        }


class SeriesEncoder(nn.Module):
    """A recurrent network (GRU) over series of any length; what it remembers at the end is the features, (B, H)."""

    kind = "series"

    def __init__(self, mean: Sequence[float], scale: Sequence[float], width: int):
        super().__init__()
        self.mean = np.asarray(mean, dtype=np.float64)
        self.scale = np.asarray(scale, dtype=np.float64)
        self.width = width
        self.gru = nn.GRU(len(self.mean), width, batch_first=True)

    @classmethod
    def fitted(cls, rows: Sequence[np.ndarray | None], width: int) -> "SeriesEncoder":
        """The encoder with the statistics of training rows, each (time, variables) or ``None``."""
        mean, scale = column_statistics(np.concatenate([row for row in rows if row is not None]))
        return cls(mean, scale, width)

    def prepare(
        self, rows: Sequence[np.ndarray | None]
    ) -> tuple[
        Float32[np.ndarray, "rows time variables"], Int64[np.ndarray, " rows"], Bool[np.ndarray, " rows"]
    ]:
        """Standardised series padded behind, their lengths (at least 1), and which rows have one."""
        present = np.array([row is not None for row in rows], dtype=bool)
        lengths = np.array([1 if row is None else max(1, len(row)) for row in rows], dtype=np.int64)
        x = np.zeros((len(rows), int(lengths.max(initial=1)), len(self.mean)), dtype=np.float32)
        for place, row in enumerate(rows):
            if row is not None:
                x[place, : len(row)] = np.where(np.isfinite(row), (row - self.mean) / self.scale, 0.0)
        return x, lengths, present

    def forward(
        self, x: Float[Tensor, "batch time variables"], lengths: Int64[Tensor, " batch"]
    ) -> Float[Tensor, "batch width"]:
        """The hidden state after each row's last moment; padding behind it is not seen."""
        outputs, _ = self.gru(x)
        return outputs[torch.arange(len(x), device=x.device), lengths - 1]

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :func:`from_architecture` rebuilds the encoder."""
        return {
            "kind": self.kind,
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "width": self.width,
        }


def from_architecture(architecture: Mapping[str, Any]) -> TabularEncoder | SeriesEncoder:
    """The encoder that ``architecture`` describes, with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    kinds = {"table": TabularEncoder, "series": SeriesEncoder}
    try:
        values = dict(architecture)
        return kinds[values.pop("kind")](**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the description of an encoder is damaged: {error!r}") from error


def one_hot(column: Sequence[Any] | np.ndarray, known: Sequence[str]) -> Float[np.ndarray, "rows known"]:
    """1 where a row has the category; zeros for what is missing or not known."""
    place = {name: number for number, name in enumerate(known)}
    places = np.fromiter((place.get(value, -1) for value in column), dtype=np.int64, count=len(column))
    codes = np.zeros((len(column), len(known)))
    rows = np.flatnonzero(places >= 0)
    codes[rows, places[rows]] = 1.0
    return codes


def hashed_words(column: Sequence[str | None] | np.ndarray) -> Float[np.ndarray, "rows width"]:
    """How often words fall into each of :data:`TEXT_WIDTH` places, at length 1; zeros for what is missing.

    CRC-32 decides the place and the sign (Weinberger et al. 2009), so it is the same on every machine.
    """
    counts = np.zeros((len(column), TEXT_WIDTH))
    for row, text in enumerate(column):
        for word in (text or "").lower().split():
            code = zlib.crc32(word.encode("utf-8", "replace"))
            counts[row, code % TEXT_WIDTH] += 1.0 if code & 0x80000000 else -1.0
    lengths = np.linalg.norm(counts, axis=1, keepdims=True)
    return counts / np.where(lengths == 0, 1.0, lengths)
