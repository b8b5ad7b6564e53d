"""The network that adapters are put on: published, from a run folder, or from scratch."""

from pathlib import Path

from torch import nn

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.types import TaskData
from brickwork.encoders.build import find_backbone, load_published_encoder
from brickwork.encoders.build_images import backbone_kind, build_image_encoder, build_image_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.hub_tower import TextTower
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.packaged import PACKAGED
from brickwork.encoders.text import TextEncoder
from brickwork.representation.contract import image_shape

Encoder = TextEncoder | ImageEncoder
_MAX_TOKENS = 128


def load_backbone(
    name: str | ImageEncoderConfig, revision: str | None, max_tokens: int | None, data: TaskData
) -> Encoder:
    """The encoder called ``name`` for the inputs of ``data``: a run folder, what transformers knows, or a fresh one; of a
    dual encoder the tower that reads them. ``max_tokens``: None: 128, of a dual encoder as many as it reads.

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
        encoder = _kept_encoder(Path(name).expanduser(), max_tokens or _MAX_TOKENS)
    else:
        encoder = _published_encoder(name, revision, max_tokens, data)
    if data.modality != encoder.kind:
        raise DataError(
            f"{data.name} holds {data.modality}s, and the backbone '{name}' reads {encoder.kind}s"
        )
    return encoder


def _published_encoder(name: str, revision: str | None, max_tokens: int | None, data: TaskData) -> Encoder:
    kind = _published_kind(name, revision)
    if data.modality not in kind.split("-"):
        raise DataError(
            f"{data.name} holds {data.modality}s and the backbone '{name}' reads {kind}s; give a model that reads "
            f"{data.modality}s as model.backbone"
        )
    if kind == "text":
        return load_published_encoder(name, revision, max_tokens or _MAX_TOKENS)
    if data.modality == "text":
        return _text_tower(name, revision, max_tokens)
    if max_tokens is not None:
        raise ConfigError(
            f"max_tokens has no effect with backbone '{name}', which reads images; leave it out"
        )
    return build_image_encoder(PretrainedImageConfig(backbone=name, revision=revision))


def _text_tower(name: str, revision: str | None, max_tokens: int | None) -> TextEncoder:
    both = build_image_text_encoder(name, revision)
    limit = max_tokens or both.max_tokens
    if limit > both.max_tokens:
        raise ConfigError(
            f"max_tokens={limit} is more than the {both.max_tokens} of {name}; use at most these"
        )
    tower = TextEncoder(
        both.body,
        both.tokenizer,
        pooling=both.pooling,
        max_tokens=limit,
        projection=None if both.projection is None else both.embedding_dim,
    )
    tower.projection = both.projection
    return tower


def _published_kind(name: str, revision: str | None) -> str:
    folder = None if name in PACKAGED else find_backbone(name, revision)
    return "text" if folder is None else backbone_kind(folder)


def tower_of(name: str | ImageEncoderConfig, revision: str | None, modality: str) -> str:
    """Where the adapted part is in the model that transformers' ``AutoModel`` builds of a dual encoder; empty: it is the
    whole model."""
    if published_name(name) is None or _published_kind(str(name), revision) != "image-text":
        return ""
    return "vision_model" if modality == "image" else "text_model"


def published_name(name: str | ImageEncoderConfig) -> str | None:
    """What a PEFT adapter calls its base model: a hub id or a folder of transformers; ``None`` for our own networks."""
    if isinstance(name, ImageEncoderConfig) or (Path(name).expanduser() / "brickwork.json").is_file():
        return None
    return PACKAGED[name].hub_id if name in PACKAGED else name


def body_of(encoder: Encoder) -> nn.Module:
    """The module whose layers are adapted, so that their names are those that other tools know."""
    if isinstance(encoder, ImageEncoder):
        return encoder.model if isinstance(encoder, HubImageEncoder) else encoder
    return encoder.body.model if isinstance(encoder.body, HubTransformer | TextTower) else encoder.body


def pooling_of(encoder: Encoder, tower: str) -> str:
    """How the vector that a classifier reads is had from the published model, for whoever loads an exported adapter."""
    if tower:
        return "get_image_features" if tower == "vision_model" else "get_text_features"
    if isinstance(encoder, HubImageEncoder):
        return "cls" if encoder.arguments["config"]["model_type"] == "vit" else "pooler_output"
    return encoder.pooling if isinstance(encoder, TextEncoder) else ""


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
