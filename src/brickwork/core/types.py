"""The types that cross folder borders: batches, losses, and what a system can do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

Batch = dict[str, Any]
"""Named columns of one batch: tensors, :class:`TokenBatch` or lists, all with the same number of rows, and
the plain numbers ``step`` and ``indices``."""


@dataclass(frozen=True)
class TokenBatch:
    """Tokenised texts laid end to end, without padding.

    Shapes: ``ids`` is (T,), all tokens; ``lengths`` is (B,), tokens of each text, summing to T.
    """

    ids: Int64[Tensor, " tokens"]
    lengths: Int64[Tensor, " batch"]
    max_length: int

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "TokenBatch":
        """Packs lists of token ids."""
        lengths = [len(row) for row in rows]
        flat = np.fromiter((token for row in rows for token in row), dtype=np.int64, count=sum(lengths))
        return cls(torch.from_numpy(flat), torch.tensor(lengths, dtype=torch.int64), max(lengths, default=0))

    def __len__(self) -> int:
        return self.lengths.shape[0]

    @cached_property
    def sequence(self) -> Int64[Tensor, " tokens"]:
        """Which text each token belongs to."""
        rows = torch.arange(len(self), device=self.lengths.device)
        return torch.repeat_interleave(rows, self.lengths, output_size=self.ids.shape[0])

    @cached_property
    def position(self) -> Int64[Tensor, " tokens"]:
        """The place of each token in its text, from 0."""
        starts = self.lengths.cumsum(0) - self.lengths
        return torch.arange(self.ids.shape[0], device=self.ids.device) - starts[self.sequence]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "TokenBatch":
        """The same batch on another device."""
        ids = self.ids.to(device, non_blocking=non_blocking)
        return TokenBatch(ids, self.lengths.to(device, non_blocking=non_blocking), self.max_length)

    def slice(self, start: int, stop: int) -> "TokenBatch":
        """Texts ``start`` to ``stop``."""
        lengths = self.lengths[start:stop]
        first = int(self.lengths[:start].sum())
        ids = self.ids[first : first + int(lengths.sum())]
        return TokenBatch(ids, lengths, int(lengths.max()) if len(lengths) else 0)

    def select(self, rows: Sequence[int]) -> "TokenBatch":
        """The texts in these places."""
        parts, lengths = self.ids.split(self.lengths.tolist()), self.lengths[list(rows)]
        return TokenBatch(torch.cat([parts[row] for row in rows]), lengths, int(lengths.max()))

    def padded(self, pad_id: int) -> tuple[Int64[Tensor, "batch length"], Int64[Tensor, "batch length"]]:
        """Token ids and attention mask (1 for tokens), padded to the longest text."""
        ids = torch.full((len(self), self.max_length), pad_id, device=self.ids.device)
        mask = torch.zeros_like(ids)
        ids[self.sequence, self.position] = self.ids
        mask[self.sequence, self.position] = 1
        return ids, mask


@dataclass(frozen=True)
class LossOutput:
    """A loss, the terms it is the weighted sum of, and numbers to log.

    ``total`` equals the sum over terms of ``weights[name] * terms[name]`` (weight 1 where none is given);
    a name is a term or a statistic, never both.
    """

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]
    weights: Mapping[str, float] = field(default_factory=dict)
    stats: Mapping[str, float | Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shared = set(self.terms) & set(self.stats)
        if shared:
            raise ValueError(f"names used for a term and a statistic: {sorted(shared)}")

    @classmethod
    def of(
        cls,
        terms: Mapping[str, Tensor],
        weights: Mapping[str, float] | None = None,
        stats: Mapping[str, float | Tensor] | None = None,
    ) -> "LossOutput":
        """The weighted sum of ``terms`` as a loss."""
        weights = dict(weights or {})
        total = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        return cls(total, dict(terms), weights, dict(stats or {}))


@dataclass(frozen=True)
class RouterOutput:
    """Where each of T tokens (rows, steps) goes among E modules, K of them each, and what that decision costs.

    ``weights`` (T, K) of the chosen modules ``index`` (T, K), from ``logits`` (T, E) over all; ``aux`` holds scalar
    losses that train the router, not yet weighted, and ``stats`` numbers to log. A soft router chooses all: K = E.
    """

    weights: Float[Tensor, "tokens chosen"]
    index: Int64[Tensor, "tokens chosen"]
    logits: Float[Tensor, "tokens modules"]
    aux: Mapping[str, Tensor] = field(default_factory=dict)
    stats: Mapping[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What a causal language model makes of T new tokens of B texts.

    ``logits`` (B, T, V) for the token after each. ``cache``: what to hand on with the tokens that follow; it is never
    changed. ``hidden``: where it was asked for, (B, T, D) before the first layer and after each; the last is what the head
    reads, with the model's final norm. ``routings``: of a model that routes, first layer first.
    """

    logits: Float[Tensor, "batch tokens vocabulary"]
    cache: Any
    hidden: tuple[Float[Tensor, "batch tokens width"], ...] = ()
    routings: Sequence[RouterOutput] = ()


