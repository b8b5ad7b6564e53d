"""The options of a DyLoRA run."""

from dataclasses import dataclass
from typing import Literal

from brickwork.core.elastic import check_nested
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.packaged import PACKAGED
from brickwork.modules.heads import HeadKind
from brickwork.modules.low_rank import Scaling

Sampler = Literal["uniform", "geometric", "sandwich", "full"]


@dataclass(frozen=True, kw_only=True)
class DyloraConfig:
    """How to build DyLoRA.

    ``task``: to ``classify`` inputs with labels, or to go on learning ``language`` from texts.
    ``backbone``: ``minilm``, ``smollm2-135m``, a folder of transformers or SentenceTransformers, a hub id (of texts, of
    images, or a dual encoder, of which the tower that reads the data is taken), the run folder of an encoder of ours, or an
    image encoder from scratch, which the stage ``backbone`` of the run trains; to learn language, a causal language model.
    ``revision``: of a hub model.
    ``max_tokens``: longer texts are cut; to learn language, into windows of so many.
    ``targets``: regular expression on the ends of layer names; None = queries and values, without attention all layers.
    ``rank``: r. ``alpha``: α. ``scaling``: of the update at rank b. ``dropout``: on the adapters' input.
    ``sampler``: of b; ``full`` is ordinary LoRA, ``sandwich`` trains r and one smaller rank each step.
    ``geometric_p``: p of ``geometric``, P(b) ∝ (1 − p)^(b−1); None = 0.3.
    ``block``: b from block, 2·block … r. ``ranks``: b from these.
    ``draw_every``: batches that share one b; train.accumulate makes it one an update, as in the paper.
    ``update``: what a step trains: rows up to b, or ``frozen``: only those that the next smaller rank lacks.
    ``idle``: rows without part in a step ``stay``, or ``drift``: get gradients of zero, as in the released code.
    ``label_smoothing``: of the cross-entropy. ``classifier``: on the vectors; a ``simplex`` is fixed, so that all that is
    learnt is in the adapters.
    """

    task: Literal["classify", "language"] = "classify"
    backbone: str | ImageEncoderConfig = "minilm"
    revision: str | None = None
    max_tokens: int | None = None
    targets: str | None = None
    rank: int = 8
    alpha: float = 16.0
    scaling: Scaling = "alpha/b"
    dropout: float = 0.0
    sampler: Sampler = "uniform"
    geometric_p: float | None = None
    block: int | None = None
    ranks: tuple[int, ...] = ()
    draw_every: int = 1
    update: Literal["all", "frozen"] = "all"
    idle: Literal["stay", "drift"] = "stay"
    label_smoothing: float = 0.0
    classifier: HeadKind = "linear"

    def validate(self) -> list[str]:
        low = {"rank": 1, "draw_every": 1, "block": 1, "max_tokens": 3}
        errors = [
            f"{name} is {getattr(self, name)}; it must be at least {least}"
            for name, least in low.items()
            if getattr(self, name) is not None and getattr(self, name) < least
        ]
        if self.alpha <= 0:
            errors.append(f"alpha is {self.alpha}; it must be positive")
        for name in ("dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                errors.append(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if self.geometric_p is not None and not 0 < self.geometric_p < 1:
            errors.append(f"geometric_p is {self.geometric_p}; it must be in (0, 1)")
        without_effect = {
            "geometric_p": self.sampler != "geometric",
            "max_tokens": isinstance(self.backbone, ImageEncoderConfig),
        }
        without_effect |= dict.fromkeys(
            ("block", "ranks", "draw_every", "update", "idle"), self.sampler == "full"
        )
        without_effect |= dict.fromkeys(("label_smoothing", "classifier"), self.task == "language")
        without_effect["revision"] = self.backbone in PACKAGED or isinstance(
            self.backbone, ImageEncoderConfig
        )
        for name, without in without_effect.items():
            if without and getattr(self, name) != getattr(DyloraConfig, name):
                with_what = {
                    **dict.fromkeys(("max_tokens", "revision"), "this backbone"),
                    **dict.fromkeys(("label_smoothing", "classifier"), "task 'language'"),
                }.get(name, f"sampler '{self.sampler}'")
                errors.append(f"{name} has no effect with {with_what}; leave it out")
        no_language = isinstance(self.backbone, ImageEncoderConfig) or self.backbone == "minilm"
        if self.task == "language" and no_language:
            errors.append(
                "task 'language' needs a causal language model as backbone: smollm2-135m, a folder or a hub id"
            )
        if self.block and self.ranks:
            errors.append("block and ranks both say which ranks to train; set one of them")
        if self.block and self.rank % self.block:
            errors.append(f"rank {self.rank} is not a multiple of block {self.block}")
        return errors

    def sizes(self) -> tuple[int, ...]:
        """The ranks that may be drawn, ascending to r.

        Raises:
            ConfigError: ``ranks`` do not ascend to ``rank``.
        """
        if self.ranks:
            check_nested("ranks", self.ranks, self.rank)
        block = self.rank if self.sampler == "full" else self.block or 1
        return self.ranks or tuple(range(block, self.rank + 1, block))
