"""Which sense a word has in a text, and what its senses mean.

Shape legend: N rows, V words, K senses, D dimensions, C words of a context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from brickwork.data.vocabulary import Vocabulary
from brickwork.representation.vectors import WordVectors
from brickwork.systems.disambiguated_skipgram.learning import Tables

By = Literal["cosine", "gate"]
TELLING = 0.25
"""Of words that are thinned out to less than this share of their places, senses tell little: the, of, and."""
_NEIGHBOURS_AMONG = 20_000  # words: vectors of rarer ones say little


@dataclass(frozen=True)
class Occurrences:
    """Words with the words around them, as numbers of the vocabulary: ``context`` of row i is that from ``starts[i]`` on."""

    words: Int64[Tensor, " rows"]
    context: Int64[Tensor, " places"]
    starts: Int64[Tensor, " rows"]

    def __len__(self) -> int:
        return len(self.words)


def find(vocabulary: Vocabulary, words: Sequence[str], texts: Sequence[str], reach: int = 0) -> Occurrences:
    """The first place of each word in its text, which is the context without it; of a word that is not there, all of its
    text. ``reach``: words to each side that count (0: all). A word that is not in the vocabulary is −1."""
    ids = vocabulary.ids
    context: list[int] = []
    starts: list[int] = []
    for word, text in zip(words, texts, strict=True):
        starts.append(len(context))
        tokens = vocabulary.tokenize(text)
        place = tokens.index(word) if word in tokens else None
        for other, token in enumerate(tokens):
            far = reach and place is not None and abs(other - place) > reach
            if other != place and not far and token in ids:
                context.append(ids[token])
    numbers = [ids.get(word, -1) for word in words]
    return Occurrences(*(torch.tensor(values, dtype=torch.int64) for values in (numbers, context, starts)))


class Senses:
    """Senses as they were learnt, for reading. ``weights``: how much each word of a context counts, as often as it stayed
    where frequent words were thinned out. ``prune``: the least share of a word's places that a sense has."""

    def __init__(
        self,
        tables: Tables,
        usage: Float[Tensor, "words senses"],
        vocabulary: Vocabulary,
        weights: Float[np.ndarray, " words"],
        prune: float,
    ):
        self.tables, self.usage, self.vocabulary = tables, usage, vocabulary
        self.weights = torch.from_numpy(weights).to(usage)
        self.kept: Bool[Tensor, "words senses"] = (usage >= prune) | (usage == usage.amax(1, keepdim=True))

    @cached_property
    def means(self) -> Float[Tensor, "words dim"]:
        """Mean of the kept sense vectors of each word."""
        kept = self.kept[..., None].to(self.tables.senses)
        return (self.tables.senses * kept).sum(1) / kept.sum(1)

    def context_vectors(
        self, of: Occurrences, vectors: Float[Tensor, "words dim"]
    ) -> Float[Tensor, "rows dim"]:
        """The weighted mean of the vectors of each context; 0 where it has no word."""
        if not len(of):
            return vectors.new_zeros(0, vectors.shape[1])
        places, starts = of.context.to(vectors.device), of.starts.to(vectors.device)
        weights = self.weights[places]
        bags = torch.nn.functional.embedding_bag
        total = bags(places, vectors, starts, mode="sum", per_sample_weights=weights)
        ones = torch.ones_like(vectors[:, :1])
        return total / bags(places, ones, starts, mode="sum", per_sample_weights=weights).clamp_min(1e-12)

    @torch.no_grad()
    def probabilities(self, of: Occurrences, by: By = "cosine") -> Float[Tensor, "rows senses"]:
        """How likely each sense is; 0 for those that are pruned, and for words without vectors.

        ``gate``: softmax of ⟨r, A_w,k⟩ + b_w,k, r the mean of U. ``cosine``: (1 + cos(E_w,k, x))/2, x the mean of the words'
        own mean sense vectors, brought to a sum of 1: an order of senses, and no measured probability.
        """
        known = of.words >= 0
        words = of.words.clamp_min(0).to(self.usage.device)
        kept = self.kept[words]
        if by == "gate":
            r = self.context_vectors(of, self.tables.words)
            logits = torch.einsum("nd,nkd->nk", r, self.tables.gate[words]) + self.tables.gate_bias[words]
            p = logits.masked_fill(~kept, -torch.inf).softmax(-1)
        else:
            x = self.context_vectors(of, self.means)
            cosine = torch.nn.functional.cosine_similarity(self.tables.senses[words], x[:, None], dim=-1)
            score = ((1 + cosine) / 2).masked_fill(~kept, 0.0)
            p = score / score.sum(1, keepdim=True).clamp_min(1e-12)
        return p * known.to(p)[:, None]

    @cached_property
    def vectors(self) -> WordVectors:
        """The kept sense vectors, ``word#1`` the most frequent sense of a word, words from frequent to rare."""
        word, sense = (index.cpu() for index in self.kept.nonzero(as_tuple=True))
        names = [f"{self.vocabulary.entries[w]}#{k + 1}" for w, k in zip(word.tolist(), sense.tolist())]
        return WordVectors(tuple(names), self.tables.senses.detach().cpu()[word, sense].float().numpy())

    @cached_property
    def _frequent(self) -> WordVectors:
        count = int(self.kept[:_NEIGHBOURS_AMONG].sum())
        return WordVectors(self.vectors.words[:count], self.vectors.matrix[:count])

    def neighbours(self, word: str, sense: int, count: int = 5) -> list[tuple[str, float]]:
        """Other words near a sense (numbered from 1), each once, with the cosine of their nearest sense."""
        found: dict[str, float] = {}
        wide = self._frequent.neighbours(
            self.vectors[f"{word}#{sense}"], (count + 1) * (self.kept.shape[1] + 1)
        )
        for name, cosine in wide:
            other = name.rpartition("#")[0]
            if other != word:
                found.setdefault(other, cosine)
        return list(found.items())[:count]

    def ambiguity(self) -> Float[np.ndarray, " words"]:
        """How far apart two places of a word are in what it means, on average: Σ_kl p_k p_l (1 − cos(E_k, E_l)), p how often
        its kept senses are used (Rao 1982). 0 for one sense, or for senses that are the same."""
        share = self.usage * self.kept
        share = share / share.sum(1, keepdim=True)
        mean = (share[..., None] * torch.nn.functional.normalize(self.tables.senses, dim=-1)).sum(1)
        return (1 - mean.square().sum(1)).clamp_min(0).detach().cpu().double().numpy()

    def ranked(self, least: int) -> Int[np.ndarray, " words"]:
        """Words that are there at least so often, the most ambiguous ones first; without the, of, and."""
        telling = (self.weights >= TELLING).cpu().numpy()
        often = np.flatnonzero((self.vocabulary.counts >= least) & telling)
        return often[np.argsort(-self.ambiguity()[often], kind="stable")]
