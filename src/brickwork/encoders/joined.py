"""Several encoders of the same inputs side by side, as one: its vector is theirs, one after the other.

Nothing is done to the joint vector, so its first dimensions are those of the first encoder, bit for bit. Each block has a
``scale``, a number (1 for the first), with which blocks of different lengths can be made to count alike in a cosine.

Shape legend: B inputs, P_i dimensions of encoder i, D = Σ P_i.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.types import TokenBatch
from brickwork.encoders.feature_cache import FeatureCache
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder

Member = ImageEncoder | TextEncoder


class JoinedImageEncoder(ImageEncoder):
    """Encoders of images that take the same ones. The end of all of them is its only exit: layer 1."""

    members: Any
    scales: Tensor

    def __init__(self, members: Sequence[ImageEncoder]):
        nn.Module.__init__(self)
        _adopt(self, members)
        self.image_shape = members[0].image_shape
        framing = getattr(members[0], "framing", None)
        if framing is not None:
            self.framing = framing

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.dims[-1]

    @property
    def dims(self) -> tuple[int, ...]:
        """Where the block of each member ends: P_1, P_1 + P_2 … D."""
        return _ends(self)

    def prepare(self, images: np.ndarray) -> Float[Tensor, "n c h w"]:
        """Images as the members take them. Raises as :meth:`ImageEncoder.prepare`."""
        return self.members[0].prepare(images)

    def blocks(self, images: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n _"]]:
        """The vectors of each member, as they are."""
        return [_whole(member, images) for member in self.members]

    def forward(self, images: Float[Tensor, "n c h w"], layers: Sequence[int] = (1,)) -> dict[int, Tensor]:
        """``{1: vectors}``, (B, D), each block times its scale, not normalised.

        Raises:
            ConfigError: a layer other than 1.
        """
        _check_exit(layers)
        return {1: _side_by_side(self, self.blocks(images))}

    def flops(self, num_images: int = 1) -> int:
        """Those of all members."""
        return sum(member.flops(num_images) for member in self.members)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :func:`brickwork.encoders.build.encoder_from_architecture` rebuilds this encoder."""
        return _architecture(self)


