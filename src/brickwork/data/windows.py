"""Words and what stands around them: windows for predictive vectors, counts of neighbours for the others.

Shape legend: T tokens, P positions, W words to each side, V words of the vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Int

from brickwork.core.errors import ConfigError, DataError, naming_extras
from brickwork.core.files import atomic_path, os_errors
from brickwork.core.seeding import uniforms
from brickwork.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_TOKENS = 2**18  # of a block
_PENDING = 2**23  # pairs that wait to be added up


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as numbers of words, one after the other; text i ends before place ``ends[i]``. −1: a word that is not known."""

    ids: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " texts"]

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        texts: Iterable[str],
        *,
        unknown: Literal["drop", "keep"] = "drop",
        file: Path | None = None,
    ) -> "Tokens":
        """The texts by a vocabulary of words. Unknown words are left out, as word2vec does, so that their neighbours come
        nearer, or keep their places. With a ``file`` the numbers stay there and are read where they are used.

        Raises:
            DataError: no word of the texts is in the vocabulary.
            ResourceError: the file cannot be written.
        """
        lengths: list[Int[np.ndarray, " texts"]] = [np.zeros(0, np.int64)]

        def blocks() -> Iterator[Int[np.ndarray, " tokens"]]:
            for ids, ends in vocabulary.sequences_of(texts):
                ids = ids.astype(np.int32)
                if unknown == "drop":
                    known = ids >= 0
                    ends = np.concatenate([[0], np.cumsum(known)])[ends]
                    ids = ids[known]
                lengths.append(np.diff(ends, prepend=0))
                yield ids

        if file is None:
            ids = np.concatenate([np.zeros(0, np.int32), *blocks()])
        else:
            with os_errors(file), atomic_path(file) as path, path.open("wb") as out:
                for block in blocks():
                    block.tofile(out)
            ids = np.memmap(file, np.int32, "r") if file.stat().st_size else np.zeros(0, np.int32)
        if not (ids >= 0).any():
            raise DataError("no word of the texts is in the vocabulary")
        return cls(ids, np.cumsum(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[tuple[int, Int[np.ndarray, " tokens"], Int[np.ndarray, " tokens"]]]:
        """First place, ids and text of each of about 2^18 tokens: whole texts, and longer ones in pieces of that size."""
        start = 0
        while start < len(self.ids):
            last = int(np.searchsorted(self.ends, start + _TOKENS, side="right"))
            end = (
                int(self.ends[last - 1])
                if last and self.ends[last - 1] > start
                else min(start + _TOKENS, len(self.ids))
            )
            place = np.arange(start, end)
            yield start, np.asarray(self.ids[start:end]), np.searchsorted(self.ends, place, side="right")
            start = end


@dataclass(frozen=True, eq=False)
class Windows:
    """Words in the middle and the words around them, from left to right; −1 where there is none (or an unknown one)."""

    centres: Int[np.ndarray, " positions"]
    contexts: Int[np.ndarray, "positions slots"]

    def pairs(self) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
        """Each centre with each word around it."""
        there = self.contexts >= 0
        return np.repeat(self.centres, there.sum(1)), self.contexts[there]


def keep_probabilities(counts: Int[np.ndarray, " words"], sample: float) -> Float[np.ndarray, " words"]:
    """How likely a word stays where frequent ones are thinned out: min(1, √(t/f) + t/f), f its share of all words
    (Mikolov et al. 2013, in the form of word2vec's code). ``sample`` is t; 0 keeps all."""
    if sample <= 0:
        return np.ones(len(counts))
    ratio = sample * counts.sum() / np.maximum(counts, 1)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


def windows(
    tokens: Tokens,
    size: int,
    *,
    seed: int,
    epoch: int = 0,
    keep: Float[np.ndarray, " words"] | None = None,
    shrink: bool = True,
) -> Iterator[Windows]:
    """All positions of an epoch with up to ``size`` words to each side, block by block, mixed inside a block.

    ``keep``: the share of each word's places that stay (:func:`keep_probabilities`); the others are left out before
    windows are made. ``shrink``: the reach of each position is drawn from 1 to ``size``, so near words count more. All
    that is drawn is a function of the seed, the epoch and the place. Windows end where a text or a block does.

    Raises:
        ConfigError: a size below 1.
    """
    if size < 1:
        raise ConfigError(f"windows of {size} words: they need at least 1")
    for start, ids, text_of in tokens.blocks():
        stays, reach, order = uniforms(f"{seed}/{epoch}/windows", np.arange(start, start + len(ids)), 3)
        if keep is not None:
            there = (ids < 0) | (stays < keep[ids])
            ids, text_of, reach, order = ids[there], text_of[there], reach[there], order[there]
        radius = 1 + (reach * size).astype(np.int64) if shrink else np.full(len(ids), size)
        contexts = np.full((len(ids), 2 * size), -1, np.int32)
        for offset in range(1, size + 1):
            same = text_of[offset:] == text_of[:-offset]
            contexts[:-offset, size + offset - 1] = np.where(
                same & (radius[:-offset] >= offset), ids[offset:], -1
            )
            contexts[offset:, size - offset] = np.where(same & (radius[offset:] >= offset), ids[:-offset], -1)
        mixed = np.argsort(order)
        mixed = mixed[(ids[mixed] >= 0) & (contexts[mixed] >= 0).any(1)]
        yield Windows(ids[mixed], contexts[mixed])


@naming_extras("counts of neighbours")
def cooccurrence(tokens: Tokens, size: int, num_words: int, *, harmonic: bool = True) -> "csr_matrix":
    """How often two words stand within ``size`` words of each other, both ways: (V, V) in 32-bit floats.

    ``harmonic``: a pair that is d words apart counts 1/d (GloVe, Pennington et al. 2014), else 1.

    Raises:
        ConfigError: a size below 1.
    """
    from scipy.sparse import csr_matrix

    if size < 1:
        raise ConfigError(f"windows of {size} words: they need at least 1")
    total, pending, waiting = csr_matrix((num_words, num_words), dtype=np.float64), [], 0
    for _, ids, text_of in tokens.blocks():
        for offset in range(1, size + 1):
            there = (text_of[offset:] == text_of[:-offset]) & (ids[offset:] >= 0) & (ids[:-offset] >= 0)
            left, right = ids[:-offset][there], ids[offset:][there]
            weights = np.full(len(left), 1 / offset if harmonic else 1.0)
            pending.append((left, right, weights))
            waiting += len(left)
        if waiting > _PENDING:
            total, pending, waiting = total + _matrix(pending, num_words), [], 0
    total = total + _matrix(pending, num_words) if pending else total
    return (total + total.T).astype(np.float32).tocsr()


@naming_extras("mutual information")
def ppmi(counts: "csr_matrix", *, smoothing: float = 0.75, shift: float = 1.0) -> "csr_matrix":
    """Positive pointwise mutual information: max(0, ln(n_wc / (n_w p_c)) − ln shift), p_c = n_c^s / Σ n^s, n_w the sums of
    the rows (Levy, Goldberg, Dagan 2015, section 3.1; ``smoothing`` is s, ``shift`` their k)."""
    from scipy.sparse import csr_matrix

    found = counts.tocoo()
    words, contexts = np.asarray(counts.sum(1)).ravel(), np.asarray(counts.sum(0)).ravel()
    smooth = contexts.astype(np.float64) ** smoothing
    share = smooth / smooth.sum()
    values = np.log(found.data / (words[found.row] * share[found.col])) - np.log(shift)
    positive = values > 0
    return csr_matrix(
        (values[positive].astype(np.float32), (found.row[positive], found.col[positive])), shape=counts.shape
    )


def _matrix(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], num_words: int) -> "csr_matrix":
    from scipy.sparse import coo_matrix

    left, right, weights = (np.concatenate(arrays) for arrays in zip(*parts))
    return coo_matrix((weights, (left, right)), shape=(num_words, num_words)).tocsr()
