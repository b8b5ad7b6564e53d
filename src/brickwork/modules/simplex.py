"""A classifier that never changes: the corners of a regular simplex as fixed class vectors.

Biondi, Pernici, Ricci, Del Bimbo: Stationary Representations, CVPR 2024, arXiv 2405.02581, section 3; as a fixed
"equiangular tight frame" for any classifier: Pernici et al., arXiv 1902.10441. Nothing is drawn at random, so two
parties that agree on the number of corners have the same classifier without exchanging it.
Shape legend: K slots, D dimensions of a feature.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.files import checksum

End = Literal["front", "back"]


def simplex(slots: int) -> Float[Tensor, "slots dim"]:
    """The ``slots`` corners of a regular simplex as unit vectors of ``slots - 1`` dimensions, in float64.

    Maths: the unit vectors e_1 … e_d, d = K − 1, and the point with all coordinates (1 − √(1 + d))/d, moved so
    that their mean is 0 and scaled to length 1. Their cosines are −1/(K−1), the least that K vectors can all have.

    Raises:
        ConfigError: fewer than two slots.
    """
    if slots < 2:
        raise ConfigError(f"slots={slots}: a simplex classifier needs 2 or more")
    d = slots - 1
    corners = torch.eye(d, dtype=torch.float64)
    last = torch.full((1, d), (1 - (1 + d) ** 0.5) / d, dtype=torch.float64)
    corners = torch.cat([corners, last])
    corners = corners - corners.mean(0)
    return corners / corners.norm(dim=1, keepdim=True)


class SimplexHead(nn.Module):
    """Logits of ``slots`` classes from a frozen simplex: nothing to train, no bias.

    Reads the first ``slots - 1`` dimensions of a feature, so it also fits features that are wider. The corners are
    computed, not stored: a checkpoint neither holds nor can damage them.
    """

    def __init__(self, slots: int, *, scale: float = 1.0):
        super().__init__()
        self.slots = slots
        self.dim = slots - 1
        self.scale = scale
        self.corners: Tensor
        with torch.device("cpu"):  # a model that is built on the meta device has its corners all the same
            self.register_buffer("corners", simplex(slots).float(), persistent=False)

    def forward(self, z: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows slots"]:
        """s · z_{1:K−1} Tᵀ; features are used as they are, not normalised.

        Raises:
            ConfigError: the features are narrower than K − 1.
        """
        if z.shape[-1] < self.dim:
            raise ConfigError(
                f"{self.slots} slots need features of {self.dim} dimensions or more; these have {z.shape[-1]}"
            )
        return self.scale * z[..., : self.dim] @ self.corners.to(z.dtype).T


@dataclass(frozen=True)
class SlotRegistry:
    """Which class has which corner of the simplex: kept with a model and handed on to its successors.

    Two models with one simplex but another assignment cannot be compared, and nothing would show it: so the
    assignment has a :attr:`digest`.
    """

    slots: int
    taken: Mapping[str, int]

    def assign(self, names: Iterable[str], end: End = "front") -> "SlotRegistry":
        """The registry with a slot for each of ``names``; known ones keep theirs, new ones get the next free.

        ``end``: slots are given out from the first one on, or, as the paper's clients do, from the last one
        backwards, so that two parties that add classes apart do not meet.

        Raises:
            ConfigError: more classes than slots.
        """
        taken = dict(self.taken)
        used = set(taken.values())
        order = range(self.slots) if end == "front" else range(self.slots - 1, -1, -1)
        free = (slot for slot in order if slot not in used)
        for name in names:
            if name in taken:
                continue
            slot = next(free, None)
            if slot is None:
                raise ConfigError(
                    f"all {self.slots} slots are taken and '{name}' is a new class: slots are chosen once, with the "
                    "first model of a series (model.slots; a vector has slots - 1 dimensions). Leave classes out, or "
                    "begin a new series and index everything again"
                )
            taken[name] = slot
        return SlotRegistry(self.slots, taken)

    def merged(self, other: "SlotRegistry") -> "SlotRegistry":
        """The classes of both.

        Raises:
            ConfigError: other slots, a class with two slots, or a slot with two classes (named).
        """
        if self.slots != other.slots:
            raise ConfigError(
                f"one model has {self.slots} slots and the other {other.slots}; they cannot go together"
            )
        taken = dict(self.taken)
        owner = {slot: name for name, slot in taken.items()}
        for name, slot in other.taken.items():
            if taken.get(name, slot) != slot or owner.get(slot, name) != name:
                raise ConfigError(
                    f"class '{name}' has slot {slot} in one model, where the other has "
                    f"{'slot ' + str(taken[name]) if name in taken else repr(owner[slot])}: they were not made for each "
                    "other; let one party give out slots from the back (model.slots_from=back)"
                )
            taken[name], owner[slot] = slot, name
        return SlotRegistry(self.slots, taken)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over slots and assignment."""
        return checksum({"slots": self.slots, "taken": dict(self.taken)})[:16]

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` reads."""
        return {"slots": self.slots, "taken": dict(self.taken), "digest": self.digest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SlotRegistry":
        """The registry that :meth:`to_dict` wrote.

        Raises:
            ConfigError: damaged, or changed since it was written.
        """
        try:
            slots = cls(int(values["slots"]), {str(k): int(v) for k, v in values["taken"].items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"the registry of classes and slots is damaged ({error!r})") from error
        if values.get("digest") != slots.digest:
            raise ConfigError(
                "the registry of classes and slots was changed after it was written: vectors of this model would "
                "mean other classes. Use a good copy of the model"
            )
        return slots
