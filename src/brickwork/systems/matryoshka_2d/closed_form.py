"""An elastic encoder without training: the axes in which its vectors vary most, and a regression for each exit.

Any text embedding model becomes elastic in dimensions and depth from a few thousand texts without labels. Its full vectors
are turned onto their principal axes, so that a prefix keeps as much of them as a linear map to so few dimensions can; dot
products of full vectors stay what they were. The axes are those of unit vectors, as that is what is compared. The vector
at an earlier exit is what a ridge regression says, from the hidden states there (their mean, and that of the embeddings),
that the full vector will be, in these axes. It is fitted to vectors as the pooling leaves them, not to unit vectors: those
of short texts are longer, so queries count for more, which makes searches better at every size (lab/LOG.md). At depth 0 no
layer runs: the vector is a linear map of the mean embedding.

It is no method of the paper: it is what the paper's training has to beat, and may start from (``start=``).

Shape legend: N texts, P inputs of a map, D dimensions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes, nested_sizes
from brickwork.core.errors import ConfigError, DataError, warn
from brickwork.core.seeding import generator_for
from brickwork.core.types import TokenBatch
from brickwork.data.types import Examples
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import FRESH
from brickwork.encoders.exit_maps import ExitMaps
from brickwork.encoders.text import TextEncoder
from brickwork.representation.batches import pooled_batches
from brickwork.representation.contract import encodes
from brickwork.representation.inference import Precision
from brickwork.representation.model import Representation
from brickwork.systems.matryoshka_2d.config import Config
from brickwork.systems.matryoshka_2d.ridge import Moments, best_ridge, principal_axes

MAX_TEXTS = 5_000
_ROUND = 1_000  # texts
PRECISION: Precision = "auto"  # that of `encode`, so that the maps fit the states that they will get
_HELD_OUT = 10  # every so many texts one is left out of the fit, to choose the penalty by
FEWEST = 2 * _HELD_OUT
_COLUMNS = ("anchor", "positive", "negative", "input")


@encodes
class ClosedForm(nn.Module):
    """A text encoder whose exits get their maps solved; ``seed`` chooses the texts.

    ``moments`` are the sums that the maps follow from: of no use once they are solved, so they are not saved.
    """

    reads = ("pairs", "triplets", "scored", "labelled", "texts")
    transient = ("moments",)

    def __init__(self, config: Config, encoder: TextEncoder, *, seed: int):
        super().__init__()
        if encoder.num_layers < 2:
            raise ConfigError(
                f"model.encoder '{config.encoder.backbone}' has one layer, so there is no depth to cut; use an encoder "
                "with at least 2 layers"
            )
        self.config = config
        self.encoder = encoder
        self.seed = seed
        depths = config.layers or tuple(range(encoder.num_layers + 1))
        if encoder.exits is None:  # built, not restored
            encoder.add_exits(depths)
            self.moments = no_moments(maps_of(encoder))
        self.axes = ElasticAxes(dims=nested_sizes(encoder.embedding_dim, config.dims), layers=depths)

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """Reads a thousand texts in each round; the maps are solved at the end of the last.

        Raises:
            DataError: fewer than 20 different texts.
        """
        texts = self._texts(examples)
        warn_of_few(len(texts), self.encoder)
        states = States(self.encoder)
        rounds = -(-len(texts) // _ROUND)
        for number in range(start, rounds):
            self._read(states, texts[number * _ROUND : (number + 1) * _ROUND])
            if number + 1 == rounds:
                solve(maps_of(self.encoder), self.moments)
            yield (number + 1) / rounds

    def _texts(self, examples: Examples) -> list[str]:
        """The different texts of all columns in an order of the seed's, as many as are to be read."""
        there = examples.columns
        columns = [
            self.encoder.prompts.before(name, list(there[name]), columns=there)
            for name in _COLUMNS
            if name in there
        ]
        texts = list(dict.fromkeys(text for row in zip(*columns) for text in row))
        if len(texts) < FEWEST:
            raise DataError(
                f"{len(texts)} different texts are too few to solve maps from: give at least {FEWEST}, better some "
                "thousands"
            )
        order = torch.randperm(len(texts), generator=generator_for(self.seed, 0, "texts"))
        return [texts[row] for row in order[: self.config.max_texts or MAX_TEXTS].tolist()]

    def _read(self, states: "States", texts: Sequence[str]) -> None:
        maps = maps_of(self.encoder)
        for rows, inputs in pooled_batches(states, list(texts), maps.depths, precision=PRECISION):
            count_in(self.moments, maps, inputs, rows)


