"""Vectors that predict words: skip-gram and CBOW with negative sampling, of whole words or of words and their parts.

Texts are read in order, in blocks of 32 words. All words of a block meet all words around it in one product, of which only
the pairs inside a window count; the drawn words are the block's own. So a word's vector is fetched once for all its
neighbours, not once for each.

Shape legend: T words of a step, B blocks, S slots around a block, K drawn words of a block, V words, R rows, D dimensions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from brickwork.core.seeding import generator_for, uniforms
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, keep_probabilities
from brickwork.modules.sampled_softmax import AliasTable
from brickwork.representation.subwords import character_ngrams, fnv1a

BLOCK = 32
STEP = 16
"""Blocks whose gradients are summed before a step."""
MOST = 8.0
"""Of a word that is met more often in one step, gradients count as if it were met so often: all are taken at the same place,
where more of them would lead too far."""
_POWER = 0.75  # of frequencies, by which negative words are drawn
_LEAST_RATE = 1e-4


@dataclass(frozen=True)
class Blocks:
    """``words`` (B, 32) and what stands ``around`` (B, S); ``pairs`` (B, 32, S) that count. Where there is no word is any:
    none of its pairs counts."""

    words: Int[Tensor, "blocks words"]
    around: Int[Tensor, "blocks slots"]
    pairs: Bool[Tensor, "blocks words slots"]


@dataclass(frozen=True)
class Parts:
    """The rows of every word's own vector and its n-grams, one after the other; word w ends before ``ends[w]``."""

    rows: Int[Tensor, " rows"]
    ends: Int[Tensor, " words"]

    @classmethod
    def of(cls, words: tuple[str, ...], shortest: int, longest: int, buckets: int) -> "Parts":
        """As fastText finds them: the word, then each of its n-grams in a row behind the words."""
        rows: list[int] = []
        ends = []
        for place, word in enumerate(words):
            grams = character_ngrams(word, shortest, longest)
            rows += [place, *(len(words) + fnv1a(gram.encode()) % buckets for gram in grams)]
            ends.append(len(rows))
        return cls(torch.tensor(rows), torch.tensor(ends))

    def of_words(self, words: Int[Tensor, " some"]) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
        """The rows of some words, and to which of them each belongs."""
        ends = self.ends[words]
        starts = torch.where(words > 0, self.ends[words - 1], 0)
        lengths = ends - starts
        owner = torch.repeat_interleave(torch.arange(len(words)), lengths)
        first = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
        return self.rows[first + torch.arange(len(owner))], owner


