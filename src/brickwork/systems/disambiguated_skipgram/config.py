"""The options of a run of ``disambiguated-skipgram``, of its model and of its data."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, below, idle
from brickwork.data.config import DataConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes, what is predicted, and the two stages: first one gate for all words (``pretraining`` epochs), then a gate for
    each word, whose choices are drawn (``epochs``).

    ``senses``: of each word before pruning. ``dim``: of all vectors. ``window``: words to each side. ``min_count``,
    ``max_words``: which words have vectors. ``subsample``: t of word2vec, which thins frequent words out (0: keeps all).
    ``negatives``: drawn words that a batch shares. ``batch``: positions of a step. ``learning_rate``: at the start of each
    stage, falling to a tenth at its end.
    ``draw``: a sense for each ``position``, from which all words around it are predicted, or for each ``pair`` of words, as
    published. ``exclude_label``: the gate does not see the word that is to be predicted (needs ``draw="pair"``).
    ``slots``: the mean of a context has all places of the window below it, also empty ones, as published.
    ``noise``: senses are drawn by the Gumbel trick; without it the gate's probabilities themselves are the weights.
    ``temperature``: of the weights, falling to ``final_temperature`` over the first epoch of the second stage.
    ``pretraining_entropy``, ``entropy``: λ of the gate's entropy in each stage; below 0 it is rewarded (of
    the first stage none: −0.1).
    ``prune``: senses with a smaller share of a word's places are left out.
    ``words``: those whose senses are drawn (none: the most ambiguous ones).
    """

    senses: Annotated[int, at_least(1)] = 3
    dim: Annotated[int, at_least(2)] = 100
    window: Annotated[int, at_least(1)] = 5
    min_count: Annotated[int, at_least(1)] = 5
    max_words: Annotated[int, at_least(2)] | None = None
    subsample: Annotated[float, at_least(0)] = 1e-4
    negatives: Annotated[int, at_least(1)] = 512
    batch: Annotated[int, at_least(1)] = 512
    learning_rate: Annotated[float, above(0)] = 0.03
    pretraining: Annotated[int, at_least(0)] = 1
    epochs: Annotated[int, at_least(1)] = 3
    draw: Literal["position", "pair"] = "position"
    exclude_label: bool = False
    slots: bool = False
    noise: bool = True
    temperature: Annotated[float, above(0)] = 1.0
    final_temperature: Annotated[float, above(0)] = 0.5
    pretraining_entropy: float | None = None
    entropy: float = -0.1
    prune: Annotated[float, at_least(0), below(1)] = 0.05
    words: tuple[str, ...] = ()

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = []
        if self.exclude_label and self.draw == "position":
            problems.append(
                "exclude_label needs draw=pair: a position predicts every word of its context at once"
            )
        if not self.pretraining:
            problems += idle(self, ("pretraining_entropy",), "pretraining=0")
        return problems


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The texts of a run: the user's, or a known set (``wikitext2``, ``domain_corpora``, ``newsgroups20``,
    ``semeval2010-wsi``, ``semeval2013-wsi``, or ``homonyms``, made up)."""

    also: tuple[str, ...] = ()
    """Known sets of texts that are learnt from as well; nothing is measured on them."""
    pseudowords: Annotated[int, at_least(0)] = 0
    """So many pairs of words are made one word each, whose senses are then known: a test of how well senses are found."""
