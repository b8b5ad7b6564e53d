"""What ``sie`` reads: views of objects with known changes: the user's own table, made from images, or rendered.

A row of examples is one view; with it goes where its object's other views are, of which training draws one.
Shape legend: N views, M columns of values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from brickwork.core.config import above, at_least, idle, nearest
from brickwork.core.errors import ConfigError, DataError
from brickwork.data import splits
from brickwork.data.augment import Augmentation, augmented, draw
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.readers.files import TABLES
from brickwork.data.sets.images import PARTS as IMAGE_SETS
from brickwork.data.sets.images import image_task, own_images
from brickwork.data.types import Examples, TaskData
from brickwork.systems.sie.changes import Change, columns_of
from brickwork.systems.sie.objects import KINDS
from brickwork.systems.sie.renderer import VALUES, draw_values, make_thing, render
from brickwork.systems.sie.tables import is_table, read_views

KIND = "views"
SOURCE = "mini-3die"
_OBJECTS, _VIEWS, _SIDE = 50, 20, 48
_MOST_BYTES = 2**31
RENDERED = {
    "rotation": Change(name="rotation", columns=("rx", "ry", "rz"), kind="rotation"),
    "floor_hue": Change(name="floor_hue", columns=("floor_hue",), kind="circle", size=1.0),
    "light_hue": Change(name="light_hue", columns=("light_hue",), kind="circle", size=1.0),
}
"""What differs between rendered views, and can be told to the model."""
_MADE = {
    "rotate": "angle",
    "hue": "hue",
    "brightness": "brightness",
    "contrast": "contrast",
    "saturation": "saturation",
}


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Of the user's table. ``object``: the column that says which object a row shows (none: as it is usually called).
    ``circular``: columns of angles or hues, on whose circle the largest value meets the smallest (none: by their names).
    ``turn``: what a whole turn is in these columns, as 360, 6.2832 or 24 (none: guessed by the values: 1, 2π or 360).
    ``rotation``: three columns that are Euler angles in degrees about fixed x, y and z (none: there are none)."""

    object: str | None = None
    circular: tuple[str, ...] | None = None
    turn: Annotated[float, above(0)] | None = None
    rotation: tuple[str, ...] | None = None

    def validate(self) -> list[str]:
        """Every problem with the values."""
        if self.rotation is not None and len(set(self.rotation)) != 3:
            return [
                f"rotation names {len(set(self.rotation))} different columns; give three: angles about x, y, z"
            ]
        return []


@dataclass(frozen=True, kw_only=True)
class Data(ImageDataConfig):
    """The data of a run: ``source`` is a table of views, images to make views of (a folder, an array, a known set), or
    ``mini-3die``, which is rendered."""

    source: str = SOURCE
    changes: tuple[str, ...] = ()
    """Which changes the model is told (none: all; of ``mini-3die`` the rotation)."""
    table: TableOptions = field(default_factory=TableOptions)
    """Which columns of the table are what."""
    objects: Annotated[int, at_least(2)] | None = None
    """Of ``mini-3die``: objects of each of its ten kinds (none: 50)."""
    views: Annotated[int, at_least(2)] | None = None
    """Views that are made of each object or image (none: 20)."""
    augmentation: Augmentation | None = None
    """How views are made of images (none: turned by up to 90 degrees either way)."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        problems = super().validate()
        if self.source != SOURCE:
            problems += idle(self, ("objects",), f"source '{self.source}'")
        return problems


class ObjectViews:
    """All views of one object: images (V, H, W, C) and values (V, M)."""

    def __init__(self, images: np.ndarray, values: np.ndarray):
        self.images, self.values = images, values

    def __len__(self) -> int:
        return len(self.images)


class Member:
    """A view as one of its object's. Written out it is short: the images count once, in their own column."""

    def __init__(self, of: ObjectViews, place: int):
        self.of, self.place = of, place

    def __repr__(self) -> str:
        return f"view {self.place} of {len(self.of)}"


@dataclass(frozen=True)
class Known:
    """What is known of the views: the names of their values, and the changes that the model is told."""

    columns: tuple[str, ...]
    changes: tuple[Change, ...]


