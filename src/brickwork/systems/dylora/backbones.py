"""The network that adapters are put on: published, from a run folder, or from scratch."""

from pathlib import Path

from torch import nn

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.types import TaskData
from brickwork.encoders.build import load_published_encoder
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.packaged import PACKAGED
from brickwork.encoders.text import TextEncoder
from brickwork.representation.contract import image_shape

Encoder = TextEncoder | ImageEncoder


def load_backbone(
    name: str | ImageEncoderConfig, revision: str | None, max_tokens: int, data: TaskData
) -> Encoder:
    """The encoder called ``name`` for the inputs of ``data``: a run folder, what transformers knows, or a fresh one.

    Raises:
        ArtifactError: it is missing, damaged, unsafe or of an unknown kind.
        ConfigError, DataError: it does not read this data.
    """
    encoder: Encoder
    if isinstance(name, ImageEncoderConfig):
        if data.modality != "image":
            raise DataError(
                f"{data.name} holds {data.modality}s, and model.backbone describes an image encoder"
            )
        return ImageEncoder(name, image_shape(data))
    if (Path(name).expanduser() / "brickwork.json").is_file():
        encoder = _kept_encoder(Path(name).expanduser(), max_tokens)
    else:
        if data.modality != "text":
            raise DataError(
                f"{data.name} holds {data.modality}s and the backbone '{name}' reads texts; use the run folder of an "
                "image encoder as model.backbone"
            )
        encoder = load_published_encoder(name, revision, max_tokens)
    if data.modality != encoder.kind:
        raise DataError(
            f"{data.name} holds {data.modality}s, and the backbone '{name}' reads {encoder.kind}s"
        )
    return encoder


def published_name(name: str | ImageEncoderConfig) -> str | None:
    """What a PEFT adapter calls its base model: a hub id or a folder of transformers; ``None`` for our own networks."""
    if isinstance(name, ImageEncoderConfig) or (Path(name).expanduser() / "brickwork.json").is_file():
        return None
    return PACKAGED[name].hub_id if name in PACKAGED else name


def body_of(encoder: Encoder) -> nn.Module:
    """The module whose layers are adapted, so that their names are those that other tools know."""
    if isinstance(encoder, ImageEncoder):
        return encoder
    return encoder.body.model if isinstance(encoder.body, HubTransformer) else encoder.body


def _kept_encoder(folder: Path, max_tokens: int) -> Encoder:
    from brickwork.representation.load import load_representation

    encoder = load_representation(folder).encoder
    if isinstance(encoder, TextEncoder):
        if max_tokens > encoder.max_tokens:
            raise ConfigError(
                f"max_tokens={max_tokens} is more than the {encoder.max_tokens} of {folder}; use at most these"
            )
        return TextEncoder(encoder.body, encoder.tokenizer, pooling=encoder.pooling, max_tokens=max_tokens)
    return encoder
