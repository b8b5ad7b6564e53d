"""What users take of a trained system: vectors of texts, saved with all that they are made of."""

from typing import Any

import torch

from brickwork.representation.kept import SystemRepresentation


class TextVectors(SystemRepresentation):
    """Vectors by the method that was chosen."""

    def __init__(self, system: Any):
        super().__init__(system, system.encoder_of(system.chosen).eval(), system.axes)

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        found: torch.device = self.system.best.device
        return found
