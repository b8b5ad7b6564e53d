"""What users take of a trained system: vectors of texts, saved with all that they are made of."""

from pathlib import Path
from typing import Any

import torch

from brickwork.representation.folder import fingerprint
from brickwork.representation.kept import save_system
from brickwork.representation.model import Representation


class TextVectors(Representation):
    """Saved as the whole system."""

    def __init__(self, system: Any):
        lineage = {"system": "embedding-survey", **getattr(system, "lineage", {})}
        encoder = system.encoder_of(system.chosen)
        super().__init__(encoder.eval(), system.axes, lineage, getattr(system, "card", {}))
        self.system = system

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.system.best.device

    @property
    def fingerprint(self) -> str:
        """As of any other model, by what it is made of."""
        return fingerprint(self.system.architecture(), None, self.encoder.state_dict())

    def save(self, folder: Path | str) -> Path:
        """Writes the whole system."""
        return save_system(self.system, folder)
