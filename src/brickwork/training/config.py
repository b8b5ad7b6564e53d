"""How to train: lengths, sizes, optimiser, precision, and when to save, log and validate."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """``batch_size`` is global, over all processes; ``accumulate`` of them make one update.

    ``cache_chunk``: rows computed at once with gradient caching (0: off). ``warmup``: share of the steps.
    ``clip_norm``: 0 does not clip. ``save_every``, ``validate_every``: in steps; 0 saves at the end only, and
    validates at the start and the end. ``keep``: that many checkpoints. ``threads``: 0 leaves torch's choice.
    """

    steps: int = 1000
    batch_size: int = 64
    accumulate: int = 1
    cache_chunk: int = 0
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    warmup: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    save_every: int = 200
    keep: int = 2
    validate_every: int = 100
    log_every: int = 10
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False
    threads: int = 0

    def validate(self) -> list[str]:
        errors = []
        for name in ("steps", "batch_size", "accumulate", "keep", "log_every"):
            if getattr(self, name) < 1:
                errors.append(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("cache_chunk", "save_every", "validate_every", "threads", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                errors.append(f"{name}={getattr(self, name)} must not be negative")
        if self.learning_rate <= 0:
            errors.append(f"learning_rate={self.learning_rate} must be positive")
        for name in ("warmup", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                errors.append(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        return errors
