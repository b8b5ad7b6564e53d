"""A Neural Attentive Circuit as a student: behind the slots, and as an encoder.

Shape legend: B images, C classes, D width of the circuit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ConfigError
from brickwork.core.flops import count_flops
from brickwork.encoders.image import ImageEncoder
from brickwork.modules.slots import StitchKind, frozen
from brickwork.systems.m2mkd.circuits import Circuit
from brickwork.systems.m2mkd.config import Circuits

_HEAD_WIDTH = 32


class CircuitEncoder(ImageEncoder):
    """The pooled vector of a circuit, at its end alone."""

    def __init__(self, circuit: Circuit, config: Circuits, image_shape: tuple[int, int, int]):
        nn.Module.__init__(self)
        self.circuit, self.circuits, self.image_shape = circuit, config, image_shape

    @property
    def embedding_dim(self) -> int:
        """As wide as a state."""
        return self.circuit.width

    @property
    def token_width(self) -> int:
        """Raises:
        ConfigError: latents have no places in the image.
        """
        raise ConfigError("a circuit has latents in the place of patches; it gives one vector for an image")

    def forward(self, images: Float[Tensor, "n c h w"], layers: Sequence[int] = ()) -> dict[int, Tensor]:
        """``{1: vectors}``, (N, D), in float32 or better, not normalised.

        Raises:
            ConfigError: a layer that there is not.
        """
        if list(layers) not in ([], [1]):
            raise ConfigError(f"layers {list(layers)}: a circuit has one exit, layer 1")
        z = self.circuit.vector(self._typed(images))
        return {1: z.to(torch.promote_types(z.dtype, torch.float32))}

    def flops(self, num_images: int = 1) -> int:
        """Floating-point operations of convolutions and matrices (multiply and add counted apart)."""
        height, width, channels = self.image_shape
        image = next(self.parameters()).new_zeros(1, channels, height, width)
        with frozen(self):  # torch's counter stumbles over slices of what learns
            return num_images * count_flops(lambda: self(image))

    def architecture(self) -> dict[str, Any]:
        """What tells it from others. It is kept with its system, which rebuilds it."""
        return {
            "kind": self.kind,
            "circuit": to_dict(self.circuits),
            "propagators": len(self.circuit.propagators),
            "image_shape": list(self.image_shape),
        }


class CircuitsStudent(nn.Module):
    """Tokeniser and read-in, propagators, and read-out as slots. ``joints``: the kind of the stitches that stay between
    them, and the width of the meta network. ``fitted``: whether the graph is made; weights that are loaded have it."""

    def __init__(
        self,
        config: Circuits,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        slots: int,
        patch: int,
        seed: int,
        joints: tuple[StitchKind, int] | None,
        fitted: bool,
    ):
        super().__init__()
        mediators = None if fitted else torch.empty(config.mediators, config.signature_dim)
        circuit = Circuit(
            image_shape,
            classes,
            patch=patch,
            seed=seed,
            width=config.width,
            num_heads=config.num_heads or max(1, config.width // _HEAD_WIDTH),
            latents=(config.inputs, config.mediators, config.outputs),
            propagators=slots - 2,
            signature_dim=config.signature_dim,
            prior=config.prior,
            stem_blocks=config.stem_blocks,
            place_dim=config.place_dim,
            drop=config.drop,
            joints=joints,
            mediators=mediators,
        )
        self.encoder = CircuitEncoder(circuit, config, image_shape)
        self.width = config.width

    def slots(self) -> tuple[nn.Module, ...]:
        """S_1 … S_L, as they stand in the meta network."""
        return self.encoder.circuit.slots()

    def assemble(self, stitches: Sequence[nn.Module]) -> None:
        """Puts ψ of each slot and φ of the next between them, where they are kept."""
        self.encoder.circuit.assemble(stitches)

    def logits(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """Of the assembled circuit."""
        return self.encoder.circuit(x)

    def repulsion(self) -> Float[Tensor, ""]:
        """The regulariser of the signatures."""
        return self.encoder.circuit.repulsion()
