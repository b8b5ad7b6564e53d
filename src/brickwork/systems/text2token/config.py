"""The options of a Text2Token run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, at_most, below, idle
from brickwork.core.errors import ConfigError
from brickwork.encoders.config import TextEncoderConfig
from brickwork.training.config import Stage

MIXTURE, RELATED_WORDS, TEMPERATURE = 0.3, 32, 0.05
WARM, DATA, RELATED, DROPOUT = "masked tokens", "words in the text", "related words", "dropout"
"""The stages of a run by name."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which words are key words. ``most_documents``: a word that a larger share of the texts has is none; nor is one that
    fewer than ``fewest_documents`` texts have. ``frequent``: so many of the most frequent words are none, in place of a
    language's list of stop words."""

    most_documents: Annotated[float, above(0), at_most(1)] = 0.1
    fewest_documents: Annotated[int, at_least(1)] = 2
    frequent: Annotated[int, at_least(0)] = 50


@dataclass(frozen=True, kw_only=True)
class Config:
    """``encoder``: of texts, pretrained or from scratch; ``smollm2-135m`` or a folder of a causal language model too, whose
    last token is pooled.
    ``head``: what scores the words: ``fresh`` rows that are learnt, rows that start as the encoder's own vectors of the
    words (``encoded``) and are learnt, or the ``own`` rows of the model (of its head, else of its input embeddings; a word
    has the mean of its pieces), which stay as they are. ``head_rate``: the learning rate of rows that are learnt is so many
    times that of the run (none: 1).
    ``words``: V, at most so many key words, the most frequent. ``filter``: which words are key words; none: all words, by
    frequency alone (a control).
    ``objective``: ``words``, or ``dropout``, which is SimCSE, the rival: the vectors of a text under two draws of dropout
    are to find each other.
    ``targets``: what is predicted: words in the text and then, in a second stage of a third of the steps, related ones as
    well (``two-stage``); words in the text (``data``); related words (``model``); both from the start (``mixture``). None:
    two-stage.
    ``mixture``: α, the share of related words where both are predicted (none: 0.3).
    ``related``: how related words are found: by the ``co-occurrence`` of words in the training texts, or by what a causal
    language model says to a ``prompt`` for one word. None: co-occurrence. ``related_words``: at most so many for a text
    (none: 32).
    ``target_words``: at most so many words of a text (none: 64).
    ``shuffled``: each text has to predict the words of another one, the control without sense (none: no).
    ``warm_share``: share of the steps in which an encoder from scratch first learns to fill in masked tokens.
    """

    encoder: TextEncoderConfig = TextEncoderConfig()
    head: Literal["fresh", "encoded", "own"] = "fresh"
    head_rate: Annotated[float, above(0)] | None = None
    words: Annotated[int, at_least(2)] = 8000
    filter: Filter | None = Filter()
    objective: Literal["words", "dropout"] = "words"
    targets: Literal["two-stage", "data", "model", "mixture"] | None = None
    mixture: Annotated[float, above(0), below(1)] | None = None
    related: Literal["co-occurrence", "prompt"] | None = None
    related_words: Annotated[int, at_least(1)] | None = None
    target_words: Annotated[int, at_least(1)] | None = None
    shuffled: bool | None = None
    warm_share: Annotated[float, at_least(0), below(1)] = 0.0

    @property
    def kind(self) -> str:
        """``targets``, or the default."""
        return self.targets or "two-stage"

    @property
    def alpha(self) -> float:
        """The share of related words where they are predicted."""
        return 1.0 if self.kind == "model" else MIXTURE if self.mixture is None else self.mixture

    def validate(self) -> list[str]:
        errors = []
        of_words = ("targets", "mixture", "related", "related_words", "target_words", "shuffled", "head_rate")
        if self.objective == "dropout":
            errors += idle(self, of_words, "objective 'dropout'")
            if not self.encoder.dropout:
                errors.append(
                    "objective 'dropout' needs encoder.dropout above 0: without it both vectors of a text are equal"
                )
        elif self.kind == "data":
            errors += idle(self, ("mixture", "related", "related_words"), "targets 'data'")
        elif self.kind == "model":
            errors += idle(self, ("mixture",), "targets 'model'")
        if self.head == "own" and self.objective == "words":
            errors += idle(self, ("head_rate",), "head 'own', which stays as it is")
        if self.head != "fresh" and self.encoder.backbone in ("scratch", "static"):
            errors.append(
                f"head '{self.head}' takes what a pretrained model knows of words; with backbone "
                f"'{self.encoder.backbone}' use fresh"
            )
        if self.head == "own" and self.encoder.projection is not None:
            errors.append("head 'own' reads vectors of the model's own width: leave encoder.projection out")
        if self.warm_share and self.encoder.backbone != "scratch":
            errors.append(
                f"warm_share has no effect with backbone '{self.encoder.backbone}', which has learnt; leave it out"
                if self.encoder.backbone != "static"
                else "warm_share needs a transformer, which predicts each masked token from the others; use 'scratch'"
            )
        return errors


def stages_of(config: Config, steps: int) -> tuple[Stage, ...]:
    """The stages of a run of so many steps: masked tokens, then the words of texts (two thirds), then related ones.

    Raises:
        ConfigError: too few steps.
    """
    warm = round(config.warm_share * steps)
    rest = steps - warm
    if config.objective == "dropout":
        named = [(DROPOUT, rest)]
    elif config.kind == "two-stage":
        second = rest // 3
        named = [(DATA, rest - second), (RELATED, second)]
    else:
        named = [(DATA if config.kind == "data" else RELATED, rest)]
    named = [(WARM, warm)] * bool(config.warm_share) + named
    if min(length for _, length in named) < 1:
        raise ConfigError(f"train.steps={steps} is too few for {len(named)} stages; use 3 or more for each")
    return tuple(Stage(name=name, steps=length) for name, length in named)
