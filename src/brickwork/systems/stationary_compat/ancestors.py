"""What a model that replaces another one takes over from it: its classes' slots, its lineage, its old examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brickwork.core.errors import ArtifactError, ConfigError, DataError, warn
from brickwork.core.files import read_json
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.modules.simplex import SlotRegistry
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation
from brickwork.systems.stationary_compat.rehearsal import exemplars, joined, of_classes
from brickwork.training.run import run_from_dict

REHEARSAL = 20


@dataclass(frozen=True)
class Ancestor:
    """A model of the series: its representation, its registry, and the folder that it came from."""

    folder: Path
    representation: Representation
    registry: SlotRegistry


def ancestor(folder: str, option: str) -> Ancestor:
    """The model in ``folder``.

    Raises:
        ArtifactError: no model there, or one that this system did not make.
        ConfigError: its registry is damaged.
    """
    representation = load_representation(folder)
    if "slots" not in representation.lineage:
        raise ArtifactError(
            f"model.{option}={folder} was made by '{representation.lineage.get('system', 'another program')}' and has "
            "no slots for classes: only a model of stationary-compat can be replaced compatibly. Begin a series: "
            "brickwork train stationary-compat --data DATA"
        )
    return Ancestor(Path(folder), representation, SlotRegistry.from_dict(representation.lineage["slots"]))


def check_inputs(data: TaskData, kind: str, base: Ancestor | None) -> None:
    """Refuses inputs that the encoder or the model that it starts from cannot read.

    Raises:
        DataError: texts for an encoder of images or the other way round, or images of another shape.
    """
    kinds = [kind] + ([base.representation.encoder.kind] if base is not None else [])
    for wanted in kinds:
        if data.modality != wanted:
            raise DataError(
                f"{data.name} holds {data.modality}s, the encoder is for {wanted}s: take --recipe "
                f"{'images' if data.modality == 'image' else 'small'}"
            )
    # A pretrained model of images takes any size.
    if base is not None and kind == "image" and not hasattr(base.representation.encoder, "framing"):
        shape = np.asarray(data.train.columns["input"]).shape[1:]
        wanted_shape = base.representation.encoder.image_shape
        if tuple(shape) != tuple(wanted_shape):
            raise DataError(
                f"{data.name} holds images of shape {tuple(shape)} and {base.folder} takes {tuple(wanted_shape)}: use "
                f"data.image_size={wanted_shape[0]}, or the same set as before"
            )


def inherited(slots: int, ancestors: Sequence[Ancestor], kind: str) -> SlotRegistry:
    """The classes of all ``ancestors``, for an encoder with room for ``slots``.

    Raises:
        ConfigError: an ancestor has other slots, or two of them do not agree about a class.
    """
    registry = SlotRegistry(slots, {})
    for one in ancestors:
        if one.registry.slots != slots:
            name = "encoder.projection" if kind == "text" else "encoder.embedding_dim"
            width = one.registry.slots - 1
            raise ConfigError(
                f"this encoder gives vectors of {slots - 1} dimensions and {one.folder} of {width}, with which they could "
                f"not be compared: use model.{name}={width}"
            )
        registry = registry.merged(one.registry)
    return registry


def replaced(ancestors: Sequence[Ancestor]) -> list[str]:
    """The fingerprints of all models whose vectors a successor of these can be compared with."""
    names = [
        name
        for one in ancestors
        for name in (one.representation.fingerprint, *one.representation.lineage.get("replaces", ()))
    ]
    return list(dict.fromkeys(names))


def memory(
    previous: Ancestor, data: TaskData, registry: SlotRegistry, per_class: int | None
) -> Examples | None:
    """Examples (``input``, ``slot``) of the classes that ``data`` does not have, out of the data of earlier versions.

    ``per_class``: so many of each class; ``None`` = 20, and a warning instead of an error where old data is gone.

    Raises:
        DataError, ArtifactError: data of an earlier run cannot be read.
    """
    if per_class == 0 or set(previous.registry.taken) <= set(class_names(data)):
        return None
    try:
        wanted = set(previous.registry.taken) - set(class_names(data))
        parts = _of_earlier_runs(previous.folder, wanted, per_class or REHEARSAL, data.modality)
    except (DataError, ArtifactError, ConfigError) as error:
        if per_class is not None:
            raise
        missing = sorted(set(previous.registry.taken) - set(class_names(data)))
        warn(
            f"the data of {previous.folder} cannot be read ({error}), so {len(missing)} old classes that are not in the "
            "new data are not rehearsed and will be forgotten in part. Add some of their rows to the new data, or set "
            "model.rehearsal=0 to go on without a word"
        )
        return None
    rehearsed = [
        Examples(
            {"input": e.columns["input"], "slot": [registry.taken[names[int(n)]] for n in e.columns["label"]]}
        )
        for e, names in parts
    ]
    return joined(rehearsed[0], *rehearsed[1:]) if rehearsed else None


def _of_earlier_runs(
    folder: Path, wanted: set[str], per_class: int, modality: str
) -> list[tuple[Examples, tuple[str, ...]]]:
    """Exemplars of the ``wanted`` classes, newest run first, each with what its labels stand for."""
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} is a model without the record of its training (config.json)")
    run = run_from_dict(read_json(folder / "config.json"))
    task = load_task(run.data, run.seed)
    if task.modality != modality:
        raise DataError(f"{task.name} holds {task.modality}s, the new data {modality}s")
    here = {number for number, name in enumerate(class_names(task)) if name in wanted}
    kept = of_classes(task.train, here)
    parts = [(exemplars(kept, per_class, run.seed), class_names(task))] if len(kept) else []
    earlier = getattr(run.model, "previous", "")
    left = wanted - set(class_names(task))
    if earlier and left:
        parts += _of_earlier_runs(Path(earlier), left, per_class, modality)
    return parts


def class_names(data: TaskData) -> tuple[str, ...]:
    """What the labels are called; their numbers, where the data does not say."""
    return data.class_names or tuple(map(str, range(data.num_classes or 0)))
