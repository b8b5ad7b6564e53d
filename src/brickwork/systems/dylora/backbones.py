"""The network that adapters are put on: published, from a run folder, or a small one of digits for tests and claims."""

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import generator_for
from brickwork.data.sets.images import load_images
from brickwork.data.types import TaskData
from brickwork.encoders.build import MINILM_HUB_ID, load_published_encoder
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder

DIGITS = "digits"
Encoder = TextEncoder | ImageEncoder
_STEPS, _BATCH = 500, 64


def load_backbone(name: str, revision: str | None, max_tokens: int, data: TaskData) -> Encoder:
    """The encoder called ``name`` for the inputs of ``data``: ``digits``, a run folder, or what transformers knows.

    Raises:
        ArtifactError: it is missing, damaged, unsafe or of an unknown kind.
        ConfigError, DataError: it does not read this data.
    """
    encoder: Encoder
    if name == DIGITS:
        encoder = _digits_encoder()
    elif (Path(name).expanduser() / "brickwork.json").is_file():
        encoder = _kept_encoder(Path(name).expanduser(), max_tokens)
    else:
        if data.modality != "text":
            raise DataError(
                f"{data.name} holds {data.modality}s and the backbone '{name}' reads texts; use the run folder of an "
                f"image encoder, or '{DIGITS}', as model.backbone"
            )
        encoder = load_published_encoder(name, revision, max_tokens)
    if data.modality != encoder.kind:
        raise DataError(
            f"{data.name} holds {data.modality}s, and the backbone '{name}' reads {encoder.kind}s"
        )
    return encoder


def published_name(name: str) -> str | None:
    """What a PEFT adapter calls its base model: a hub id or a folder of transformers; ``None`` for our own networks."""
    if name == DIGITS or (Path(name).expanduser() / "brickwork.json").is_file():
        return None
    return MINILM_HUB_ID if name == "minilm" else name


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


def _digits_encoder() -> ImageEncoder:
    """A perceptron 64-256-256-64 that has learnt to tell the upright digits 0 … 4 of scikit-learn apart.

    It is trained here, in a second, and always comes out the same on the same machine.
    """
    config = ImageEncoderConfig(architecture="mlp", width=256, depth=2, embedding_dim=64)
    with torch.random.fork_rng(devices=[]):
        encoder = ImageEncoder(config, (8, 8, 1))
    encoder.load_state_dict(_digits_weights(config))
    return encoder


@functools.cache
def _digits_weights(config: ImageEncoderConfig) -> dict[str, Tensor]:
    examples = load_images("digits", "all")
    images, labels = (np.asarray(examples.columns[name]) for name in ("input", "label"))
    known = np.flatnonzero(labels < 5)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        encoder = ImageEncoder(config, (8, 8, 1))
        head = nn.Linear(config.embedding_dim, 5)
        x = encoder.prepare(images[known])
        y = torch.from_numpy(labels[known])
        optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=1e-3)
        for step in range(_STEPS):
            rows = torch.randint(len(y), (_BATCH,), generator=generator_for(0, step, "digits"))
            optimiser.zero_grad()
            F.cross_entropy(head(encoder(x[rows])[1]), y[rows]).backward()
            optimiser.step()
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}
