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

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes, nested_sizes
from brickwork.core.errors import ConfigError, DataError, warn
from brickwork.core.seeding import generator_for
from brickwork.core.types import TokenBatch
from brickwork.data.types import Examples
from brickwork.encoders.exit_maps import ExitMaps
from brickwork.encoders.text import TextEncoder
from brickwork.representation.batches import pooled_batches
from brickwork.representation.contract import encodes
from brickwork.systems.matryoshka_2d.config import Config
from brickwork.systems.matryoshka_2d.ridge import Moments, best_ridge, principal_axes

MAX_TEXTS = 5_000
_ROUND = 1_000  # texts
_PRECISION = "auto"  # that of `encode`, so that the maps fit the states that they will get
_HELD_OUT = 10  # every so many texts one is left out of the fit, to choose the penalty by
_FEWEST = 2 * _HELD_OUT
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
            self.moments = nn.ModuleDict(
                {part: self._empty_moments(_maps(encoder)) for part in ("fitted", "held_out")}
            )
        self.axes = ElasticAxes(dims=nested_sizes(encoder.embedding_dim, config.dims), layers=depths)

    @staticmethod
    def _empty_moments(maps: ExitMaps) -> nn.ModuleDict:
        linears: dict[str, Any] = dict(maps.maps.items())
        full = str(maps.num_layers)
        return nn.ModuleDict(
            {d: Moments(0 if d == full else m.in_features, m.out_features) for d, m in linears.items()}
        )

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """Reads a thousand texts in each round; the maps are solved at the end of the last.

        Raises:
            DataError: fewer than 20 different texts.
        """
        texts = self._texts(examples)
        if len(texts) < self.encoder.embedding_dim:
            warn(
                f"{len(texts):,} texts are few for vectors of {self.encoder.embedding_dim} dimensions: early exits will be "
                "weak; give some thousands"
            )
        states = _States(self.encoder)
        rounds = -(-len(texts) // _ROUND)
        for number in range(start, rounds):
            self._read(states, texts[number * _ROUND : (number + 1) * _ROUND])
            if number + 1 == rounds:
                self._solve()
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
        if len(texts) < _FEWEST:
            raise DataError(
                f"{len(texts)} different texts are too few to solve maps from: give at least {_FEWEST}, better some "
                "thousands"
            )
        order = torch.randperm(len(texts), generator=generator_for(self.seed, 0, "texts"))
        return [texts[row] for row in order[: self.config.max_texts or MAX_TEXTS].tolist()]

    def _read(self, states: "_States", texts: Sequence[str]) -> None:
        depths, last = _maps(self.encoder).depths, self.encoder.num_layers
        sums: Any = self.moments
        for rows, inputs in pooled_batches(states, list(texts), depths, precision=_PRECISION):
            full = inputs[last]
            held_out = torch.from_numpy(rows) % _HELD_OUT == 0
            for depth in depths:
                # For the axes: unit vectors, which have nothing to be predicted from.
                x, y = (full[:, :0], F.normalize(full, dim=1)) if depth == last else (inputs[depth], full)
                for part, chosen in (("fitted", ~held_out), ("held_out", held_out)):
                    sums[part][str(depth)].add(x[chosen], y[chosen])

    @torch.no_grad()
    def _solve(self) -> None:
        maps: Any = _maps(self.encoder).maps
        fitted, held_out = (dict(self.moments[part].items()) for part in ("fitted", "held_out"))  # type: ignore[operator]
        full = str(self.encoder.num_layers)
        axes = principal_axes(fitted[full].joined(held_out[full]))
        for depth, linear in maps.items():
            if depth == full:
                linear.weight.copy_(axes.T)
            else:
                weight, bias, _, _ = best_ridge(fitted[depth], held_out[depth])
                linear.weight.copy_((weight @ axes).T)
                linear.bias.copy_(bias @ axes)


class _States(nn.Module):
    """The encoder, giving what the maps take in place of what they make of it."""

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder
        self.tokenizer = encoder.tokenizer

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        return self.encoder.tokenize(texts)

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Tensor]:
        return self.encoder.exit_inputs(tokens, layers)


def _maps(encoder: TextEncoder) -> ExitMaps:
    assert encoder.exits is not None
    return encoder.exits
