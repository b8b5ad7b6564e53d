"""The catalogue: every method as one function from a corpus to vectors, in one table.

A function changes the buffers of a :class:`~brickwork.systems.embedding_survey.encoder.Table` in place, one round of it at a
time; ``held`` are further tensors that it needs to go on with, and that are not kept when it is done.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, cooccurrence, ppmi
from brickwork.systems.embedding_survey import counting, predicting, topics
from brickwork.systems.embedding_survey.config import Config
from brickwork.systems.embedding_survey.encoder import LONGEST, SHORTEST, Table

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Held = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts that vectors are learnt from, and what is counted in them, once and when it is asked for."""

    vocabulary: Vocabulary
    texts: list[str]

    @cached_property
    def tokens(self) -> Tokens:
        """All texts as numbers of words; unknown words are left out."""
        return Tokens.of(self.vocabulary, self.texts)

    @cached_property
    def bags(self) -> "csr_matrix":
        """How often each text has each word."""
        return self.vocabulary.bags(self.texts)

    def neighbours(self, window: int) -> "csr_matrix":
        """How often words stand near each other, by 1/distance."""
        return cooccurrence(self.tokens, window, len(self.vocabulary))


@dataclass(frozen=True)
class Method:
    """``kind``: what it makes: vectors of ``words``, which are pooled; vectors of words whose TF-IDF sum is a text
    (``texts``); or ``topics``. ``learn(corpus, table, held, config, round, seed)``."""

    title: str
    paper: str
    kind: Literal["words", "texts", "topics"]
    learn: Callable[[Corpus, Table, Held, Config, int, int], None]
    rounds: Callable[[Config], int] = lambda config: 1
    held: Callable[[Config, int], Shapes] = lambda config, words: {}
    alpha: float = 0.0


PREDICTIVE = ("sgns", "cbow", "fasttext")
_TRIED = 50_000  # words


def _predictor(
    corpus: Corpus, rows: Tensor, contexts: Tensor, config: Config, name: str, grams: int
) -> predicting.Predictor:
    words = corpus.vocabulary.entries
    parts = predicting.Parts.of(words, SHORTEST, LONGEST, grams) if grams else None
    return predicting.Predictor(
        rows, contexts, corpus.vocabulary, cbow=name == "cbow", negatives=config.drawn, parts=parts
    )


def check_room(config: Config, words: int, texts: int) -> None:
    """Refuses more dimensions than the words and texts have, before anything is learnt.

    Raises:
        ConfigError: says how many there can be.
    """
    most = {"ppmi-svd": words - 1, "lsa": min(words, texts) - 1, "nmf": min(words, texts)}
    room = min((most[name] for name in config.methods if name in most), default=words)
    if words < 2:
        raise ConfigError(f"one word is there {config.min_count} times: use a lower min_count, or more texts")
    if config.dimensions > room and set(config.methods) & set(most):
        raise ConfigError(
            f"dimensions={config.dimensions}, and {words:,} words that are there {config.min_count} times in {texts:,} "
            f"texts have room for {room}: use at most {room}, a lower min_count, or more texts"
        )
    if config.remove_top is not None and config.remove_top >= min(config.dimensions, words):
        raise ConfigError(
            f"remove_top={config.remove_top} of {config.dimensions} dimensions and {words:,} words leaves nothing; the "
            "usual number is a hundredth of the dimensions"
        )


def words_a_second(corpus: Corpus, config: Config, name: str) -> float:
    """How fast a predictive method learns, tried on the first words; nothing else changes."""
    tokens = corpus.tokens
    part = Tokens(tokens.ids[:_TRIED], tokens.ends.clip(max=_TRIED))
    grams = config.grams if name == "fasttext" else 0
    words = len(corpus.vocabulary)
    rows, contexts = (torch.zeros(n, config.dimensions) for n in (words + grams, words))
    predictor = _predictor(corpus, rows, contexts, config, name, grams)
    began = time.perf_counter()
    _epoch(predictor, corpus.vocabulary.counts, part, config, name, 0, 0)
    return len(part) / (time.perf_counter() - began)


def _epoch(
    predictor: predicting.Predictor,
    counts: np.ndarray,
    tokens: Tokens,
    config: Config,
    name: str,
    number: int,
    seed: int,
) -> None:
    predicting.learn(
        predictor,
        tokens,
        counts,
        window=config.reach,
        sample=config.thinning,
        rate=config.rate(name),
        epoch=number,
        epochs=config.rounds(name),
        seed=seed,
    )