def load_data(config: Data, seed: int, learnt: Known | None = None) -> TaskData:
    """Views of objects, split by object. ``learnt``: what a model was told of: other views are read in its columns and
    units, and nothing is guessed.

    Raises:
        DataError: the source does not exist or cannot be used; names file, row, column and what to do. A change that was
            learnt is not told of.
        ConfigError: changes that are none of the source's; more views than memory holds.
    """
    task = _loaded(config, seed, learnt)
    return task if learnt is None else _as_learnt(task, learnt)


def _loaded(config: Data, seed: int, learnt: Known | None) -> TaskData:
    if config.source == SOURCE:
        return _rendered(config, seed)
    path = Path(config.source).expanduser()
    if config.source not in IMAGE_SETS and path.is_file() and is_table(path):
        return _from_table(path, config, seed, () if learnt is None else learnt.changes)
    if config.source in IMAGE_SETS:
        task = image_task(config, seed)
    elif path.is_dir() or path.suffix.lower() in (".npy", ".npz"):
        task = load_task(config, seed) if _has_classes(path) else own_images(path, config, seed)
    else:
        raise DataError(
            f"{path} is no table of views ({', '.join(TABLES)}), folder or array (.npy, .npz) of images"
            + ("" if path.exists() else ", and does not exist")
            + f"; sets of images: {', '.join(IMAGE_SETS)}; rendered objects: {SOURCE}"
        )
    return _made(task, config, seed)


def _as_learnt(task: TaskData, learnt: Known) -> TaskData:
    """The same views with their values in the places in which a model looks for them; zeros where it looks for none."""
    own = task.details.columns
    if missing := [name for name in columns_of(learnt.changes) if name not in own]:
        raise DataError(
            f"{task.name} does not tell of '{missing[0]}', which the model has learnt; it tells of {', '.join(own)}"
        )

    def placed(values: np.ndarray) -> np.ndarray:
        columns = [
            values[:, own.index(name)] if name in own else np.zeros(len(values)) for name in learnt.columns
        ]
        return np.stack(columns, axis=1)

    for part in (task.train, task.validation, task.test):
        part.columns["values"] = placed(np.asarray(part.columns["values"]))
        for views in {id(member.of): member.of for member in part.columns["member"]}.values():
            views.values = placed(views.values)
    return replace(task, details=learnt)


def _has_classes(path: Path) -> bool:
    return path.is_dir() and any(
        child.is_dir() and not child.name.startswith(".") for child in path.iterdir()
    )


def _rendered(config: Data, seed: int) -> TaskData:
    side, views = config.image_size or _SIDE, config.views or _VIEWS
    per_kind = config.objects or _OBJECTS
    _check_size(len(KINDS) * per_kind * views, (side, side, 3))
    rng = np.random.default_rng([seed, 3])
    things = [make_thing(kind, rng) for kind in KINDS for _ in range(per_kind)]
    values = draw_values(len(things) * views, rng)
    images = render([thing for thing in things for _ in range(views)], values, side)
    labels = np.repeat(np.arange(len(KINDS)), per_kind * views)
    chosen = tuple(RENDERED[name] for name in config.changes or ("rotation",) if _known(name, RENDERED))
    everything = examples(images, values, np.repeat(np.arange(len(things)), views), labels)
    note = f"{per_kind} objects of {len(KINDS)} kinds, {views} views each, {side} × {side}"
    return _split(SOURCE, everything, config, seed, Known(VALUES, chosen), tuple(KINDS), (note,))


def _from_table(path: Path, config: Data, seed: int, learnt: Sequence[Change]) -> TaskData:
    form = config.framing or config.image_size
    read = read_views(
        path,
        form,
        config.columns,
        object_column=config.table.object,
        circular=config.table.circular,
        turn=config.table.turn,
        rotation=config.table.rotation,
        limit=config.limit,
        allow_outside=config.allow_outside,
        learnt=learnt,
    )
    by_name = {change.name: change for change in read.changes}
    chosen = tuple(by_name[name] for name in config.changes or by_name if _known(name, by_name))
    everything = examples(read.images, read.values, read.objects, read.labels)
    height, width = read.images.shape[1:3]
    told = ", ".join(change.describe() for change in chosen)
    notes = (f"images as {width} × {height} RGB", f"changes: {told}", *read.notes)
    return _split(path.name, everything, config, seed, Known(read.columns, chosen), read.class_names, notes)


