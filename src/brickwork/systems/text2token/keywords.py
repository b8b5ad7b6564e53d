"""The words that texts are about: which words count, how much, and which others are near them.

Shape legend: N texts, V key words, K words of a target.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from brickwork.core.errors import DataError
from brickwork.core.words import plain_words
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, cooccurrence, ppmi
from brickwork.objectives.distillation import Sparse
from brickwork.systems.text2token.config import Filter

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Named = tuple[Int[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""A distribution: the places of some words, and the probability of each."""
_WINDOW = 10  # key words to each side whose neighbourhood counts


@dataclass(frozen=True, eq=False)
class KeyWords:
    """V words, each with the number of training texts that have it, of ``num_texts``. ``weighted``: rare words count more;
    else only how often a text has a word."""

    words: tuple[str, ...]
    documents: Int[np.ndarray, " words"]
    num_texts: int
    weighted: bool = True

    @classmethod
    def from_texts(cls, texts: Iterable[str], most: int, chosen: Filter | None) -> "KeyWords":
        """The ``most`` most frequent words of different texts that are key words; without a filter, all are.

        Dropped are words in more than a share or in too few of the texts, the most frequent words, digits alone and single
        letters.

        Raises:
            DataError: nothing is left.
        """
        different = list(dict.fromkeys(texts))
        every = Vocabulary.from_texts(different)
        kept = np.arange(len(every))
        if chosen is not None:
            n, most_texts = every.documents, chosen.most_documents * every.num_texts
            usual = np.arange(len(every)) >= chosen.frequent  # entries come most frequent first
            spelt = np.array([len(word) > 1 and not word.isdigit() for word in every.entries])
            kept = np.flatnonzero(usual & spelt & (n <= most_texts) & (n >= max(1, chosen.fewest_documents)))
        if len(kept) < 2:
            raise DataError(
                f"{len(different):,} different texts leave {len(kept)} key words of {len(every):,} words: each has to be in "
                "some texts and not in too many. Give more texts, or loosen model.filter (most_documents, "
                "fewest_documents, frequent)"
            )
        kept = kept[:most]
        words = tuple(every.entries[place] for place in kept)
        return cls(words, every.documents[kept], every.num_texts, chosen is not None)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "KeyWords":
        """The key words whose :meth:`state` this is."""
        documents = np.array(state["documents"], np.int64)
        return cls(tuple(state["words"]), documents, state["num_texts"], state["weighted"])

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "words": list(self.words),
            "documents": self.documents.tolist(),
            "num_texts": self.num_texts,
            "weighted": self.weighted,
        }

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """Word → its place."""
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def idf(self) -> Float[np.ndarray, " words"]:
        """ln(N / df); 1 where words are not weighted."""
        return np.log(self.num_texts / self.documents) if self.weighted else np.ones(len(self))

    def counts(self, text: str) -> dict[int, int]:
        """How often a text has each of its key words, by place."""
        found = Counter(self.ids[word] for word in plain_words(text) if word in self.ids)
        return dict(sorted(found.items()))

    def present(self, text: str, most: int) -> Named:
        """q of the words in a text: w = (1 + ln tf) · ln(N/df), the ``most`` largest, divided by their sum; equal weights in
        the order of the vocabulary. Nothing for a text without key words."""
        counts = self.counts(text)
        places = np.fromiter(counts, np.int64, len(counts))
        weights = (1 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))) * self.idf[places]
        return _largest(places, weights, most)

    def neighbours(self, texts: Iterable[str]) -> "csr_matrix":
        """(V, V): positive mutual information of key words that stand near each other in the texts."""
        vocabulary = Vocabulary(self.words, self.documents, self.documents, self.num_texts)
        tokens = Tokens.of(vocabulary, dict.fromkeys(texts))
        return ppmi(cooccurrence(tokens, _WINDOW, len(self)))


def related(
    near: "csr_matrix", places: Int[np.ndarray, " k"], probs: Float[np.ndarray, " k"], most: int
) -> Named:
    """q of words beyond a text: one step of a walk from its words, Σ_u q_u · PPMI(u, ·), the ``most`` largest of words that
    it does not have, divided by their sum."""
    parts = [near.indices[near.indptr[u] : near.indptr[u + 1]] for u in places]
    values = [
        q * near.data[near.indptr[u] : near.indptr[u + 1]].astype(np.float64) for u, q in zip(places, probs)
    ]
    if not parts or not sum(map(len, parts)):
        return np.zeros(0, np.int64), np.zeros(0)
    found, at = np.unique(np.concatenate(parts), return_inverse=True)
    weights = np.bincount(at, weights=np.concatenate(values))
    beyond = ~np.isin(found, places)
    return _largest(found[beyond].astype(np.int64), weights[beyond], most)


def _largest(places: Int[np.ndarray, " n"], weights: Float[np.ndarray, " n"], most: int) -> Named:
    there = weights > 0
    places, weights = places[there], weights[there]
    order = np.lexsort((places, -weights))[:most]
    places, weights = places[order], weights[order]
    return places, weights / weights.sum() if len(weights) else weights


def padded(rows: Sequence[Named], most: int) -> Sparse:
    """Distributions of up to ``most`` words as one tensor; words that are not there have probability 0."""
    ids = np.zeros((len(rows), most), np.int64)
    probs = np.zeros((len(rows), most), np.float32)
    for row, (places, values) in enumerate(rows):
        ids[row, : len(places)], probs[row, : len(places)] = places, values
    return Sparse(torch.from_numpy(ids), torch.from_numpy(probs))
