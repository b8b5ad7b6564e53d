"""Disambiguated Skip-gram: vectors of word senses, learnt by back-propagation through the choice of a sense.

Grzegorczyk, Kurdziel: Disambiguated skip-gram model. EMNLP 2018, D18-1174; also in arXiv 1901.01695.

What is learnt: K vectors for each word, and for each word a small softmax that chooses among them by the words around it.
The chosen (mixed) vector predicts those words, as in skip-gram; all of it is one loss.

| paper  | here                      | shape     | meaning                                                            |
|--------|---------------------------|-----------|--------------------------------------------------------------------|
| E      | tables.senses             | (V, K, D) | vectors of senses                                                  |
| U, β   | tables.words, tables.bias | (V, D)    | vectors of words as they are predicted                             |
| A, b   | tables.gate, gate_bias    | (V, K, D) | choice of a sense, for each word; in the first stage for all words  |
| r      | context_mean              | (P, D)    | mean of U over a context, cut off from the gradient                |
| a      | gate_logits               | (P, K)    | ⟨r, A_w,k⟩ + b_w,k                                                 |
| z      | gumbel_routing            | (P, K)    | softmax((a + g)/τ), g Gumbel noise; in the first stage softmax(a)    |
| u      | position_loss             | (P, D)    | Σ_k z_k E_w,k                                                      |
| λ H(a) | entropy                   |           | of softmax(a); rewarded (λ < 0), so that no sense dies early         |
| P̂(k|w) | usage                     | (V, K)    | mean of softmax(a) over the places of w; below ``prune``: pruned     |

Flow: data.py → data.vocabulary → data.windows → objective.py (modules.routers, modules.sampled_softmax) → learning.py →
senses.py (representation.vectors) → evaluation.clustering, drawing.py.

Differences from the paper: see README.md. Shape legend: V words, K senses, D dimensions, P positions.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, nearest, to_dict
from brickwork.core.errors import ConfigError, DataError, warn
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, Windows, keep_probabilities, windows
from brickwork.representation.vectors import WordVectors
from brickwork.systems.disambiguated_skipgram.config import Config, Data
from brickwork.systems.disambiguated_skipgram.data import load_data
from brickwork.systems.disambiguated_skipgram.learning import (
    MAIN,
    PRETRAINING,
    Learner,
    Place,
    Spent,
    Tables,
    usage,
)
from brickwork.systems.disambiguated_skipgram.measures import held_out_nats, sense_scores
from brickwork.systems.disambiguated_skipgram.senses import TELLING, By, Senses, find

__all__ = ["Config", "Data", "System", "load_data"]

_MEASURED = 400  # positions whose words are predicted
_OFTEN = 50  # times a word is there whose ambiguity is ranked, where there are enough of them
_LISTED = 200
_TRIED = 20  # steps, to say how long a training takes
_SHOWN = 6
_BY: By = "gate"


class System(nn.Module):
    """The tables, and while they are learnt what Adagrad has to remember."""

    reads = ("texts",)
    slug = "disambiguated-skipgram"
    transient = ("spent",)
    input_kind: ClassVar[Literal["columns"]] = "columns"
    predict_columns = ("word", "text")
    usage: Tensor

    def __init__(self, config: Config, vocabulary: Vocabulary, *, seed: int, learns: bool):
        super().__init__()
        self.config, self.vocabulary, self.seed = config, vocabulary, seed
        self.tables = Tables(len(vocabulary), config.senses, config.dim)
        self.spent = Spent(self.tables) if learns else None
        self.register_buffer("usage", torch.full((len(vocabulary), config.senses), 1 / config.senses))
        self._stays = keep_probabilities(vocabulary.counts, config.subsample)

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system with the words of the training part.

        Raises:
            DataError: no word is there often enough, or only one.
            ConfigError: ``words`` that have no vectors.
        """
        texts = data.train.columns["input"]
        vocabulary = Vocabulary.from_texts(texts, min_count=config.min_count, max_size=config.max_words)
        if len(vocabulary) < 2:
            raise DataError(
                f"{data.name} has one word ('{vocabulary.entries[0]}') that is there {config.min_count} times; use a lower "
                "model.min_count, or more texts"
            )
        if unknown := [word for word in config.words if word not in vocabulary.ids]:
            raise ConfigError(
                f"model.words has '{unknown[0]}', which is not there {config.min_count} times (model.min_count): "
                f"{_like(unknown[0], vocabulary)}"
            )
        return cls(config, vocabulary, seed=seed, learns=True)

    def architecture(self) -> dict[str, Any]:
        """Configuration and vocabulary."""
        return {"config": to_dict(self.config), "vocabulary": self.vocabulary.state(), "seed": self.seed}

    @classmethod
    def restore(cls, architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """The system of :meth:`architecture`, to be used."""
        config = from_dict(Config, architecture["config"])
        vocabulary = Vocabulary.from_state(architecture["vocabulary"])
        return cls(config, vocabulary, seed=architecture["seed"], learns=False)

    # ---- learning ---------------------------------------------------------------------------------------------

    def foretell(self, examples: Examples) -> str:
        """How many words there are, and how long learning takes here, from some steps that are not kept."""
        tokens = Tokens.of(self.vocabulary, examples.columns["input"])
        spent = Spent(self.tables)
        before = {name: value.clone() for name, value in self.tables.state_dict().items()}
        learner = Learner(self.tables, spent, self.config, self.seed)
        block = next(self._windows(tokens, 0))
        began, positions = time.perf_counter(), 0
        for number, batch in enumerate(learner.batches(block)):
            learner.step(batch, Place(MAIN, 0.0), f"try {number}")
            positions += len(block.centres[: self.config.batch])
            if number + 1 == _TRIED:
                break
        seconds = time.perf_counter() - began
        self.tables.load_state_dict(before)
        share = min(len(tokens), 2**18) / max(
            len(block.centres), 1
        )  # words read for each position that is learnt
        speed = positions * share / seconds
        epochs = self.config.pretraining + self.config.epochs
        return (
            f"{len(self.vocabulary):,} words of {self.config.senses} senses; reads {len(tokens):,} words {epochs} times at "
            f"{speed:,.0f} words a second: about {len(tokens) * epochs / speed / 60:.1f} minutes"
        )

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """A block of texts a round, epoch by epoch and stage by stage; then how often each sense is used."""
        tokens = Tokens.of(self.vocabulary, examples.columns["input"])
        ends = np.cumsum([len(ids) for _, ids, _ in tokens.blocks()])
        learner = self.learner()
        stages = {PRETRAINING: self.config.pretraining, MAIN: self.config.epochs}
        rounds, number = sum(stages.values()) * len(ends) + 1, 0
        for stage, epochs in stages.items():
            if stage == MAIN and number >= start:
                self.tables.begin_main()
                learner.spent.clear()
            for epoch in range(epochs):
                for place, block in enumerate(self._windows(tokens, number // len(ends))):
                    if number >= start:
                        done = ends[place - 1] if place else 0
                        self._learn(
                            learner,
                            block,
                            stage,
                            epoch + done / ends[-1],
                            epoch + ends[place] / ends[-1],
                            number,
                        )
                        yield (number + 1) / rounds
                    number += 1
        self._count_senses(tokens, rounds)
        yield 1.0

    def learner(self) -> Learner:
        """What takes the steps."""
        assert self.spent is not None, "a system that was built, not restored"
        return Learner(self.tables, self.spent, self.config, self.seed)

    def _learn(
        self, learner: Learner, block: Windows, stage: str, first: float, last: float, number: int
    ) -> None:
        steps = -(-len(block.centres) // self.config.batch)
        for step, batch in enumerate(learner.batches(block)):
            loss = learner.step(
                batch, Place(stage, first + (last - first) * step / steps), f"{number}/{step}"
            )
            if not torch.isfinite(loss.total):
                raise DataError(
                    f"the loss is {loss.total.item()} in round {number + 1}; use a lower model.learning_rate"
                )

    def _count_senses(self, tokens: Tokens, epoch: int) -> None:
        """P̂(k|w), and the senses of each word in the order of it."""
        share = usage(self.tables, self._windows(tokens, epoch), self.config.slots)
        order = share.argsort(dim=1, descending=True, stable=True)
        self.usage.copy_(share.gather(1, order))
        for table in (self.tables.senses, self.tables.gate):
            table.copy_(table.gather(1, order[..., None].expand_as(table)))
        self.tables.gate_bias.copy_(self.tables.gate_bias.gather(1, order))

    def _windows(self, tokens: Tokens, epoch: int) -> Iterator[Windows]:
        return windows(
            tokens, self.config.window, seed=self.seed, epoch=epoch, keep=self._stays, shrink=False
        )

    # ---- what was learnt --------------------------------------------------------------------------------------

    @property
    def senses(self) -> Senses:
        """The senses of all words, pruned by how often they are used."""
        return self.pruned(self.config.prune)

    def pruned(self, least: float) -> Senses:
        """The senses that have at least this share of a word's places."""
        return Senses(self.tables, self.usage, self.vocabulary, self._stays, least)

    def predict(self, columns: Mapping[str, Any], by: str = _BY, reach: int = 0) -> dict[str, Any]:
        """Of each row the ``sense`` of its ``word`` in its ``text`` (or ``input``), as ``bank#2``, its ``probability``, and
        the words nearest to it. Where there is no ``word``, the most ambiguous one of the text is taken.

        ``by``: ``cosine`` (of a sense and the words around) or ``gate`` (the softmax that was learnt); ``reach``: words to
        each side that count (0: the whole text).

        Raises:
            DataError: no column of texts, or words none of which has vectors.
            ConfigError: a way of choosing that there is not.
        """
        way = _way(by)
        if reach < 0:
            raise ConfigError(f"reach={reach}: words to each side, or 0 for the whole text")
        texts = [str(text or "") for text in _texts(columns)]
        given = [str(word or "").strip().lower() for word in columns.get("word", [""] * len(texts))]
        senses = self.senses
        ambiguity = senses.ambiguity()
        words = [
            word or self._most_ambiguous(text, ambiguity) for word, text in zip(given, texts, strict=True)
        ]
        self._tell_unknown(given)
        p = senses.probabilities(find(self.vocabulary, words, texts, reach), way)
        best, place = p.max(1)
        named = [
            (word, k + 1) if word in self.vocabulary.ids else ("", 0)
            for word, k in zip(words, place.tolist())
        ]
        near = {one: ", ".join(n for n, _ in senses.neighbours(*one)) if one[0] else "" for one in set(named)}
        return {
            "word": words,
            "sense": [f"{word}#{k}" if word else "" for word, k in named],
            "probability": best.double().cpu().numpy(),
            "neighbours": [near[one] for one in named],
        }

    def _most_ambiguous(self, text: str, ambiguity: Float[np.ndarray, " words"]) -> str:
        ids = self.vocabulary.ids
        known = [word for word in self.vocabulary.tokenize(text) if word in ids]
        telling = [word for word in known if self._stays[ids[word]] >= TELLING]
        known = telling or known
        return max(known, key=lambda word: (ambiguity[ids[word]], word)) if known else ""

    def _tell_unknown(self, words: Sequence[str]) -> None:
        unknown = [
            (row, word) for row, word in enumerate(words, 1) if word and word not in self.vocabulary.ids
        ]
        if not unknown:
            return
        row, word = unknown[0]
        first = f"'{word}' in row {row}: {_like(word, self.vocabulary)}"
        if len(unknown) == len(words):
            raise DataError(
                f"no word has a vector (model.min_count={self.config.min_count}); the first is {first}"
            )
        warn(f"{len(unknown)} of {len(words)} words have no vectors, and get no sense; the first is {first}")

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """``nats_per_word`` of the words around held-out ones, and of their frequencies alone; ``senses_per_word``;
        where senses are known, how well they are found (``ari``, ``v``, ``paired_f``, means over words with two senses or
        more)."""
        senses = self.senses
        scores = {"senses_per_word": float(senses.kept.sum(1).double().mean())}
        texts = examples.columns["input"]
        try:
            tokens = Tokens.of(self.vocabulary, texts)
        except DataError:  # none of their words is known
            return scores
        some = next(self._windows(tokens, 0), None)
        if some is not None and len(some.centres):
            some = Windows(some.centres[:_MEASURED], some.contexts[:_MEASURED])
            scores |= held_out_nats(self.tables, self.usage, some, self.vocabulary.counts * self._stays)
        return scores | sense_scores(senses, examples)

    def word_vectors(self) -> WordVectors:
        """The vectors of the kept senses; ``word#1`` is the most frequent sense of a word."""
        return self.senses.vectors

    # ---- tables and pictures ----------------------------------------------------------------------------------

    def shown(self) -> list[str]:
        """The words whose senses are drawn."""
        if self.config.words:
            return list(self.config.words)
        return [self.vocabulary.entries[place] for place in self._ranked()[:_SHOWN]]

    def _ranked(self) -> list[int]:
        senses = self.senses
        often = senses.ranked(_OFTEN)
        return (often if len(often) >= _SHOWN else senses.ranked(1)).tolist()

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``words``: the most ambiguous ones; ``senses``: of the words that are drawn, how often each is used and its
        neighbours."""
        senses, ambiguity = self.senses, self.senses.ambiguity()
        ranked = self._ranked()[:_LISTED]
        listed: dict[str, list[Any]] = {"word": [], "sense": [], "share": [], "neighbours": []}
        for word in self.shown():
            place = self.vocabulary.ids[word]
            for k in senses.kept[place].nonzero().flatten().tolist():
                listed["word"].append(word)
                listed["sense"].append(f"{word}#{k + 1}")
                listed["share"].append(float(self.usage[place, k]))
                listed["neighbours"].append(", ".join(name for name, _ in senses.neighbours(word, k + 1)))
        return {
            "words": {
                "word": [self.vocabulary.entries[place] for place in ranked],
                "times": self.vocabulary.counts[ranked].tolist(),
                "senses": senses.kept[ranked].sum(1).tolist(),
                "ambiguity": ambiguity[ranked].tolist(),
            },
            "senses": listed,
        }

    def draw(self, examples: Examples) -> list[Any]:
        """The senses of some words on maps of their contexts in ``examples``, and the words ranked by ambiguity."""
        from brickwork.systems.disambiguated_skipgram.drawing import drawings

        return drawings(self.senses, self.shown(), list(examples.columns["input"]), self._ranked(), _BY)


def _texts(columns: Mapping[str, Any]) -> Any:
    for name in ("text", "input"):
        if name in columns:
            return columns[name]
    raise DataError(
        f"there is no column 'text'; there are {', '.join(columns)}. Give a table with the columns word and text"
    )


def _like(word: str, vocabulary: Vocabulary) -> str:
    close = get_close_matches(word, vocabulary.entries[:20_000], n=1)
    return (
        f"did you mean '{close[0]}'?"
        if close
        else "write words as they stand in the texts that were learnt from"
    )


def _way(by: str) -> By:
    if by in get_args(By):
        return cast(By, by)
    raise ConfigError(f"by={by}: {nearest(by, ('cosine', 'gate'))}")