def _made(task: TaskData, config: Data, seed: int) -> TaskData:
    """Views of images, by an augmentation that is known for each."""
    augmentation = config.augmentation or Augmentation(rotate=90.0)
    views = config.views or _VIEWS
    told = {
        name: Change(
            name=name,
            columns=(name,),
            kind="circle" if name in ("angle", "hue") else "line",
            size=360.0 if name in ("angle", "hue") else 2 * getattr(augmentation, option),
        )
        for option, name in _MADE.items()
        if getattr(augmentation, option)
    }
    if not told:
        raise ConfigError(
            f"data.augmentation changes nothing that can be told: set one of {', '.join(_MADE)}"
        )
    chosen = tuple(told[name] for name in config.changes or told if _known(name, told))
    parts = []
    for part, old in (("train", task.train), ("validation", task.validation), ("test", task.test)):
        images = np.asarray(old.columns["input"])
        _check_size(len(images) * views, images.shape[1:])
        parts.append(
            _views_of(images, old.columns.get("label"), augmentation, views, list(told), (seed, part))
        )
    what = ", ".join(change.describe() for change in chosen)
    return TaskData(
        name=task.name,
        kind=KIND,
        modality="image",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        num_classes=task.num_classes,
        class_names=task.class_names,
        notes=(*task.notes, f"{views} views of each image, changes: {what}"),
        details=Known(tuple(told), chosen),
    )


def _views_of(
    images: np.ndarray,
    labels: Any,
    augmentation: Augmentation,
    views: int,
    names: list[str],
    key: tuple[int, str],
) -> Examples:
    pixels = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    made, values = [], []
    number = splits.stable_hash(*key)
    for view in range(views if len(images) else 0):
        parameters = draw(augmentation, seed=number, step=0, rows=range(len(images)), view=view)
        drawn = augmented(pixels, parameters).permute(0, 2, 3, 1).numpy()
        made.append(np.round(drawn * 255).astype(np.uint8))
        values.append(np.stack([parameters[name].numpy() for name in names], axis=1))
    stacked = np.concatenate(made) if made else images
    all_values = np.concatenate(values) if values else np.zeros((0, len(names)))
    owners = np.tile(np.arange(len(images)), views if len(images) else 0)
    all_labels = None if labels is None else np.tile(np.asarray(labels), views if len(images) else 0)
    return examples(stacked, all_values, owners.astype(np.int64), all_labels)


def examples(
    images: UInt8[np.ndarray, "n height width channels"],
    values: Float[np.ndarray, "n m"],
    owners: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"] | None,
) -> Examples:
    """Columns ``input``, ``values``, ``object``, ``member`` and, with classes, ``label``; first the first view of
    each object, then the second ones, and so on."""
    order = np.argsort(owners, kind="stable")
    images, values, owners = images[order], values[order], owners[order]
    starts = np.flatnonzero(np.diff(owners, prepend=-1)) if len(owners) else np.zeros(0, dtype=np.int64)
    members: list[Member] = []
    for start, stop in zip(starts, [*starts[1:], len(owners)]):
        whole = ObjectViews(images[start:stop], values[start:stop])
        members += [Member(whole, place) for place in range(stop - start)]
    # First views first: a few rows in a row are of different objects.
    by_place = np.argsort([member.place for member in members], kind="stable")
    images, values, owners, order = (column[by_place] for column in (images, values, owners, order))
    members = [members[row] for row in by_place]
    columns = {"input": images, "values": values, "object": owners, "member": members}
    return Examples(columns if labels is None else {**columns, "label": labels[order]})


def _split(
    name: str,
    everything: Examples,
    config: Data,
    seed: int,
    known: Known,
    class_names: tuple[str, ...],
    notes: tuple[str, ...],
) -> TaskData:
    parts = splits.split(
        [str(owner) for owner in everything.columns["object"]],
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(everything, parts)
    return TaskData(
        name=name,
        kind=KIND,
        modality="image",
        train=train,
        validation=validation,
        test=test,
        num_classes=len(class_names) or None,
        class_names=class_names,
        notes=notes,
        details=known,
    )


def _known(name: str, changes: Mapping[str, Change]) -> bool:
    if name not in changes:
        raise ConfigError(f"data.changes: there is no change '{name}' in this data: {nearest(name, changes)}")
    return True


def _check_size(count: int, shape: tuple[int, ...]) -> None:
    size = count * int(np.prod(shape))
    if size > _MOST_BYTES:
        raise ConfigError(
            f"{count:,} views of {' × '.join(map(str, shape))} are {size / 2**30:.1f} GiB; set data.limit, or data.views"
        )
