"""Where the members come from: several of the same network with weights of their own, or the encoders of finished runs."""

from pathlib import Path
from typing import Any

import numpy as np

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder, find_backbone
from brickwork.encoders.config import FRESH, TextEncoderConfig
from brickwork.encoders.joined import Joined, JoinedImageEncoder, JoinedTextEncoder, join
from brickwork.representation.contract import build_encoder
from brickwork.representation.load import load_representation
from brickwork.systems.rich_representations.config import Config


def fresh_members(config: Config, data: TaskData, assets: Path | None, seed: int) -> Joined:
    """n networks, each drawn from a seed of its own: the first is the same however many there are.

    Raises:
        ConfigError, DataError, ArtifactError: the encoder cannot be built for this data.
    """
    members = [_drawn(config, data, assets, seed, 0, None)]
    members += [_drawn(config, data, assets, seed, place, members[0]) for place in range(1, config.count)]
    return join(members)


def student(config: Config, data: TaskData, assets: Path | None, seed: int, teacher: Any) -> Any:
    """One more network of the kind of the members, drawn after them."""
    return _drawn(config, data, assets, seed, config.count, teacher.members[0])


def _drawn(config: Config, data: TaskData, assets: Path | None, seed: int, place: int, first: Any) -> Any:
    seed_everything(generator_for(seed, place, "member").initial_seed())
    if first is not None and isinstance(config.encoder, TextEncoderConfig):
        # All read the same tokens; of a pretrained model the tokenizer is its own.
        return build_text_encoder(config.encoder, data.texts(), assets, tokenizer=first.tokenizer)
    return build_encoder(config, data, assets)


def members_of_runs(config: Config, data: TaskData) -> tuple[Joined, dict[str, Any], int]:
    """The encoders of finished runs as they are, and the lineage: which runs they are of and, where they stay as they are,
    which models the joint one ``extends``: its first dimensions are theirs. Last, how many blocks have to keep their scales
    for that.

    Raises:
        ArtifactError: a folder without a model, or one that does not encode.
        ConfigError: encoders that do not read their inputs in the same way, or one and the same.
        DataError: they do not read this data.
    """
    found = [load_representation(folder) for folder in config.runs]
    prints = [one.fingerprint for one in found]
    if twice := [folder for folder, one in zip(config.runs, prints) if prints.count(one) > 1]:
        raise ConfigError(
            f"model.runs={','.join(twice)}: the same model more than once, which adds nothing; name different ones"
        )
    joined = join([one.encoder for one in found], config.runs)
    check_reads(joined, data, config.runs[0])
    described = [
        {"run": Path(folder).name, "fingerprint": one.fingerprint} for folder, one in zip(config.runs, found)
    ]
    lineage: dict[str, Any] = {"members": described}
    if config.mode != "heads" or config.distil:
        return joined, lineage, 0
    lineage["extends"] = [found[0].fingerprint, *found[0].lineage.get("extends", ())]
    return joined, lineage, len(as_joined(found[0].encoder).members)


def published(config: Config) -> Any:
    """The pretrained encoder that all members began as, untouched; ``None`` for weights that were drawn, for members of
    finished runs, and where it is not to be had any more."""
    backbone = getattr(config.encoder, "backbone", None)
    if config.runs or not isinstance(backbone, str) or backbone in FRESH:
        return None
    try:
        folder = find_backbone(backbone, getattr(config.encoder, "revision", None))
        return None if folder is None else load_representation(folder).encoder
    except ArtifactError:
        return None


def as_joined(encoder: Any) -> Joined:
    """An encoder as one of members, of which it may be the only one."""
    return encoder if isinstance(encoder, JoinedImageEncoder | JoinedTextEncoder) else join([encoder])


def check_count(joined: Joined, config: Config) -> None:
    """Refuses another number of members than a finished run has.

    Raises:
        ConfigError: says which number it has.
    """
    if len(joined.members) != config.count:
        raise ConfigError(
            f"model.members={config.count}, and the run that is started from has {len(joined.members)}: use "
            f"--set model.members={len(joined.members)}"
        )


def check_reads(encoder: Any, data: TaskData, name: str) -> None:
    """Refuses data that a finished encoder cannot read.

    Raises:
        DataError: another kind of inputs, or images of another shape.
    """
    if data.modality != encoder.kind:
        raise DataError(
            f"{data.name} holds {data.modality}s, and {name} reads {encoder.kind}s; bring {encoder.kind}s"
        )
    if encoder.kind == "image" and getattr(encoder, "framing", None) is None:
        shape, wanted = np.asarray(data.train.columns["input"]).shape[1:], tuple(encoder.image_shape)
        if tuple(shape) != wanted:
            raise DataError(
                f"{data.name} holds images of shape {tuple(shape)}, and {name} takes {wanted}: use "
                f"--set data.image_size={wanted[0]}, or images like those that it was trained on"
            )