def _predicting(name: str) -> Callable[[Corpus, Table, Held, Config, int, int], None]:
    def learn(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
        if not number:
            drawn = torch.rand(table.rows.shape, generator=generator_for(seed, 0, "vectors"))
            table.rows.copy_((drawn - 0.5) / config.dimensions)
            held["contexts"].zero_()
        predictor = _predictor(corpus, table.rows, held["contexts"], config, name, table.grams)
        _epoch(predictor, corpus.vocabulary.counts, corpus.tokens, config, name, number, seed)
        if table.grams and number == config.rounds(name) - 1:
            table.rows[: table.words] = predictor.means()

    return learn


def _glove(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    weights, squares = held["weights"], held["squares"]
    if not number:
        counting.Glove.start(weights, squares, seed)
    counts = corpus.neighbours(config.reach)
    counting.Glove(weights, squares, counts).sweep(config.rate("glove"), seed, number)
    if number == config.rounds("glove") - 1:
        table.rows.copy_(weights[..., :-1].sum(0))


def _ppmi_svd(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    mutual = ppmi(corpus.neighbours(config.reach))
    _set(table.rows, counting.ppmi_svd(mutual, config.dimensions, seed))


def _lsa(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    vectors, values = counting.lsa(corpus.bags, corpus.vocabulary.idf(), config.dimensions, seed)
    _set(table.rows, vectors)
    _set(table.scale, values)


def _random(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    _set(table.rows, counting.random_projection(len(corpus.vocabulary), config.dimensions, seed))


def _lda(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    ids, ends = corpus.tokens.ids, corpus.tokens.ends
    sweeps = config.rounds("lda")
    _set(table.rows, topics.gibbs(ids, ends, len(corpus.vocabulary), config.dimensions, sweeps, seed).T)


def _lda_online(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    epochs = config.rounds("lda-online")
    _set(table.rows, topics.variational(corpus.bags, config.dimensions, epochs, seed).T)


def _nmf(corpus: Corpus, table: Table, held: Held, config: Config, number: int, seed: int) -> None:
    _set(table.rows, topics.factors(corpus.bags, config.dimensions, config.rounds("nmf"), seed).T)


def _set(buffer: Tensor, values: np.ndarray) -> None:
    buffer.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _contexts(config: Config, words: int) -> Shapes:
    return {"contexts": (words, config.dimensions)}


def _glove_held(config: Config, words: int) -> Shapes:
    shape = (2, words, config.dimensions + 1)
    return {"weights": shape, "squares": shape}


METHODS: dict[str, Method] = {
    "sgns": Method(
        "skip-gram with negative sampling",
        "Mikolov et al. 2013",
        "words",
        _predicting("sgns"),
        lambda config: config.rounds("sgns"),
        _contexts,
    ),
    "cbow": Method(
        "continuous bag of words",
        "Mikolov et al. 2013",
        "words",
        _predicting("cbow"),
        lambda config: config.rounds("cbow"),
        _contexts,
    ),
    "fasttext": Method(
        "skip-gram of words and their parts",
        "Bojanowski et al. 2017",
        "words",
        _predicting("fasttext"),
        lambda config: config.rounds("fasttext"),
        _contexts,
    ),
    "glove": Method(
        "global vectors",
        "Pennington et al. 2014",
        "words",
        _glove,
        lambda config: config.rounds("glove"),
        _glove_held,
    ),
    "ppmi-svd": Method("positive mutual information, factorised", "Levy et al. 2015", "words", _ppmi_svd),
    "lsa": Method("latent semantic analysis", "Deerwester et al. 1990", "texts", _lsa),
    "random": Method("random projection", "Johnson & Lindenstrauss 1984", "texts", _random),
    "nmf": Method("non-negative factors", "Lee & Seung 2001", "topics", _nmf),
    "lda": Method(
        "latent Dirichlet allocation, Gibbs", "Griffiths & Steyvers 2004", "topics", _lda, alpha=topics.ALPHA
    ),
    "lda-online": Method(
        "latent Dirichlet allocation, variational",
        "Hoffman et al. 2010",
        "topics",
        _lda_online,
        alpha=topics.ALPHA,
    ),
}
