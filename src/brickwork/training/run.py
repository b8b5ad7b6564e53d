"""A run: one complete, frozen configuration, to and from plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core import registry
from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError
from brickwork.core.files import read_json
from brickwork.data.config import DataConfig, idle_options, watched
from brickwork.training.config import Stage, TrainConfig, stage_lengths

if TYPE_CHECKING:
    from brickwork.core.framing import Framing
    from brickwork.data.types import TaskData, TextFormat

LARGEST_SEED = 2**63 - 1
"""Beyond it torch's generators take none; below 0 NumPy's do not."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """``model``: the system's own configuration, of its type ``system.Config``. ``data``: of its ``system.Data``, where
    it reads more than every system does. ``stages``: trained one after the other; none: one stage of ``train.steps``.
    A system whose stages follow from its configuration names them itself (:func:`planned_stages`).
    ``start``: the folder of a finished run of the same system, which is trained on as ``model`` says; empty: from scratch.

    ``system``, a slug, is filled in from ``model``, and ``recipe`` by :func:`brickwork.api.train.recipe`.
    """

    system: str = ""
    recipe: str = ""
    seed: int = 0
    model: Any
    data: Any = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    stages: tuple[Stage, ...] = ()
    start: str = ""

    def validate(self) -> list[str]:
        errors = []
        held = registry.slug_of(type(self.model))
        if self.system != held:
            errors.append(
                f"system={self.system}, but model is that of {held}; take a recipe of {self.system}, or leave system out"
            )
        if not 0 <= self.seed <= LARGEST_SEED:
            errors.append(f"seed={self.seed}: it must be from 0 to {LARGEST_SEED}")
        try:
            stage_lengths(self.train, self.stages) if self.stages else None
        except ConfigError as error:
            errors.append(str(error))
        return errors

    def __post_init__(self) -> None:
        if not self.system:
            object.__setattr__(self, "system", registry.slug_of(type(self.model)))
        kind = data_type(self.system) if self.system in registry.slugs() else DataConfig
        if type(self.data) is not kind and issubclass(kind, type(self.data)):  # a recipe that says no more
            object.__setattr__(self, "data", kind(**vars(self.data)))


def planned_stages(run: Any) -> tuple[Stage, ...]:
    """The stages of a run: its own, or those that its system makes of its configuration (``plan_stages(config, steps)``).

    Raises:
        ConfigError: too few steps for them.
    """
    if run.stages or run.system not in registry.slugs():
        return tuple(run.stages)
    system = getattr(registry.load(run.system, "system"), "System", None)
    made = getattr(system, "plan_stages", None)
    return () if made is None else tuple(made(run.model, run.train.steps))


def run_to_dict(run: RunConfig) -> dict[str, Any]:
    """The run as plain JSON values."""
    return to_dict(run)


def run_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The run that :func:`run_to_dict` described.

    Raises:
        ConfigError: an unknown system, and every wrong field at once.
    """
    slug = values.get("system")
    if not isinstance(slug, str):
        raise ConfigError("option 'system' is required: the slug of a system, as in `brickwork list`")
    config = registry.load(slug, "system").Config
    return from_dict(RunConfig, values, types={"model": config, "data": data_type(slug)})


def data_type(slug: str) -> type[DataConfig]:
    """The data options of a system: its own ``Data``, or those that every source has."""
    return getattr(registry.load(slug, "system"), "Data", DataConfig)


def find_models(run: RunConfig) -> None:
    """Looks for the models that a run starts from before its data is read, which may take long.

    Raises:
        ConfigError, ArtifactError: one is not there.
    """
    from brickwork.encoders.build import find_backbone

    finished = [("start", run.start), ("model.previous", getattr(run.model, "previous", ""))]
    finished += [("model.runs", folder) for folder in getattr(run.model, "runs", ())]
    for option, folder in finished:
        if folder and not Path(folder).expanduser().is_dir():
            raise ConfigError(f"{option}={folder}: there is no such folder; name that of a finished run")
    for backbone, revision in _backbones(run.model):
        find_backbone(backbone, revision)


def framing_of(model: Any) -> "Framing | None":
    """How the pretrained model of images that a run starts from, replaces or joins, has its images scaled and cut; ``None``
    where there is none.

    Raises:
        ArtifactError: it is not there, or does not say how.
    """
    from brickwork.encoders.build_images import backbone_framing

    folder = next(iter(getattr(model, "runs", ())), getattr(model, "previous", ""))
    finished = Path(folder).expanduser() / "config.json"
    if folder and finished.is_file():
        return getattr(run_from_dict(read_json(finished)).data, "framing", None)
    framings = (backbone_framing(*one) for one in _backbones(model))
    return next((framing for framing in framings if framing is not None), None)


def backbone_places(model: Any) -> dict[str, str]:
    """Kind of pretrained model (``text``, ``image``, ``image-text``) -> the option of a system's configuration that names
    it, or would, as ``encoder.backbone``: at its top, or in one of its encoders. Those of a dual one have no place of their
    own."""
    held = {field.name: getattr(model, field.name) for field in fields(model)}
    if isinstance(held.get("backbone"), str):
        return dict.fromkeys(
            ("image-text",) if "image" in held else ("text", "image", "image-text"), "backbone"
        )
    places: dict[str, str] = {}
    for name, part in held.items():
        if hasattr(part, "backbone"):
            kind = "image" if "image" in part.kind else "text"
            places.setdefault(kind, f"{name}.backbone")
    return places


def _backbones(model: Any) -> Iterator[tuple[str, str | None]]:
    """The pretrained models that a system's configuration names, with the revision of each."""
    for part in (model, *(getattr(model, part.name) for part in fields(model))):
        if isinstance(backbone := getattr(part, "backbone", None), str):
            yield backbone, part.revision


def load_data(slug: str, config: DataConfig, seed: int) -> "TaskData":
    """The data of a run, read as the system reads it: by ``load_data`` of its module ``system``, where it has one.

    Options that were set and that the source has no use for are among the notes.

    Raises:
        DataError: the source does not exist or cannot be used; names file, row or column and what to do.
    """
    from brickwork.data.load import load_task

    if type(config) is DataConfig:  # a source that is read with nothing said about it
        config = data_type(slug)(**vars(config))
    copy, seen = watched(config)
    task: "TaskData" = getattr(registry.load(slug, "system"), "load_data", load_task)(copy, seed)
    return replace(task, notes=(*task.notes, *idle_options(config, seen)))


def texts_of(model: Any) -> "TextFormat | None":
    """The formal language that a trained system or representation reads its texts in; ``None`` for prose.

    It is ``TEXTS`` of the module ``system`` of whatever trained it, so that what is read for ``index``, ``encode`` and
    ``predict`` is read as it was for the training.
    """
    slug = getattr(model, "slug", None) or getattr(model, "lineage", {}).get("system")
    return getattr(registry.load(slug, "system"), "TEXTS", None) if slug in registry.slugs() else None