class JoinedTextEncoder(TextEncoder):
    """Encoders of texts that read the same tokens. The end of all of them is its only exit: layer 1."""

    members: Any
    scales: Tensor

    def __init__(self, members: Sequence[TextEncoder]):
        nn.Module.__init__(self)
        _adopt(self, members)
        first = members[0]
        self.tokenizer, self.max_tokens, self.pooling = first.tokenizer, first.max_tokens, first.pooling
        self.notation, self.marks, self.prompts = first.notation, first.marks, first.prompts
        self.exits, self.projection, self.dense = None, None, nn.ModuleList()
        self.frozen, self.adapters, self.truncated = False, None, 0
        self._shorter, self.cache = {}, FeatureCache()
        self.embedding_dim = self.dims[-1]

    @property
    def body(self) -> Any:  # type: ignore[override]
        """The first member's: it says how texts become tokens."""
        return self.members[0].body

    @property
    def num_layers(self) -> int:
        return 1

    @property
    def depths(self) -> tuple[int, ...]:
        """The end alone."""
        return (1,)

    @property
    def dims(self) -> tuple[int, ...]:
        """Where the block of each member ends: P_1, P_1 + P_2 … D."""
        return _ends(self)

    def blocks(self, tokens: TokenBatch) -> list[Float[Tensor, "batch _"]]:
        """The vectors of each member, as they are."""
        return [_whole(member, tokens) for member in self.members]

    def forward(
        self, tokens: TokenBatch, layers: Sequence[int] = (1,)
    ) -> dict[int, Float[Tensor, "batch width"]]:
        """``{1: vectors}``, (B, D), each block times its scale, not normalised.

        Raises:
            ConfigError: a layer other than 1.
        """
        _check_exit(layers)
        return {1: _side_by_side(self, self.blocks(tokens))}

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int = 1) -> Tensor:
        """The vectors of padded texts: for ONNX. Shapes: two of (B, L) → (B, D)."""
        _check_exit([layer])
        blocks = [
            member.forward_padded(input_ids, attention_mask, member.num_layers) for member in self.members
        ]
        return _side_by_side(self, blocks)

    def exits_padded(
        self, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[int]
    ) -> dict[int, Tensor]:
        """The same, by layer."""
        return {layer: self.forward_padded(input_ids, attention_mask, layer) for layer in layers}

    def flops(self, lengths: Sequence[int], layers: int = 1) -> int:
        """Those of all members."""
        _check_exit([layers])
        return sum(member.flops(lengths, member.num_layers) for member in self.members)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :func:`brickwork.encoders.build.encoder_from_architecture` rebuilds this encoder."""
        return _architecture(self)


Joined = JoinedImageEncoder | JoinedTextEncoder
_REBUILT = (ImageEncoder, HubImageEncoder, TextEncoder, JoinedImageEncoder, JoinedTextEncoder)
"""Encoders that are built again from what describes them."""


def join(members: Sequence[Member], names: Sequence[str] = ()) -> Joined:
    """One encoder of several, whose weights it takes over; joined ones among them are taken apart. ``names``: what the user
    calls each, for messages.

    Raises:
        ConfigError: no member, one of another kind, or one that reads its inputs in another way than the first.
    """
    if not members:
        raise ConfigError("nothing to join; name at least one encoder")
    names = names or [f"encoder {number}" for number in range(1, len(members) + 1)]
    for name, member in zip(names, members):
        _check_alike(names[0], members[0], name, member)
    parts: list[Any] = []
    scales: list[Tensor] = []
    for member in members:
        if isinstance(member, Joined):
            parts += member.members
            scales.append(member.scales)
        else:
            parts.append(member)
            scales.append(torch.ones(1))
    joined = (JoinedTextEncoder if members[0].kind == "text" else JoinedImageEncoder)(parts)
    joined.scales.copy_(torch.cat(scales))
    return joined


def _check_alike(first_name: str, first: Member, name: str, member: Member) -> None:
    if member.kind not in ("text", "image"):
        raise ConfigError(
            f"{name} is an encoder of kind '{member.kind}', and only those of texts or of images are joined"
        )
    if type(member) not in _REBUILT:
        raise ConfigError(
            f"{name} has an encoder that only its own system can build again ({type(member).__name__}), so it cannot be "
            "one of several; join encoders whose vectors are of one piece"
        )
    if member.kind != first.kind:
        raise ConfigError(
            f"{name} reads {member.kind}s and {first_name} reads {first.kind}s; join encoders of one kind"
        )
    for what, value in _reading(first).items():
        other = _reading(member)[what]
        if other != value:
            shown = f": {other} and {value}" if len(f"{other}{value}") < 120 else ""
            raise ConfigError(
                f"{name} and {first_name} do not read their inputs in the same way ({what} differ{shown}); join encoders "
                "that read alike: of one pretrained model, or with one tokenizer"
            )


def _reading(encoder: Member) -> dict[str, Any]:
    """All that decides what an encoder makes of a raw input before its network."""
    if isinstance(encoder, Joined):
        return _reading(encoder.members[0])
    if isinstance(encoder, TextEncoder):
        return {
            "the tokenizers": encoder.tokenizer.to_str(),
            "the numbers of tokens that are read": encoder.max_tokens,
            "the prompts": encoder.prompts.to_dict(),
            "the notations": encoder.notation,
        }
    preprocessing = getattr(encoder, "preprocessing", None)
    return {
        "the shapes of images": tuple(encoder.image_shape),
        "the preprocessings": None if preprocessing is None else preprocessing.to_dict(),
    }


def _adopt(joined: Any, members: Sequence[Member]) -> None:
    joined.members = nn.ModuleList(members)
    joined.register_buffer("scales", torch.ones(len(members)))


def _ends(joined: Any) -> tuple[int, ...]:
    return tuple(accumulate(member.embedding_dim for member in joined.members))


def _whole(member: Any, inputs: Any) -> Tensor:
    last = member.num_layers
    vectors: Tensor = member(inputs, [last])[last]
    return vectors


def _side_by_side(joined: Any, blocks: Sequence[Tensor]) -> Float[Tensor, "batch width"]:
    scales = joined.scales.to(blocks[0].dtype)
    return torch.cat([block * scale for block, scale in zip(blocks, scales)], dim=1)


def _check_exit(layers: Sequence[int]) -> None:
    if list(layers) != [1]:
        raise ConfigError(f"layers {list(layers)}: joined encoders have one exit, layer 1")


def _architecture(joined: Any) -> dict[str, Any]:
    return {"kind": joined.kind, "members": [member.architecture() for member in joined.members]}
