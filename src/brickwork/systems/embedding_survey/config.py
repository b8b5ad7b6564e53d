"""The options of a run of ``embedding-survey``."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from brickwork.core.config import above, at_least, at_most, idle
from brickwork.data.config import DataConfig

Method = Literal[
    "sgns", "cbow", "fasttext", "glove", "ppmi-svd", "lsa", "random", "nmf", "lda", "lda-online", "compare"
]
Pooling = Literal["mean", "tfidf", "sif", "usif"]
COMPARE: Literal["compare"] = "compare"

_EPOCHS = {"sgns": 5, "cbow": 5, "fasttext": 5, "glove": 15, "nmf": 200, "lda": 200, "lda-online": 10}
_RATES = {"sgns": 0.025, "cbow": 0.05, "fasttext": 0.05, "glove": 0.05}
_TOPICS = ("nmf", "lda", "lda-online")
_PREDICTS = ("sgns", "cbow", "fasttext")
_READ_BY = {
    "window": (*_PREDICTS, "glove", "ppmi-svd"),
    "epochs": tuple(_EPOCHS),
    "learning_rate": tuple(_RATES),
    "negatives": _PREDICTS,
    "sample": _PREDICTS,
    "buckets": ("fasttext",),
    "pooling": (*_PREDICTS, "glove", "ppmi-svd"),
    "remove_top": (*_PREDICTS, "glove", "ppmi-svd"),
    "debias": (*_PREDICTS, "glove", "ppmi-svd"),
    "target": (*_PREDICTS, "glove", "ppmi-svd"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """``method``: how vectors are learnt (README, catalogue), or ``compare``: every one of them, of which the best on the
    labels is used. ``dimensions`` of a vector, or topics.

    ``vocabulary``: words at most; ``min_count``: how often a word must be there; ``max_share``: of the texts, that may have
    it (none: all; of topics, which frequent words would fill, a tenth). ``phrases``: whether words that
    stand together more often than by chance are one (``new_york``). ``pooling``: how the vectors of words make
    that of a text: their ``mean``, weighed by ``tfidf`` (none: so), or smooth inverse frequencies without the direction that
    all texts share (``sif``, ``usif``).

    Of some methods, where none is their own default: ``window``, words to each side (5); ``epochs`` over the texts, or
    sweeps; ``learning_rate``; ``negatives``, drawn words for each (5); ``sample``, the frequency from which on words are
    thinned (0.001); ``buckets``, rows of n-grams (131,072).

    ``remove_top``: principal directions taken out of the vectors of words after centring (none: no centring; Mu & Viswanath
    2018). ``debias``: the direction of the pairs of ``data.word_lists`` is taken out of all other words (``hard``), or what
    a classifier can tell their sides by (``inlp``). ``target``: a file of word vectors of another language or corpus, on
    which these are turned (orthogonal Procrustes) by the pairs of ``data.dictionary``, or by words that are spelt the same.
    """

    method: Method = "sgns"
    dimensions: Annotated[int, at_least(2)] = 100
    vocabulary: Annotated[int, at_least(2)] = 50_000
    min_count: Annotated[int, at_least(1)] = 5
    max_share: Annotated[float, above(0), at_most(1)] | None = None
    phrases: bool = False
    pooling: Pooling | None = None
    window: Annotated[int, at_least(1)] | None = None
    epochs: Annotated[int, at_least(1)] | None = None
    learning_rate: Annotated[float, above(0)] | None = None
    negatives: Annotated[int, at_least(1)] | None = None
    sample: Annotated[float, at_least(0)] | None = None
    buckets: Annotated[int, at_least(1)] | None = None
    remove_top: Annotated[int, at_least(0)] | None = None
    debias: Literal["hard", "inlp"] | None = None
    target: str | None = None

    def validate(self) -> list[str]:
        if self.method == COMPARE:
            alone = ("learning_rate", "epochs", "debias", "target")
            return idle(self, alone, "method=compare, where each method has its own")
        unread = tuple(name for name, methods in _READ_BY.items() if self.method not in methods)
        return idle(self, unread, f"method={self.method}")

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that are learnt, in order."""
        return (
            tuple(name for name in get_args(Method) if name != COMPARE)
            if self.method == COMPARE
            else (self.method,)
        )

    @property
    def most_texts(self) -> float:
        """``max_share``, or its default."""
        return self.max_share or (0.1 if self.method in _TOPICS else 1.0)

    @property
    def reach(self) -> int:
        """``window``, or its default."""
        return self.window or 5

    @property
    def drawn(self) -> int:
        """``negatives``, or its default."""
        return self.negatives or 5

    @property
    def thinning(self) -> float:
        """``sample``, or its default."""
        return 1e-3 if self.sample is None else self.sample

    @property
    def grams(self) -> int:
        """``buckets``, or its default."""
        return self.buckets or 2**17

    @property
    def pooled_by(self) -> Pooling:
        """``pooling``, or its default."""
        return self.pooling or "tfidf"

    def rounds(self, method: str) -> int:
        """``epochs``, or the default of a method."""
        return self.epochs or _EPOCHS[method]

    def rate(self, method: str) -> float:
        """``learning_rate``, or the default of a method."""
        return self.learning_rate or _RATES[method]


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``embedding-survey``: texts, and labels, pairs or scores where there are, by which methods are
    measured. ``word_lists``: the table whose pairs ``model.debias`` takes the direction of (docs: the README's "Bias").
    ``dictionary``: a table of two columns, a word and its word in ``model.target``."""

    word_lists: str | None = None
    dictionary: str | None = None
