"""What users get of a trained system: vectors of two parts, each of equal length, that searches can ask for apart.

``invariant``: the invariant share of the encoder's output; ``equivariant``: the embedding in which the predictor moves.
A query with one part set to zero compares that part alone, in any index: documents keep both. Moving a query's equivariant
part by W(g) asks for what the object looks like after the change.

Shape legend: N images, P and Q dimensions of the parts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.kept import SystemRepresentation
from brickwork.representation.truncate import truncate


class PartedEncoder(ImageEncoder):
    """An image encoder whose vectors are laid out in parts, each of length 1. ``equivariant``: so many of the last
    dimensions of ``base`` go through ``projector``; 0: all of them do, and are the invariant part as well. Without a
    projector there is one part."""

    def __init__(self, base: ImageEncoder, projector: nn.Sequential | None, equivariant: int):
        nn.Module.__init__(self)
        self.base, self.projector, self.equivariant = base, projector, equivariant

    @property
    def num_layers(self) -> int:  # type: ignore[override]
        """As the encoder's."""
        return self.base.num_layers

    @property
    def image_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        """As the encoder's."""
        return self.base.image_shape

    @property
    def framing(self) -> Any:
        """As the encoder's, if it is a pretrained one."""
        return self.base.framing

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part stands in a vector."""
        p = self.base.embedding_dim - self.equivariant
        if self.projector is None:
            return {"invariant": slice(0, p)}
        last = cast(nn.Linear, self.projector[-1])
        return {"invariant": slice(0, p), "equivariant": slice(p, p + last.out_features)}

    @property
    def embedding_dim(self) -> int:
        """P + Q."""
        return max(place.stop for place in self.parts.values())

    def prepare(self, images: np.ndarray) -> Float[Tensor, "n c h w"]:
        """As the encoder."""
        return self.base.prepare(images)

    def forward(self, images: Float[Tensor, "n c h w"], layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """``{layer: vectors}``, (N, P + Q), at full depth."""
        last = self.num_layers
        if list(layers) not in ([], [last]):
            raise ConfigError(f"layers {list(layers)}: parts are made at the full depth, {last}")
        r = self.base(images, [last])[last]
        parts = [F.normalize(r[:, : self.base.embedding_dim - self.equivariant], dim=1)]
        if self.projector is not None:
            weight = cast(nn.Linear, self.projector[-1]).weight
            z = self.projector((r[:, -self.equivariant :] if self.equivariant else r).to(weight.dtype))
            parts.append(F.normalize(z.to(r.dtype), dim=1))
        return {last: torch.cat(parts, dim=1)}

    def flops(self, num_images: int = 1) -> int:
        """Those of the encoder and of its projector."""
        matrices = [m for m in self.projector or () if isinstance(m, nn.Linear)]
        own = sum(2 * m.in_features * m.out_features for m in matrices)
        return self.base.flops(num_images) + num_images * own

    def architecture(self) -> dict[str, Any]:
        """What tells it from others: no encoder can be built of it, which joining several looks at."""
        parts = {name: [place.start, place.stop] for name, place in self.parts.items()}
        return {"kind": self.kind, "base": self.base.architecture(), "parts": parts}


class PartedRepresentation(SystemRepresentation):
    """Vectors of parts, and queries for a part or for a change. It is saved as the whole system: it needs the predictor."""

    def __init__(self, system: Any):
        super().__init__(system, system.parted)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self.encoder.parts)

    def encode(
        self, inputs: Any, *, part: str | None = None, **options: Any
    ) -> Float32[np.ndarray, "*n dim"]:
        """As :meth:`Representation.encode`; of one ``part`` alone, where it is named.

        Raises:
            ConfigError: a part that does not exist.
        """
        place = None if part is None else self._place(part)
        vectors = super().encode(inputs, **options)
        return vectors if place is None else truncate(vectors[:, place], place.stop - place.start)

    def asked(
        self,
        vector: Float32[np.ndarray, " dim"],
        part: str | None,
        change: str | Mapping[str, float | int] | None,
    ) -> Float32[np.ndarray, " dim"]:
        """A query's vector for what is asked: moved by ``change`` (``angle=30``, or a mapping), only ``part`` compared.

        Raises:
            ConfigError: a part or change that the model does not have.
        """
        place = None if part is None else self._place(part)
        asked = np.array(vector, dtype=np.float32)
        if change is not None:
            if part == "invariant":
                raise ConfigError("part 'invariant' ignores changes; leave out the part, or the change")
            moved = self.system.moved(asked[self._place("equivariant")], change)
            asked[self._place("equivariant")] = moved
        if place is not None:
            only = np.zeros_like(asked)
            only[place] = asked[place]
            asked = only
        return truncate(asked[None], len(asked))[0]

    def share(self, part: str | None) -> float:
        """The longest that a part is of a vector of length 1: what a cosine of that part alone is multiplied by."""
        return 1.0 if part is None else len(self.parts) ** -0.5

    def _place(self, part: str) -> slice:
        if part not in self.encoder.parts:
            raise ConfigError(f"this model has no part '{part}': {nearest(part, self.encoder.parts)}")
        place: slice = self.encoder.parts[part]
        return place