@runtime_checkable
class CausalLM(Protocol):
    """A language model that reads from left to right: ours, or one of transformers.

    Called with ``ids`` or ``inputs_embeds`` (B, T, D), one of them, and a mask (B, T) of the tokens that exist. Logits at
    padding mean nothing. ``embed`` gives vectors of ids for ``inputs_embeds``, ``head`` the logits of a last hidden state.
    """

    @property
    def num_layers(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def num_kv_heads(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def tokenizer(self) -> Any: ...

    def embed(self, ids: Tensor) -> Tensor: ...

    def head(self, hidden: Tensor) -> Tensor: ...

    def __call__(
        self,
        ids: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Any = None,
        *,
        inputs_embeds: Tensor | None = None,
        with_hidden: bool = False,
    ) -> Decoded: ...


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the modules of one router, gate or chain did on some examples: what inspection pages draw.

    ``usage`` (R, E): how much each of ``modules`` served each row (a sample, a text, a window); shares where ``unit`` is
    ``share`` (rows sum to 1), else contributions in ``unit``. ``time`` (S, E): the mean over rows at each of S steps.
    ``domain``: the kind of each row, where there are kinds.
    """

    name: str
    modules: tuple[str, ...]
    usage: Float[np.ndarray, "rows modules"]
    time: Float[np.ndarray, "steps modules"] | None = None
    domain: tuple[str, ...] | None = None
    unit: str = "share"

    def __post_init__(self) -> None:
        for name, table in (("usage", self.usage), ("time", self.time)):
            if table is not None and table.shape[1] != len(self.modules):
                raise ValueError(
                    f"{self.name}: {name} has {table.shape[1]} columns for {len(self.modules)} modules"
                )
        if self.domain is not None and len(self.domain) != len(self.usage):
            raise ValueError(f"{self.name}: {len(self.domain)} domains for {len(self.usage)} rows")


def batch_size(batch: Batch) -> int:
    """The number of rows of a batch."""
    for value in batch.values():
        if isinstance(value, Tensor | TokenBatch | list | np.ndarray):
            return len(value)
    raise ValueError("a batch without columns")


def slice_batch(batch: Batch, start: int, stop: int) -> Batch:
    """Rows ``start`` to ``stop`` of every column; plain numbers stay."""

    def part(value: Any) -> Any:
        if isinstance(value, TokenBatch):
            return value.slice(start, stop)
        return value[start:stop] if isinstance(value, Tensor | list | np.ndarray) else value

    return {name: part(value) for name, value in batch.items()}


@runtime_checkable
class Trainable(Protocol):
    """What the training loop needs of a system (which is also a plain ``nn.Module``)."""

    def collate(self, columns: dict[str, Any]) -> Batch: ...

    def loss(self, batch: Batch) -> LossOutput: ...


@runtime_checkable
class CachesGradients(Protocol):
    """A system whose loss splits into a per-row part and a whole-batch part, so that large batches fit.

    ``loss(batch)`` equals ``loss_from(embed(batch), batch)``; every tensor of ``embed`` has the rows first.
    """

    def embed(self, batch: Batch) -> dict[str, Tensor]: ...

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput: ...


@runtime_checkable
class Fits(Protocol):
    """A system that learns in rounds of its own: it counts, searches or solves, or takes steps that the loop does not know.

    The house iterates over ``fit`` in place of the loop, and saves the same run folder. It yields the share that is done
    (0 … 1) after each round, and all that it has learnt is then in its state; ``start`` rounds were done before, by a
    run that is resumed. Shapes of the state are known when the system is built.
    """

    def fit(self, examples: Any, *, start: int) -> Iterator[float]: ...


@runtime_checkable
class Foretells(Protocol):
    """A system that can say, after a try of a second, how long it will learn from ``examples`` in rounds of its own."""

    def foretell(self, examples: Any) -> str: ...


@runtime_checkable
class Finishes(Protocol):
    """A system with something left to learn once its steps are done, by counting or solving, in a minute or two.

    The house iterates over ``finish`` after the last step, and keeps the system afterwards; it yields what it does next, a
    line for the user. A run that is stopped meanwhile begins again with what the steps have left.
    """

    def finish(self, examples: Any) -> Iterator[str]: ...


@runtime_checkable
class HasBaseline(Protocol):
    """A kind of system that can make the simple model that its training has to beat, from a configuration and the same
    examples, without training.

    ``baseline`` gives a name and an encoder with the sizes of ``axes``, or ``None`` where there is no such model.
    """

    @staticmethod
    def baseline(config: Any, axes: Any, examples: Any, seed: int) -> "tuple[str, Any] | None": ...


@runtime_checkable
class Encodes(Protocol):
    """A system that turns inputs into vectors, cut to ``dim`` dimensions and ``layers`` blocks where asked.

    ``representation()`` is the encoder with the sizes that it may be cut to.
    """

    def encode(self, inputs: Any, dim: int | None = None, layers: int | None = None) -> Any: ...

    def representation(self) -> Any: ...


@runtime_checkable
class HasParts(Protocol):
    """Vectors of named ``parts``, each of which can be searched alone, and which known changes can move.

    ``asked`` gives the vector, of length 1, that finds what a query asks for: its ``part`` alone, or what it looks like
    after a ``change`` (as text, ``angle=30``, or a mapping). ``share`` is the length of a part in a vector of length 1.
    """

    @property
    def parts(self) -> tuple[str, ...]: ...

    def asked(
        self, vector: Any, part: str | None, change: "str | Mapping[str, float | int] | None"
    ) -> Any: ...

    def share(self, part: str | None) -> float: ...


@dataclass(frozen=True)
class WordShare:
    """A word with its ``share``: of what a text is about, or of what connects two texts; all words together have 1.
    ``where``: of a text, ``in text`` or ``beyond``; of two, ``in both texts`` or ``only meant``."""

    word: str
    share: float
    where: str


@runtime_checkable
class ReadsWords(Protocol):
    """A model whose vectors can be read as words.

    ``words_of``: the weights of words of documents, from their whole vectors; ``words_asked``: those of queries, which
    count their literal words too; the product of both is a score. ``connections``: the words that connect a query with
    each of some texts, whatever size their vectors are compared at.
    """

    def words_of(self, vectors: Any) -> "list[dict[str, float]]": ...

    def words_asked(self, queries: Sequence[str]) -> "list[dict[str, float]]": ...

    def connections(self, query: str, hits: Sequence[str], count: int = 10) -> "list[list[WordShare]]": ...


@runtime_checkable
class ReadsAsLearnt(Protocol):
    """A system that reads data in the form in which it learnt: the same columns, the same classes in the same order.

    Of another file than it was trained on, guesses and sorted names could give other ones. ``load_data`` takes the
    configuration of the data and a seed, and gives the task.
    """

    def load_data(self, config: Any, seed: int) -> Any: ...


class Keeps(Protocol):
    """A system that can be saved: ``architecture()`` gives JSON values from which it is rebuilt with fresh weights.

    Its texts go through its ``tokenizer``, or that of its ``encoder``, if it has one.
    """

    def architecture(self) -> dict[str, Any]: ...


@runtime_checkable
class Evaluates(Protocol):
    """A system that says how good it is on held-out examples, in named numbers."""

    def evaluate(self, examples: Any) -> dict[str, float]: ...


@runtime_checkable
class Watches(Protocol):
    """A system that says less while it trains than once it has learnt: the numbers that the stage of now can change."""

    def watch(self, examples: Any) -> dict[str, float]: ...


@runtime_checkable
class Predicts(Protocol):
    """A system that answers rows of named columns with named columns of as many rows.

    ``input_kind`` says what a file of inputs is to it: ``texts`` or ``images`` arrive as the column ``input``,
    ``columns`` as they are called in the file; ``predict_columns``, where a system has it, names those that it asks for and
    that are not those of the training.
    """

    input_kind: Literal["texts", "images", "columns"]

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]: ...


@runtime_checkable
class Recommends(Protocol):
    """A system that ranks items for users.

    ``recommend`` answers each of ``users`` (what the system calls them: names, or histories of items) with its ``count``
    best items, best first: columns ``user``, ``rank``, ``item`` and ``score``, users × count rows.
    """

    def recommend(self, users: Sequence[Any], *, count: int) -> dict[str, Any]: ...


@runtime_checkable
class Analyses(Protocol):
    """A system that answers a question about another model or a body of data: a table for each named result."""

    def analyse(self, examples: Any) -> dict[str, dict[str, Any]]: ...


@runtime_checkable
class Generates(Protocol):
    """A system that continues texts."""

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]: ...


@runtime_checkable
class GeneratesImages(Protocol):
    """A system that makes images of named kinds: ``count`` of each name, one name after the other, (images, H, W, C) of
    uint8. Options of its own have defaults."""

    def generate_images(self, names: Sequence[str], *, count: int, seed: int = 0) -> Any: ...


@runtime_checkable
class ExportsAdapters(Protocol):
    """A system whose adapters other tools can load onto the published base model."""

    def export_peft(self, folder: Any) -> Any: ...


@runtime_checkable
class Prunes(Protocol):
    """A system that says which parts of a model matter, and gives the model with only those that ``keep`` names, as a system
    of its own that can be saved."""

    def prune(self, keep: str) -> Any: ...


class HasControls(Protocol):
    """A kind of system that names what its idea has to be held against: ``controls(config)`` gives configurations by name,
    first the plain way, in which the idea has no part; the configuration itself is one of them. ``compared`` takes from the
    numbers of ``evaluate`` those by which they are held against each other, larger is better, by what they are called."""

    @staticmethod
    def controls(config: Any) -> "dict[str, Any]": ...

    @staticmethod
    def compared(scores: Mapping[str, float]) -> "dict[str, float]": ...


@runtime_checkable
class ExportsDense(Protocol):
    """A system that leaves out parts of a model token by token, and writes it whole as other tools load it."""

    def export_dense(self, folder: Any) -> Any: ...


@runtime_checkable
class HasWordVectors(Protocol):
    """A system with a vector for each word, or for each sense of it: a
    :class:`brickwork.representation.vectors.WordVectors`."""

    def word_vectors(self) -> Any: ...


@runtime_checkable
class Draws(Protocol):
    """A system that shows what it found in pictures of its own (:class:`brickwork.inspection.drawings.Drawing`)."""

    def draw(self, examples: Any) -> Sequence[Any]: ...


@runtime_checkable
class ShowsLayers(Protocol):
    """A system without an encoder whose inner vectors can be looked at: layer → vectors, a row an input, of what
    ``input_kind`` says (:class:`Predicts`)."""

    input_kind: Literal["texts", "images", "columns"]

    def layer_vectors(self, inputs: Any) -> Mapping[str, Float[np.ndarray, "rows _"]]: ...


@runtime_checkable
class KeepsBricks(Protocol):
    """A system with bricks over one base: it writes them into a library, or into the base's weights.

    ``brick`` is a name, or names joined by ``+``.
    """

    def export_bricks(self, folder: Any, brick: str = "") -> Any: ...

    def export_merged(
        self, folder: Any, brick: str = "", rank: int | None = None, merge: str = ""
    ) -> Any: ...


@runtime_checkable
class Traces(Protocol):
    """A system whose modules can be watched at work."""

    def trace(self, examples: Any) -> list[Trace]: ...
