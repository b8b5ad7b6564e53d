"""The options of a run of ``sae-circuits``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brickwork.core.config import above, at_least, idle

WIRED = "wired"
Ablation = Literal["mean", "zero", "resample"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which model is looked into, and how.

    ``subject``: ``smollm2-135m``, a folder of transformers, a hub id, the run folder of a language model of ours, or
    ``wired``, the small model whose circuit is known.
    ``distractor``: of ``wired``, how large the other heads write, relative to the circuit (none: 1).
    ``ablation``: what an ablated head gives instead: its ``mean`` over the prompts without the behaviour, ``zero``, or what
    it gives in the other prompt of its group, token by token (``resample``).
    ``permutations``: shuffles of the labels behind a p-value, of the code score at most 2,000. No p is below one over their
    number, nor, in n pairs of prompts, below 2^−n.
    ``batch``: prompts in one pass.
    The published score: ``positions``: the vector of a head is the mean over tokens, or the last one's. ``latents``: m.
    ``l1``: λ. ``code_prompts``: the autoencoder learns from so many prompts, for ``code_steps`` full-batch steps.
    ``norm``: unit norms of the decoder by ``atom``, or by ``row`` as the released code has it.
    """

    subject: str = "smollm2-135m"
    distractor: Annotated[float, at_least(0)] | None = None
    ablation: Ablation = "mean"
    permutations: Annotated[int, at_least(99)] = 10_000
    batch: Annotated[int, at_least(1)] = 16
    positions: Literal["mean", "last"] = "mean"
    latents: Annotated[int, at_least(2)] = 200
    l1: Annotated[float, at_least(0)] = 0.02
    code_prompts: Annotated[int, at_least(1)] = 10
    code_steps: Annotated[int, at_least(0)] = 500
    code_rate: Annotated[float, above(0)] = 1e-3
    norm: Literal["atom", "row"] = "atom"

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = [] if self.subject.strip() else ["subject is empty; name a language model"]
        if self.subject != WIRED:
            problems += idle(self, ("distractor",), f"subject '{self.subject}'")
        if self.code_steps == 0:  # an autoencoder that learns nothing
            problems += idle(self, ("l1", "code_rate", "code_prompts"), "code_steps=0")
        return problems
