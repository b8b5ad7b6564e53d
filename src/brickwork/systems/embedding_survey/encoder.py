"""From the words of a text to its vector: a table of vectors and how they are put together.

Shape legend: T tokens, B texts, V words, R rows (words, then n-grams), D dimensions, M directions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import Batch, TokenBatch
from brickwork.data.vocabulary import Vocabulary
from brickwork.representation.subwords import character_ngrams, fnv1a
from brickwork.systems.embedding_survey.topics import fold_in

SHORTEST, LONGEST = 3, 6
"""Letters of n-grams."""


class Table(nn.Module):
    """``rows``: vectors of words, then of n-grams; of topics, the frequency of each word in each. ``scale``: by which a
    word's vector is larger in each dimension where it is compared with those of words (Σ of latent semantic analysis)."""

    rows: Tensor
    scale: Tensor

    def __init__(self, words: int, grams: int, dim: int, topics: bool):
        super().__init__()
        self.words, self.grams, self.topics = words, grams, topics
        self.register_buffer("rows", torch.zeros(words + grams, dim))
        self.register_buffer("scale", torch.ones(dim))

    @property
    def vectors(self) -> Float[Tensor, "words dim"]:
        """Of words, to be compared with each other."""
        return self.rows[: self.words] * self.scale


class Pooling(nn.Module):
    """``weights`` of words; ``removed`` directions and the ``shares`` of them that are taken out of the sum."""

    weights: Tensor
    removed: Tensor
    shares: Tensor

    def __init__(self, words: int, dim: int, directions: int):
        super().__init__()
        self.register_buffer("weights", torch.ones(words))
        self.register_buffer("removed", torch.zeros(directions, dim))
        self.register_buffer("shares", torch.zeros(directions))


class WordsEncoder(nn.Module):
    """Vectors of texts from a :class:`Table`: the weighed mean of the vectors of its words less what is removed, or shares
    of topics. A word that is not in the vocabulary is left out, or made of its n-grams with the weight of the rarest word.

    A token is the number of a word; or, of a word that is made of n n-grams, V + (n − 1)·G + g for each of them, of G rows.
    """

    kind = "text"
    num_layers = 1

    def __init__(self, vocabulary: Vocabulary, table: Table, pooling: Pooling, alpha: float = 0.0):
        super().__init__()
        self.vocabulary, self.table, self.pooling, self.alpha = vocabulary, table, pooling, alpha

    @property
    def embedding_dim(self) -> int:
        return int(self.table.rows.shape[1])

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Numbers of words and n-grams."""
        return TokenBatch.from_lists([self._tokens(text) for text in texts])

    def _tokens(self, text: str) -> list[int]:
        known, words, grams = self.vocabulary.ids, self.table.words, self.table.grams
        tokens: list[int] = []
        for word in self.vocabulary.tokenize(text):
            place = known.get(word)
            if place is not None:
                tokens.append(place)
            elif grams:
                found = [fnv1a(g.encode()) % grams for g in character_ngrams(word, SHORTEST, LONGEST)]
                tokens += [words + (len(found) - 1) * grams + g for g in found]
        return tokens

    def collate(self, columns: Mapping[str, Any], train_tokens: int | None = None) -> Batch:
        """Texts as tokens, other columns as they are."""
        texts = {n: self.tokenize(c) for n, c in columns.items() if len(c) and isinstance(c[0], str)}
        return {**columns, **texts}

    def forward(self, tokens: TokenBatch, layers: Sequence[int]) -> dict[int, Float[Tensor, "batch dim"]]:
        """Vectors of texts; of one without a known word, zeros."""
        if self.table.topics:
            vectors = fold_in(tokens.ids, tokens.sequence, len(tokens), self.table.rows, self.alpha)
        else:
            vectors = self._pooled(tokens)
        return dict.fromkeys(layers, vectors)

    def _pooled(self, tokens: TokenBatch) -> Float[Tensor, "batch dim"]:
        rows, weights = self._rows(tokens)
        total = weights.new_zeros(len(tokens)).index_add_(0, tokens.sequence, weights)
        summed = self.table.rows.new_zeros(len(tokens), self.embedding_dim)
        summed.index_add_(0, tokens.sequence, self.table.rows[rows] * weights[:, None])
        mean = summed / total.clamp_min(1e-12)[:, None]
        common = self.pooling.removed
        return mean - (mean @ common.T * self.pooling.shares) @ common

    def _rows(self, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
        """The row of each token and its weight."""
        words, grams, weights = self.table.words, self.table.grams, self.pooling.weights
        if not grams:
            return tokens.ids, weights[tokens.ids]
        beyond = (tokens.ids - words).clamp_min(0)
        whole = tokens.ids < words
        rows = torch.where(whole, tokens.ids, words + beyond % grams)
        part = weights.max() / (beyond // grams + 1)
        return rows, torch.where(whole, weights[tokens.ids.clamp_max(words - 1)], part)


def replaced(encoder: WordsEncoder, rows: Float[Tensor, "rows dim"]) -> WordsEncoder:
    """The same encoder with other numbers in its table."""
    old = encoder.table
    with torch.device("meta"):
        table = Table(old.words, old.grams, rows.shape[1], old.topics)
    table.rows, table.scale = rows, old.scale
    return WordsEncoder(encoder.vocabulary, table, encoder.pooling, encoder.alpha)
