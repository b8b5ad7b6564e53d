"""An encoder from its description, with what was put inside it: mixtures of experts in place of feed-forward halves."""

from collections.abc import Mapping
from typing import Any

from brickwork.encoders.build import encoder_from_architecture
from brickwork.modules.expert_blocks import put_inside


def rebuilt_encoder(architecture: Mapping[str, Any], tokenizer_json: str | None) -> Any:
    """The encoder that an ``architecture()`` describes, with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    encoder: Any = encoder_from_architecture(architecture, tokenizer_json)
    members = zip(architecture["members"], encoder.members) if "members" in architecture else ()
    for described, one in ((architecture, encoder), *members):
        if inside := described.get("inside"):
            put_inside(one, inside)
    return encoder
