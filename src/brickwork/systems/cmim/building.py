"""What cMIM is told and built of: its configuration, its data, and an encoder and a decoder that fit them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.config import ImageDataConfig, refuse_image_size
from brickwork.data.sets.images import PARTS as IMAGE_SETS
from brickwork.data.sets.images import image_task, own_images
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.image_decoder import ImageDecoder, ImageDecoderConfig
from brickwork.modules.sequence_decoder import SequenceDecoder, SequenceDecoderConfig
from brickwork.systems.cmim.objective import parse_objective
from brickwork.systems.cmim.smiles import END, START, smiles_task, smiles_tokenizer
from brickwork.systems.cmim.smiles import check_smiles as check_smiles

_CONTRASTIVE = {"self", "info_nce", "info_nce_views"}
_LATENT_DIM = 64
Encoder = ImageEncoder | TextEncoder
Decoder = ImageDecoder | SequenceDecoder


@dataclass(frozen=True, kw_only=True)
class CmimConfig:
    """How to build a :class:`~brickwork.systems.cmim.system.CmimSystem`.

    ``objective``: a sum of ``ae``, ``vae``, ``mim``, ``cmim`` and the terms ``nll``, ``log_q``, ``log_prior``, ``self``,
    ``info_nce``, ``info_nce_views`` (see ``objective.py``), such as ``mim + 2*self``. ``encoder``, ``decoder``:
    for images (``ImageEncoderConfig`` and ``ImageDecoderConfig``) or for molecules (``TextEncoderConfig`` from scratch and
    ``SequenceDecoderConfig``). The numbers of a code are ``encoder.embedding_dim``, of molecules ``encoder.projection``
    (None: 64); the encoder gives twice as many. ``temperature``: τ of ``self``, ``info_nce`` and ``info_nce_views``, None =
    0.1. ``reduction``: the nll of an example is the ``sum`` over its pixels or tokens, or their ``mean``.
    ``log_sigma_floor``: lower bound of log σ.
    """

    objective: str = "cmim"
    encoder: ImageEncoderConfig | TextEncoderConfig = field(default_factory=ImageEncoderConfig)
    decoder: ImageDecoderConfig | SequenceDecoderConfig = field(default_factory=ImageDecoderConfig)
    temperature: float | None = None
    reduction: Literal["sum", "mean"] = "sum"
    log_sigma_floor: float = -6.0

    def validate(self) -> list[str]:
        return problems(self)


def load_data(config: ImageDataConfig, seed: int) -> TaskData:
    """Images or molecules to learn from: a known set, arrays (.npy, .npz), a folder of pictures; else SMILES in a table or
    one a line.

    Raises:
        DataError: the source does not exist or cannot be used.
    """
    path = Path(config.source).expanduser()
    if not path.is_dir():
        refuse_image_size(config)
    if config.source in IMAGE_SETS:
        return image_task(config, seed)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (".npy", ".npz")):
        return own_images(path, config, seed)
    return smiles_task(config, seed)


def problems(config: CmimConfig) -> list[str]:
    """Everything that is wrong with a configuration."""
    found = []
    weights: dict[str, float] = {}
    try:
        weights = parse_objective(config.objective)
    except ConfigError as error:
        found.append(str(error))
    if config.temperature is not None and config.temperature <= 0:
        found.append(f"temperature is {config.temperature}; it must be positive")
    if weights and config.temperature is not None and not weights.keys() & _CONTRASTIVE:
        found.append(f"temperature has no effect without one of {sorted(_CONTRASTIVE)}; leave it out")
    images = isinstance(config.encoder, ImageEncoderConfig)
    if images != isinstance(config.decoder, ImageDecoderConfig):
        found.append("encoder and decoder are not both for images or both for molecules; change one")
    if isinstance(config.encoder, TextEncoderConfig):
        if "info_nce_views" in weights:
            found.append("info_nce_views shifts images; molecules have no such view: use info_nce")
        if config.encoder.backbone not in ("scratch", "static"):
            found.append(
                f"encoder.backbone is {config.encoder.backbone!r}; SMILES have their own tokens: use scratch or static"
            )
        if config.encoder.vocab_size is not None:
            found.append(
                "encoder.vocab_size has no effect: the tokens are those of the notation; leave it out"
            )
    return found


def parts(config: CmimConfig, data: TaskData, assets: Path | None) -> tuple[Encoder, Decoder | None]:
    """Fresh parts for ``data``; no decoder where the objective has no use for one.

    Raises:
        DataError: data of another modality than the configuration is for.
    """
    wanted = {"image": ImageEncoderConfig, "molecule": TextEncoderConfig}.get(data.modality)
    if wanted is None:
        raise DataError(
            f"cmim learns from images or molecules; {data.name} is {data.kind} of {data.modality}"
        )
    if not isinstance(config.encoder, wanted):
        recipe = {"image": "small", "molecule": "molecules"}[data.modality]
        raise DataError(
            f"{data.name} holds {data.modality}s, and model.encoder is for {config.encoder.kind}s; "
            f"take --recipe {recipe}, or other data"
        )
    decodes = "nll" in parse_objective(config.objective)
    encoder: Encoder
    decoder: Decoder | None = None
    if isinstance(config.encoder, ImageEncoderConfig):
        height, width, channels = np.asarray(data.train.columns["input"]).shape[1:]
        shape = (height, width, channels)
        encoder = ImageEncoder(replace(config.encoder, embedding_dim=2 * config.encoder.embedding_dim), shape)
        if decodes:
            assert isinstance(config.decoder, ImageDecoderConfig), "checked by problems()"
            decoder = ImageDecoder(config.decoder, config.encoder.embedding_dim, shape)
        return encoder, decoder
    tokenizer = smiles_tokenizer(data.texts())
    latent_dim = config.encoder.projection or _LATENT_DIM
    settings = replace(config.encoder, projection=2 * latent_dim)
    encoder = build_text_encoder(settings, assets=assets, tokenizer=tokenizer)
    if decodes:
        assert isinstance(config.decoder, SequenceDecoderConfig), "checked by problems()"
        known = encoder.tokenizer.get_vocab()
        marks = {"start": known[START], "end": known[END]}
        decoder = SequenceDecoder(config.decoder, latent_dim, len(known), **marks)
    return encoder, decoder


def parts_from(architecture: Mapping[str, Any], tokenizer_json: str | None) -> tuple[Encoder, Decoder | None]:
    """The parts that an ``architecture()`` describes, with fresh weights."""
    described = architecture["encoder"]
    encoder: Encoder
    if described["kind"] == "image":
        encoder = ImageEncoder.from_architecture(described)
    else:
        encoder = TextEncoder.from_architecture(described, tokenizer_json or "")
    if architecture["decoder"] is None:
        return encoder, None
    sequence = architecture["decoder"]["kind"] == "sequence"
    decoder = (SequenceDecoder if sequence else ImageDecoder).from_architecture(architecture["decoder"])
    return encoder, decoder
