"""The classifier-based alternative of the comparison: BCT, which pulls a new model towards the old one's classifier.

Shen, Xiong, Xia, Soatto: Towards Backward-Compatible Representation Learning. CVPR 2020, arXiv 2003.11942, eq. 5.
"""

from typing import Any

from torch import nn

from brickwork.core.types import Batch, LossOutput
from brickwork.objectives.classification import cross_entropy
from brickwork.systems.stationary_compat.system import System


class Influenced(nn.Module):
    """A system with a learnable classifier whose features are also classified by the previous model's, frozen one."""

    def __init__(self, system: System, old: nn.Module):
        super().__init__()
        self.system = system
        self.old = [old]  # not a part of what is trained or saved

    def collate(self, columns: dict[str, Any]) -> Batch:
        """As the system's."""
        return self.system.collate(columns)

    def loss(self, batch: Batch) -> LossOutput:
        """CE(W z) over all rows + CE(W_old z) over the rows whose class the old model knew."""
        slot = self.system.slot_of[batch["label"]]
        z = self.system.encoder(batch["input"], [1])[1]
        terms = {"cross_entropy": cross_entropy(self.system.classifier(z), slot)}
        weight = self.old[0].get_parameter("weight").detach()
        of_old = slot < len(weight)
        if of_old.any():
            terms["influence"] = cross_entropy(z[of_old] @ weight.T, slot[of_old])
        return LossOutput.of(terms)
