"""What a training has cost: floating-point operations by phase, in the state of the system."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.flops import counted


def phases(slots: int) -> tuple[str, ...]:
    """The phases of a training, in order."""
    return ("meta", "teacher", *(f"slot {n}" for n in range(1, slots + 1)), "whole", "control")


def phase_of(stage: str) -> str:
    """The phase that a stage belongs to: ``teacher 2`` is of the teacher, ``fit 2`` of the assembled student."""
    if stage.startswith("fit "):
        return "meta" if stage == "fit meta" else "whole"
    return "teacher" if stage.startswith("teacher ") else stage


class Ledger(nn.Module):
    """Operations and images by phase. What an image costs in a stage is counted once, forward and backward."""

    def __init__(self, slots: int):
        super().__init__()
        self.names = phases(slots)
        self.flops: Tensor
        self.images: Tensor
        self.register_buffer("flops", torch.zeros(len(self.names), dtype=torch.float64))
        self.register_buffer("images", torch.zeros(len(self.names), dtype=torch.int64))
        self._each: dict[str, float] = {}

    def price(self, stage: str, run: Callable[[], Any], images: int) -> None:
        """Counts what ``run`` does, which is forward and backward for ``images`` images of ``stage``."""
        with counted() as result:
            run()
        self._each[stage] = result.flops / images

    def price_of(self, stage: str) -> float:
        """Operations of an image in a stage that was counted."""
        return self._each[stage]

    def spend(self, stage: str, images: int) -> None:
        """So many images were trained on."""
        place = self.names.index(phase_of(stage))
        self.images[place] += images
        self.flops[place] += images * self._each.get(stage, 0.0)

    def began(self, phase: str) -> bool:
        """Whether anything was trained in it."""
        return bool(self.images[self.names.index(phase)] > 0)

    def take(self, other: "Ledger", only: Sequence[str] = ()) -> None:
        """Adds what another training has spent, of some phases or all."""
        for place, name in enumerate(self.names):
            if not only or name in only:
                self.images[place] += other.images[place]
                self.flops[place] += other.flops[place]

    def spent(self) -> dict[str, float]:
        """Phase → operations, of those that were trained."""
        return {name: float(f) for name, f in zip(self.names, self.flops) if self.began(name)}
