"""Texts to vectors: tokenise, run a body of some depth, pool after each layer that was asked for.

Shape legend: T tokens of all texts, B texts, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import Batch, TokenBatch
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.dense import Dense, DenseShape
from brickwork.encoders.exit_maps import ExitMaps
from brickwork.encoders.feature_cache import FeatureCache, keys_of
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.hub_seq2seq import DecoderStates
from brickwork.encoders.hub_tower import TextTower
from brickwork.encoders.pooling import POOLINGS, at_least_float32, pool, pool_padded
from brickwork.encoders.prompts import Prompts
from brickwork.encoders.static import StaticEmbedding
from brickwork.encoders.tokenization import PAD, Notation, encode_texts, read_tokenizer

__all__ = ["TextEncoder", "TextEncoderConfig", "encode_columns", "join_tokens"]

Body = Transformer | StaticEmbedding | HubTransformer | TextTower | DecoderStates
_BODIES: dict[str, type[Body]] = {
    body.kind: body for body in (Transformer, StaticEmbedding, HubTransformer, TextTower, DecoderStates)
}


class TextEncoder(nn.Module):
    """A tokenizer, a body, a pooling (encoders/pooling.py), and what comes after it.

    ``dense``: maps with activations that a pretrained model has after its pooling. ``projection``: a matrix without bias
    to another width, after these. ``notation``: the formal language that the texts are in, where they are in one.
    ``marks``: the tokenizer's special tokens by role (``pad_token`` …) and its ``padding_side``, where they are not those
    of BERT; for other tools, since nothing is padded here. ``exits``: maps of the vectors of each depth into one space,
    where they were learnt (:meth:`add_exits`); only their depths can be asked for then. ``prompts``: what the model was
    trained with before its texts: :meth:`collate` puts it there, and for users ``Representation.encode``.

    ``truncated`` counts the texts that :meth:`tokenize` has cut so far. ``frozen``, ``adapters``: what of it learns
    (representation/adapting.py); ``cache``: what a frozen body gave in training.

    Raises:
        ConfigError: a pooling that there is not.
    """

    kind = "text"

    def __init__(
        self,
        body: Body,
        tokenizer: Tokenizer,
        *,
        pooling: str = "mean",
        max_tokens: int = 256,
        projection: int | None = None,
        notation: Notation | None = None,
        dense: Sequence[DenseShape] = (),
        marks: Mapping[str, str] | None = None,
        prompts: Prompts | None = None,
    ):
        super().__init__()
        if pooling not in POOLINGS:
            raise ConfigError(f"pooling is {pooling!r}; choose one of {', '.join(POOLINGS)}")
        self.body = body
        self.notation = notation
        self.dense: Any = nn.ModuleList(Dense(shape) for shape in dense)
        self.marks = dict(marks or {})
        self.prompts = prompts or Prompts()
        self.frozen = False
        self.adapters: Any = None
        self.cache = FeatureCache()
        width = dense[-1].out_features if dense else body.width
        self.embedding_dim = projection or width
        self.exits: ExitMaps | None = None
        self.projection = nn.Linear(width, projection, bias=False) if projection else None
        self.tokenizer = tokenizer
        self._shorter: dict[int, Tokenizer] = {}
        self.pooling = pooling
        self.truncated = 0
        tokenizer.no_padding()
        self.limit(max_tokens)

    def train(self, mode: bool = True) -> "TextEncoder":
        """As always, but for what is ``frozen``: the body stays as it is (no dropout)."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
            self.dense.eval()
        return self

    @property
    def num_layers(self) -> int:
        return self.body.num_layers

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths that can be asked for, ascending."""
        if self.exits is not None:
            return self.exits.depths
        return tuple(range(1 if isinstance(self.body, StaticEmbedding) else 0, self.num_layers + 1))

    def limit(self, max_tokens: int) -> None:
        """Cuts texts after ``max_tokens`` tokens from now on."""
        self.max_tokens = max_tokens
        self.tokenizer.enable_truncation(max_tokens)

    def add_exits(self, depths: Sequence[int]) -> None:
        """Puts fresh maps behind the exits at ``depths``.

        Raises:
            ConfigError: the encoder has no depth, or the depths do not ascend to its own.
        """
        if isinstance(self.body, StaticEmbedding):
            raise ConfigError("an encoder of token vectors alone has no exits to map; choose a transformer")
        self.exits = ExitMaps(
            depths=depths, num_layers=self.num_layers, width=self.body.width, dim=self.embedding_dim
        )

    @property
    def pad_id(self) -> int:
        """The id that padded batches are filled with; its value never matters."""
        if isinstance(self.body, StaticEmbedding | TextTower):
            return self.body.pad_id
        return self.tokenizer.token_to_id(self.marks.get("pad_token", PAD)) or 0

    def tokenize(self, texts: Sequence[str], max_tokens: int | None = None) -> TokenBatch:
        """Token ids of ``texts``, packed, each cut to ``max_tokens`` (at most the encoder's own, which is the default).

        No text is without tokens: an empty one has its start and end marks, or the padding token for a static
        encoder, whose vector for it is zero.
        """
        static = isinstance(self.body, StaticEmbedding)
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        rows, truncated = encode_texts(self._cutting(limit), texts, limit, marks=not static)
        if limit == self.max_tokens:
            self.truncated += truncated
        if isinstance(self.body, TextTower):
            rows = self.body.fill(rows)
        return TokenBatch.from_lists([row or [self.pad_id] for row in rows])

    def _cutting(self, limit: int) -> Tokenizer:
        """The tokenizer, cutting at ``limit``.

        Another one where that is not the encoder's own limit: what a tokenizer cuts at is its state, and batches are made in
        a thread.
        """
        if limit == self.max_tokens:
            return self.tokenizer
        if limit not in self._shorter:
            self._shorter[limit] = Tokenizer.from_str(self.tokenizer.to_str())
            self._shorter[limit].enable_truncation(limit)
        return self._shorter[limit]

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch width"]]:
        """One vector per text after each of ``layers`` (0: embedding output); deeper layers do not run.

        Pooled in float32, not normalised.

        Raises:
            ConfigError: a layer that this encoder does not have.
        """
        self._check_layers(layers)
        if isinstance(self.body, StaticEmbedding):
            return {1: self._project(at_least_float32(self.body(tokens)))}
        if self.exits is not None:
            inputs = self.exit_inputs(tokens, layers)
            return {layer: at_least_float32(self.exits(x, layer)) for layer, x in inputs.items()}
        if self.frozen and self.training:
            return {layer: self._end(vectors) for layer, vectors in self._remembered(tokens, layers).items()}
        pooled = {layer: pool(h, tokens, self.pooling) for layer, h in self.body(tokens, layers).items()}
        return {layer: self._project(vectors) for layer, vectors in pooled.items()}

    def _remembered(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Tensor]:
        """What comes before the last matrix, of a body that does not change: each text is computed once a layer."""
        rows = tokens.ids.split(tokens.lengths.tolist())

        def compute(layer: int, places: list[int]) -> Tensor:
            part = tokens.select(places)
            return self._dense(pool(self.body(part, [layer])[layer], part, self.pooling))

        return {
            layer: self.cache.rows(keys_of(rows, layer), partial(compute, layer), tokens.ids)
            for layer in layers
        }

    def exit_inputs(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch _"]]:
        """What the map of each of ``layers`` takes (:class:`ExitMaps`): at full depth the encoder's own vector; below, means
        of hidden states, whatever the pooling, since a first or last token has read little of the text by then."""
        early = any(layer < self.num_layers for layer in layers)
        hidden = self.body(tokens, sorted({*layers, *([0] if early else [])}))
        first = pool(hidden[0], tokens, "mean") if early else None
        return {layer: self._exit_input(layer, hidden[layer], first, tokens) for layer in layers}

    def _exit_input(self, layer: int, hidden: Tensor, first: Tensor | None, tokens: TokenBatch) -> Tensor:
        if layer == self.num_layers:
            return self._project(pool(hidden, tokens, self.pooling))
        assert first is not None
        return first if layer == 0 else torch.cat([pool(hidden, tokens, "mean"), first], dim=1)

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """The vectors after ``layer`` for padded texts, without data-dependent shapes: for ONNX.

        Shapes: two of (B, L) → (B, D).
        """
        if isinstance(self.body, StaticEmbedding):
            return self._project(self.body.forward_padded(input_ids, attention_mask))
        body: Any = self.body
        deep = (layer, 0) if self.exits is not None and 0 < layer < self.num_layers else (layer,)
        hidden = {depth: body.forward_padded(input_ids, attention_mask, depth) for depth in deep}
        return self._end_padded(hidden, attention_mask, layer)

    def exits_padded(
        self, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[int]
    ) -> dict[int, Tensor]:
        """The same after each of ``layers``, from one pass; of transformers. Shapes: two of (B, L) → (B, D)."""
        body: Any = self.body
        depths = {*layers} if self.exits is None else {*layers, 0}
        hidden = body.exits_padded(input_ids, attention_mask, sorted(depths))
        return {layer: self._end_padded(hidden, attention_mask, layer) for layer in layers}

    def _end_padded(self, hidden: Mapping[int, Tensor], mask: Tensor, layer: int) -> Tensor:
        """The vectors from the hidden states after ``layer`` and, where its map reads them, layer 0."""
        if self.exits is None or layer == self.num_layers:
            own = self._project(pool_padded(hidden[layer], mask, self.pooling))
            return own if self.exits is None else self.exits(own, layer)
        means = [pool_padded(hidden[depth], mask, "mean") for depth in ((layer, 0) if layer else (0,))]
        return self.exits(torch.cat(means, dim=1), layer)

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Floating-point operations to encode texts of these many tokens, up to ``layers``."""
        self._check_layers([layers])
        after = [part.linear.weight for part in self.dense]
        after += [self.projection.weight] if self.projection is not None else []
        own = (
            sum(weight.numel() for weight in after) if self.exits is None or layers == self.num_layers else 0
        )
        mapped = self.exits.flops(layers) if self.exits is not None else 0
        return self.body.flops(lengths, layers) + len(lengths) * (2 * own + mapped)

    def flops_per_token(self, layers: int, length: int | None = None) -> float:
        """The same per token, in a text of ``length`` tokens (None: the longest allowed)."""
        length = length or self.max_tokens
        return self.flops([length], layers) / length

    def collate(self, columns: Mapping[str, Any], max_tokens: int | None = None) -> Batch:
        """Columns of a batch as tensors: texts behind their prompt, packed (:class:`TokenBatch`) and cut as by
        :meth:`tokenize`; numbers as int64 or float32."""
        batch: Batch = {}
        for name, values in columns.items():
            if len(values) and isinstance(values[0], str):
                self.check(values)
                prompted = self.prompts.before(name, values, columns=columns)
                batch[name] = self.tokenize(prompted, max_tokens)
                continue
            array = np.asarray(values)
            dtype = np.int64 if array.dtype.kind in "iub" else np.float32
            batch[name] = torch.from_numpy(array.astype(dtype))
        return batch

    def check(self, texts: Sequence[Any]) -> None:
        """Refuses what cannot be tokenised, where the texts are of a formal notation.

        Raises:
            DataError: with the first wrong row.
        """
        if self.notation is not None:
            self.notation.check(texts)

    def embed(self, batch: Batch, names: Sequence[str]) -> dict[str, Float[Tensor, "batch width"]]:
        """The vectors at full depth of those of the columns ``names`` that the batch has, from one pass."""
        columns = {name: batch[name] for name in names if name in batch}
        last = self.num_layers
        return {name: exits[last] for name, exits in encode_columns(self, columns, [last]).items()}

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this encoder, without its weights."""
        return {
            "kind": self.kind,
            "body": self.body.kind,
            "arguments": dict(self.body.arguments),
            "pooling": self.pooling,
            "max_tokens": self.max_tokens,
            **({"dense": [part.shape.to_dict() for part in self.dense]} if len(self.dense) else {}),
            **({"marks": self.marks} if self.marks else {}),
            **self.prompts.to_dict(),
            **({} if self.projection is None else {"projection": self.embedding_dim}),
            **({} if self.notation is None else {"notation": asdict(self.notation)}),
            **({} if self.exits is None else {"exits": list(self.exits.depths)}),
        }

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any], tokenizer_json: str) -> "TextEncoder":
        """The encoder that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            body = _BODIES[architecture["body"]](**architecture["arguments"])
            settings = {name: architecture[name] for name in ("pooling", "max_tokens")}
            settings["projection"] = architecture.get("projection")
            settings["marks"] = architecture.get("marks")
            settings["prompts"] = Prompts.from_dict(architecture, "the description of the encoder")
            settings["dense"] = [
                DenseShape.from_dict(shape, "the description of the encoder")
                for shape in architecture.get("dense", ())
            ]
            notation = architecture.get("notation")
            settings["notation"] = None if notation is None else Notation(**notation)
            exits = architecture.get("exits")
        except (KeyError, TypeError) as error:
            raise ArtifactError(
                f"the description of the encoder is damaged or from another version ({error!r})"
            ) from error
        encoder = cls(body, read_tokenizer(tokenizer_json, "tokenizer.json"), **settings)
        if exits is not None:
            encoder.add_exits(exits)
        return encoder

    def _check_layers(self, layers: Sequence[int]) -> None:
        depths = self.depths
        if not layers or not set(layers) <= set(depths):
            range_of = f"{depths[0]} … {depths[-1]}" if self.exits is None else ", ".join(map(str, depths))
            raise ConfigError(f"layers {list(layers)}: this encoder has layers {range_of}")

    def _project(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        return self._end(self._dense(pooled))

    def _dense(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch _"]:
        for part in self.dense:
            pooled = part(pooled)
        return pooled

    def _end(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        if self.projection is None:
            return pooled
        return at_least_float32(self.projection(pooled.to(self.projection.weight.dtype)))


def join_tokens(batches: Sequence[TokenBatch]) -> TokenBatch:
    """All texts of several batches as one, in order."""
    if len(batches) == 1:
        return batches[0]
    return TokenBatch(
        torch.cat([b.ids for b in batches]),
        torch.cat([b.lengths for b in batches]),
        max(b.max_length for b in batches),
    )


def encode_columns(
    encoder: TextEncoder, columns: Mapping[str, TokenBatch], layers: Sequence[int]
) -> dict[str, dict[int, Tensor]]:
    """The vectors of several columns from one pass: column → layer → (B, D).

    One pass over all texts keeps the matrix products large; attention groups texts by length, so short
    queries beside long documents cost no padding.
    """
    pooled = encoder(join_tokens(list(columns.values())), layers)
    sizes = [len(tokens) for tokens in columns.values()]
    parts = {layer: vectors.split(sizes) for layer, vectors in pooled.items()}
    return {name: {layer: parts[layer][i] for layer in parts} for i, name in enumerate(columns)}