def blocks(
    tokens: Tokens, window: int, keep: Float[np.ndarray, " words"], *, seed: int, epoch: int
) -> Iterator[tuple[int, Blocks]]:
    """The words of an epoch, those that stay (:func:`keep_probabilities`), with a window drawn for each; and how many words
    of the texts were read with each step. All that is drawn is a function of the seed, the epoch and the place."""
    offset = torch.arange(-window, BLOCK + window) - torch.arange(BLOCK)[:, None]
    for start, ids, text_of in tokens.blocks():
        stays, reach = uniforms(f"{seed}/{epoch}/windows", np.arange(start, start + len(ids)), 2)
        there = stays < keep[ids]
        left = int(there.sum())
        if not left:
            continue
        number = -(-left // BLOCK)
        padded = number * BLOCK + 2 * window
        place = slice(window, window + left)
        words, text = np.arange(padded) % len(keep), np.full(padded, -1, np.int64)
        radius = np.zeros(padded, np.int64)
        words[place], text[place] = ids[there], text_of[there]
        radius[place] = 1 + (reach[there] * window).astype(np.int64)
        every = [torch.from_numpy(values) for values in (words, text, radius)]
        for first in range(0, number, STEP):
            last = min(first + STEP, number)
            part = slice(first * BLOCK, last * BLOCK + 2 * window)
            around, text_around, _ = (v[part].unfold(0, BLOCK + 2 * window, BLOCK) for v in every)
            own, text_own, reach_own = (v[part][window:-window].view(-1, BLOCK) for v in every)
            pairs = (
                (offset.abs() <= reach_own[..., None])
                & (offset != 0)
                & (text_around[:, None] == text_own[..., None])
                & (text_own >= 0)[..., None]
            )
            read = len(ids) * last // number - len(ids) * first // number
            yield read, Blocks(own, around, pairs)


class Predictor:
    """One way to learn vectors by prediction; ``table`` (R, D) and ``contexts`` (V, D) change in place.

    ``parts``: the rows whose mean is a word's vector; none: a row each.
    """

    def __init__(
        self,
        table: Float[Tensor, "rows dim"],
        contexts: Float[Tensor, "words dim"],
        vocabulary: Vocabulary,
        *,
        cbow: bool,
        negatives: int,
        parts: Parts | None = None,
    ):
        self.table, self.contexts, self.cbow = table, contexts, cbow
        self.negatives, self.parts = negatives, parts
        self.drawn = AliasTable(vocabulary.counts.astype(np.float64) ** _POWER)

    def step(self, block: Blocks, rate: float, generator: torch.Generator) -> None:
        """One step of gradient descent on the loss of skip-gram (Mikolov et al. 2013, eq. 4), −ln σ(v_w·u_c) − Σ_n ln
        σ(−v_w·u_n), or of CBOW, with the mean of the vectors around in place of v_w and w in place of c.

        Instead of a few words for each pair, all pairs of a block have the same 32, each weighed so that the sum over them
        has the same expectation; a drawn word counts for no pair that it is the wanted word of.
        """
        count = block.words.shape[0]
        drawn = self.drawn.draw(count * BLOCK, generator).view(count, BLOCK)
        share = self.negatives / BLOCK
        (self._cbow if self.cbow else self._skip_gram)(block, drawn, share, rate)

    def means(self) -> Float[Tensor, "words dim"]:
        """The vector of every word that is made of parts: the mean of their rows."""
        assert self.parts is not None
        rows, owner = self.parts.of_words(torch.arange(len(self.contexts)))
        return self._means(rows, owner, len(self.contexts))

    def _means(self, rows: Tensor, owner: Tensor, count: int) -> Tensor:
        sums = torch.zeros(count, self.table.shape[1]).index_add_(0, owner, self.table[rows])
        return sums / owner.bincount(minlength=count)[:, None]

    def _skip_gram(self, block: Blocks, drawn: Tensor, share: float, rate: float) -> None:
        pairs = block.pairs.to(self.table.dtype)
        vectors, give = self._vectors(block.words)
        around, rivals = self.contexts[block.around], self.contexts[drawn]
        same = (drawn[:, None, :] == block.around[..., None]).to(pairs)
        weight = (pairs.sum(2, keepdim=True) - pairs @ same) * share
        wanted = pairs * torch.sigmoid(-vectors @ around.transpose(1, 2)) * rate
        unwanted = weight * torch.sigmoid(vectors @ rivals.transpose(1, 2)) * rate
        give(wanted @ around - unwanted @ rivals)
        _add(self.contexts, block.around, wanted.transpose(1, 2) @ vectors)
        _add(self.contexts, drawn, -(unwanted.transpose(1, 2) @ vectors))

    def _cbow(self, block: Blocks, drawn: Tensor, share: float, rate: float) -> None:
        pairs = block.pairs.to(self.table.dtype)
        number = pairs.sum(2, keepdim=True)
        around, give = self._vectors(block.around)
        vectors = pairs @ around / number.clamp_min(1)
        own, rivals = self.contexts[block.words], self.contexts[drawn]
        there = (number > 0).to(pairs)
        weight = there * (drawn[:, None, :] != block.words[..., None]) * share
        wanted = there * torch.sigmoid(-(vectors * own).sum(2, keepdim=True)) * rate
        unwanted = weight * torch.sigmoid(vectors @ rivals.transpose(1, 2)) * rate
        # As word2vec does it, each word around moves by the whole of it and not by its share of the mean.
        give(pairs.transpose(1, 2) @ (wanted * own - unwanted @ rivals))
        _add(self.contexts, block.words, wanted * vectors)
        _add(self.contexts, drawn, -(unwanted.transpose(1, 2) @ vectors))

    def _vectors(self, words: Tensor) -> tuple[Tensor, Callable[[Tensor], None]]:
        """The vectors of words, and what moves them."""
        if self.parts is None:
            return self.table[words], lambda change: _add(self.table, words, change)
        parts = self.parts
        different, place = words.unique(return_inverse=True)
        rows, owner = parts.of_words(different)
        means = self._means(rows, owner, len(different))

        def give(change: Tensor) -> None:
            moved = torch.zeros_like(means)
            _add(moved, place, change)
            self.table.index_add_(0, rows, moved[owner])

        return means[place], give


def _add(table: Tensor, rows: Tensor, change: Tensor) -> None:
    """Adds changes to rows; those of a row that is there more than ``MOST`` times count less."""
    flat = rows.reshape(-1)
    times = torch.bincount(flat, minlength=len(table))[flat]
    change = change.reshape(len(flat), -1) * (MOST / times.clamp_min(MOST))[:, None]
    table.index_add_(0, flat, change)


def learn(
    predictor: Predictor,
    tokens: Tokens,
    counts: Int[np.ndarray, " words"],
    *,
    window: int,
    sample: float,
    rate: float,
    epoch: int,
    epochs: int,
    seed: int,
) -> None:
    """One of ``epochs`` over the texts; the learning rate falls evenly over all of them, by the words that were read."""
    keep = keep_probabilities(counts, sample)
    done, total = epoch * len(tokens), epochs * len(tokens)
    generator = generator_for(seed, epoch, "negative words")
    with torch.no_grad():
        for read, block in blocks(tokens, window, keep, seed=seed, epoch=epoch):
            now = max(rate * (1 - done / total), _LEAST_RATE * rate / 0.025)
            predictor.step(block, now, generator)
            done += read