def warn_of_few(count: int, encoder: TextEncoder) -> None:
    """Warns where maps are to be learnt from fewer texts than a vector has dimensions."""
    if count < encoder.embedding_dim:
        warn(
            f"{count:,} texts are few for vectors of {encoder.embedding_dim} dimensions: early exits will be weak; give "
            "some thousands"
        )


def closed_form_of(
    config: Config, axes: ElasticAxes, examples: Examples, seed: int
) -> tuple[str, Representation] | None:
    """The pretrained model of ``config`` as the closed form makes it elastic, at the sizes of ``axes``, and its name in
    tables; ``None`` for fresh weights, examples that are too few, or where it is what was trained.
    """
    if config.variant == "closed_form" or config.encoder.backbone in FRESH or len(examples) < FEWEST:
        return None
    solved = Config(encoder=config.encoder, variant="closed_form", dims=axes.dims, layers=axes.layers)
    system = ClosedForm(solved, build_text_encoder(config.encoder), seed=seed)
    for _ in system.fit(examples, start=0):
        pass
    return "the closed form", Representation(system.encoder.eval(), system.axes)


def no_moments(maps: ExitMaps) -> nn.ModuleDict:
    """The sums that the maps will follow from, empty: ``fitted`` and ``held_out``, of each depth."""
    linears: dict[str, Any] = dict(maps.maps.items())
    full = str(maps.num_layers)
    sizes = {d: (0 if d == full else m.in_features, m.out_features) for d, m in linears.items()}
    return nn.ModuleDict(
        {
            part: nn.ModuleDict({d: Moments(*size) for d, size in sizes.items()})
            for part in ("fitted", "held_out")
        }
    )


@torch.no_grad()
def count_in(
    moments: nn.ModuleDict, maps: ExitMaps, inputs: Mapping[int, Tensor], rows: Int[np.ndarray, " n"]
) -> None:
    """Counts in what the maps take (``inputs``, by depth) of the texts ``rows``; some of them are held out."""
    sums: Any = moments
    last = maps.num_layers
    full = maps(inputs[last], last)
    held_out = torch.from_numpy(rows) % _HELD_OUT == 0
    for depth in maps.depths:
        # For the axes: unit vectors, which have nothing to be predicted from.
        x, y = (full[:, :0], F.normalize(full, dim=1)) if depth == last else (inputs[depth], full)
        for part, chosen in (("fitted", ~held_out), ("held_out", held_out)):
            sums[part][str(depth)].add(x[chosen], y[chosen])


@torch.no_grad()
def solve(maps: ExitMaps, moments: nn.ModuleDict) -> None:
    """Fills the maps: the full vectors turned onto their principal axes, and for each exit what ridge regression says."""
    sums: Any = moments
    fitted, held_out = dict(sums["fitted"].items()), dict(sums["held_out"].items())
    full = str(maps.num_layers)
    axes = principal_axes(fitted[full].joined(held_out[full]))
    linears: Any = maps.maps
    for depth, linear in linears.items():
        if depth == full:
            linear.weight.copy_(axes.T @ linear.weight.double())
        else:
            weight, bias, _, _ = best_ridge(fitted[depth], held_out[depth])
            linear.weight.copy_((weight @ axes).T)
            linear.bias.copy_(bias @ axes)


class States(nn.Module):
    """The encoder, giving what the maps take in place of what they make of it."""

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder
        self.tokenizer = encoder.tokenizer

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        return self.encoder.tokenize(texts)

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Tensor]:
        return self.encoder.exit_inputs(tokens, layers)


def maps_of(encoder: TextEncoder) -> ExitMaps:
    """The maps of an encoder that has some."""
    assert encoder.exits is not None
    return encoder.exits
