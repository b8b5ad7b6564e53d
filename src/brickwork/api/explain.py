"""What the vectors of a model hold: how much of their variance each labelled property of a table explains, by layer.

import brickwork
page = brickwork.inspect("runs/docs", "items.csv")
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brickwork.core.errors import ArtifactError, ConfigError, DataError, naming_extras, warn

if TYPE_CHECKING:
    from brickwork.core.shares import LayerShares, Property
    from brickwork.data.config import ColumnNames
    from brickwork.data.described import Described

MAX_ROWS = 5000
"""Rows that are looked at where nothing else is asked for, drawn from all of the table."""
_LEAST_ROWS = 20
_CLEARLY_LESS = 0.01
"""Of the variance: what all properties may explain less than one of them alone before it is said."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What each layer's vectors hold of each property. ``left_out``: why other columns are no property. ``doubts``: what to
    know before these numbers are believed."""

    layers: "list[LayerShares]"
    properties: "list[Property]"
    left_out: str
    doubts: tuple[str, ...]
    used: int
    rows: int


@naming_extras("what vectors hold")
def explain(
    model: "Path | str | Any",
    data: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    properties: Sequence[str] = (),
    limit: int | None = None,
    allow_outside: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Explanation:
    """Shares of variance of the vectors of ``model``, before they are cut or scaled to length 1, after each of its layers.

    ``data``: a table of texts, images or rows with one column for each property; ``properties``: measure only these.
    ``limit``: rows, drawn from all (default 5,000).

    Raises:
        ArtifactError: a model without vectors to look at.
        DataError: no such table, no column of inputs or of a property, or fewer than twenty rows.
    """
    from brickwork.representation.load import load

    loaded = load(model) if isinstance(model, str | Path) else model
    reader = _reader(loaded, model)
    described = reader.read(
        data, columns=columns, limit=MAX_ROWS if limit is None else limit, allow_outside=allow_outside
    )
    return _explanation(reader, described, str(data), properties, seed, progress)


@naming_extras("what vectors hold")
def explain_own(folder: Path | str, *, limit: int | None = None, progress: bool = False) -> Explanation:
    """The same of a run, for the labels of its own held-out examples.

    Raises:
        ConfigError: its data has no labels; says what to give.
    """
    from brickwork.api.train import read_run
    from brickwork.data.described import Described
    from brickwork.data.splits import pick
    from brickwork.representation.load import load
    from brickwork.training.run import load_data

    model = load(folder)
    reader = _reader(model, folder)
    need = (
        f"{folder} has vectors: give a table of inputs with a column for each property that they may hold, for example: "
        f"brickwork inspect {folder} items.csv"
    )
    try:
        run = read_run(folder)
    except ArtifactError as error:
        raise ConfigError(need) from error
    task = load_data(run.system, run.data, run.seed)
    held = task.test.columns
    if not {"input", "label"} <= held.keys():
        raise ConfigError(f"{need} ({task.name}, which it was trained on, has no labels)")
    names = task.class_names or tuple(map(str, range(task.num_classes or 0)))
    labels = [names[int(label)] for label in held["label"]]
    rows = sorted(pick(len(labels), MAX_ROWS if limit is None else limit))
    described = Described(
        inputs=task.test.take(rows)["input"], columns={"label": labels}, chosen=rows, used=("input",)
    )
    return _explanation(reader, described, f"{task.name} (held-out examples)", (), 0, progress)


def _explanation(
    reader: "_Reader", described: "Described", where: str, wanted: Sequence[str], seed: int, progress: bool
) -> Explanation:
    from brickwork.evaluation.properties import properties_of

    known, left_out = properties_of(
        described.columns, where, wanted, rows=described.chosen, used=described.used
    )
    if len(described) < _LEAST_ROWS:
        raise DataError(
            f"{where} gives {len(described)} rows; shares of variance need at least {_LEAST_ROWS}"
        )
    reasons = "; ".join(f"'{name}' {reason}" for name, reason in left_out.items())
    read_as = [f"{where}: '{one.name}' is {one.note}" for one in known if one.note.startswith("read as")]
    doubts = [note for note in (described.note, *read_as) if note]
    for note in [*doubts, *([f"{where}: columns that are not measured: {reasons}"] if reasons else [])]:
        warn(note)
    layers = list(_explained(reader.vectors(described.inputs, progress), known, seed, progress))
    if thin := _too_few_rows(layers[-1], known, len(described)):
        warn(thin)
        doubts.append(thin)
    return Explanation(
        layers=layers,
        properties=known,
        left_out=reasons,
        doubts=tuple(doubts),
        used=len(described),
        rows=described.rows,
    )


def _too_few_rows(last: "LayerShares", known: "Sequence[Property]", rows: int) -> str:
    """What to do where all properties together explain less than one of them alone; nothing where they do not."""
    best = max(known, key=lambda one: last.shares.alone[one.name].value)
    share, together = last.shares.alone[best.name], last.shares.together.value
    alone = share.value
    if share.low is None or share.low <= 0 or together >= alone - _CLEARLY_LESS:
        return ""
    columns = sum(one.columns.shape[1] for one in known)
    return (
        f"at {last.layer} all properties together explain {100 * together:.1f} %, less than '{best.name}' alone "
        f"({100 * alone:.1f} %): {rows:,} rows are too few for {columns} columns of properties, so that what is 'added' is "
        "too small; give more rows, or measure fewer columns with --property"
    )


def can_explain(model: Any) -> bool:
    """Whether a model has vectors that can be looked at."""
    from brickwork.core.types import ShowsLayers

    return isinstance(model, ShowsLayers) or hasattr(_encoder(model), "embedding_dim")


def write_explanation(made: Explanation, path: Path, title: str) -> Path:
    """Writes the page; or the numbers alone, where ``path`` ends as a table does (.csv, .parquet, .jsonl)."""
    from brickwork.data.writers import write_table
    from brickwork.inspection.drawings import write_drawings
    from brickwork.inspection.explained import explained_drawings, share_rows

    if path.suffix.lower() != ".html":
        write_table(path, share_rows(made.layers))
        return path
    rows = f"{made.used:,} rows" if made.used == made.rows else f"{made.used:,} of {made.rows:,} rows"
    subtitle = f"What these vectors hold: the share of their variance that each property explains, on {rows}."
    if made.left_out:
        subtitle += f" Left out: {made.left_out}."
    subtitle += "".join(f" {doubt[0].upper()}{doubt[1:]}." for doubt in made.doubts)
    return write_drawings(path, title, subtitle, explained_drawings(made.layers, made.properties))


@dataclass(frozen=True)
class _Reader:
    """How a model reads a table, and the vectors of each of its layers."""

    read: "Callable[..., Described]"
    vectors: Callable[[Any, bool], "Mapping[str, np.ndarray]"]


def _encoder(model: Any) -> Any:
    return getattr(model, "encoder", None)


def _reader(model: Any, name: Any) -> _Reader:
    """Raises ArtifactError for a model without vectors to look at."""
    from functools import partial

    from brickwork.core import registry
    from brickwork.core.types import ShowsLayers
    from brickwork.data.described import read_described
    from brickwork.training.run import texts_of

    if isinstance(model, ShowsLayers):
        return _Reader(
            partial(read_described, kind=model.input_kind), lambda inputs, _: model.layer_vectors(inputs)
        )
    encoder = _encoder(model)
    if not hasattr(encoder, "embedding_dim"):
        able = ", ".join(registry.able("encodes"))
        raise ArtifactError(
            f"{name} has no vectors of its inputs to look at; models that have come from {able}, or are pretrained encoders"
        )
    if encoder.kind == "image-text":

        def both(source: Path | str, **options: Any) -> "Described":
            kind = _kind_of(source, options["columns"])
            form = _form(encoder.image)
            return read_described(source, kind, form=form, **options)

        return _Reader(both, lambda inputs, progress: _last_layer(model, inputs, progress))
    kind: Literal["texts", "images"] = "texts" if hasattr(encoder, "tokenize") else "images"
    form = None if kind == "texts" else _form(encoder)
    read = partial(read_described, kind=kind, form=form, texts=texts_of(model) if kind == "texts" else None)
    return _Reader(read, lambda inputs, progress: _exits(model, encoder, inputs, progress))


def _form(encoder: Any) -> Any:
    return getattr(encoder, "framing", None) or encoder.image_shape


def _kind_of(source: Path | str, columns: "ColumnNames | None") -> Literal["texts", "images"]:
    """What a model of both reads of a table: its images, if a column is called like one, else its texts."""
    from brickwork.data.config import ColumnNames
    from brickwork.data.readers.columns import match
    from brickwork.data.readers.files import column_names

    path = Path(source).expanduser()
    if path.is_dir():
        return "images"
    if not path.is_file():
        raise DataError(f"{source} does not exist; give a table of texts or images, or a folder of images")
    return "images" if "image" in match(column_names(path), columns or ColumnNames(), str(path)) else "texts"


def _exits(model: Any, encoder: Any, inputs: Any, progress: bool) -> "Mapping[str, np.ndarray]":
    """Layer → vectors (N, D), from one pass over the inputs."""
    from brickwork.representation.encode import encode_exits

    prompted = model.prompted(inputs) if hasattr(model, "prompted") else inputs
    depths = getattr(encoder, "depths", None) or _depths(encoder)
    made = encode_exits(encoder, prompted, depths, progress=progress)
    return {f"layer {depth}": vectors for depth, vectors in made.items()}


def _depths(encoder: Any) -> list[int]:
    """The exits of an encoder of images: from its first hidden states on where it has several."""
    last: int = encoder.num_layers
    return [last] if last == 1 else list(range(last + 1))


def _last_layer(model: Any, inputs: Any, progress: bool) -> "Mapping[str, np.ndarray]":
    return {"vectors": model.encode(inputs, normalize=False, progress=progress)}


def _explained(
    vectors: "Mapping[str, np.ndarray]", known: "Sequence[Property]", seed: int, progress: bool
) -> "Iterator[LayerShares]":
    from rich.progress import BarColumn, MofNCompleteColumn

    from brickwork.core.console import progress_bar
    from brickwork.evaluation.explained import explain_layer

    with progress_bar("measuring layers", BarColumn(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task("", total=len(vectors), visible=progress)
        for name, matrix in vectors.items():
            if not np.isfinite(matrix).all():
                raise DataError(f"the model gives vectors at {name} that are not finite numbers")
            yield explain_layer(name, matrix, known, seed=seed)
            bar.advance(task)


def check_page_path(path: Path) -> None:
    """Refuses a name whose ending says neither a page nor a table, before the work is done.

    Raises:
        ConfigError: names the endings.
    """
    if path.suffix.lower() not in (".html", ".csv", ".parquet", ".jsonl"):
        raise ConfigError(
            f"{path}: end the name with .html for a page, or .csv, .parquet or .jsonl for the numbers"
        )
