"""What an exported adapter says of the network that it was trained on."""

from pathlib import Path

from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.packaged import PACKAGED
from brickwork.encoders.text import TextEncoder
from brickwork.representation.backbones import Encoder, published_kind


def tower_of(name: str | ImageEncoderConfig, revision: str | None, modality: str) -> str:
    """Where the adapted part is in the model that transformers' ``AutoModel`` builds of a dual encoder; empty: it is the
    whole model."""
    if published_name(name) is None or published_kind(str(name), revision) != "image-text":
        return ""
    return "vision_model" if modality == "image" else "text_model"


def published_name(name: str | ImageEncoderConfig) -> str | None:
    """What a PEFT adapter calls its base model: a hub id or a folder of transformers; ``None`` for our own networks."""
    if isinstance(name, ImageEncoderConfig) or (Path(name).expanduser() / "brickwork.json").is_file():
        return None
    return PACKAGED[name].hub_id if name in PACKAGED else name


def pooling_of(encoder: Encoder, tower: str) -> str:
    """How the vector that a classifier reads is had from the published model, for whoever loads an exported adapter."""
    if tower:
        return "get_image_features" if tower == "vision_model" else "get_text_features"
    if isinstance(encoder, HubImageEncoder):
        return "cls" if encoder.arguments["config"]["model_type"] == "vit" else "pooler_output"
    return encoder.pooling if isinstance(encoder, TextEncoder) else ""
