"""The Python interface behind the command line: each verb is one call here.

import brickwork
run = brickwork.override(brickwork.recipe("matryoshka-2d"), ["data.source=docs/", "train.steps=300"])
summary = brickwork.train(run, "runs/docs")
summary.representation.encode(["a query"], dim=48, layers=3)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core import registry
from brickwork.core.config import nearest
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames
    from brickwork.data.types import Document, TaskData
    from brickwork.evaluation.measure import Measurement
    from brickwork.index.index import Index
    from brickwork.index.sync import SyncReport
    from brickwork.representation.model import Representation
    from brickwork.training.devices import Strategy
    from brickwork.training.loop import FitResult
    from brickwork.training.progress import Progress
    from brickwork.training.run import RunConfig


@dataclass(frozen=True)
class TrainSummary:
    """What a training left.

    ``representation`` is ``None`` for a system that does not encode. ``system`` is the trained system, in evaluation
    mode; ``scores`` are its own numbers on held-out data, where it has a measure of its own.
    """

    folder: Path
    representation: "Representation | None"
    result: "FitResult"
    measurement: "Measurement | None"
    system: Any = None
    scores: dict[str, float] = field(default_factory=dict)


def recipe_names(slug: str) -> list[str]:
    """The recipes of a system, in the order of its file."""
    module = registry.load(slug, "recipes")
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    ]


def recipe(slug: str, name: str = "small") -> "RunConfig":
    """The named run of a system: a complete, frozen configuration.

    Raises:
        ConfigError: unknown system or recipe; names the nearest one.
    """
    names = recipe_names(slug)
    if name not in names:
        raise ConfigError(f"{slug} has no recipe '{name}': {nearest(name, names)}")
    return getattr(registry.load(slug, "recipes"), name)()


def build(run: "RunConfig", assets: Path | None = None) -> tuple[Any, "TaskData"]:
    """The system and the data of a run. ``assets``: a run folder whose tokenizer is used, for resuming."""
    from brickwork.core.seeding import seed_everything
    from brickwork.training.run import load_data

    data = load_data(run.system, run.data, run.seed)
    seed_everything(run.seed)
    return registry.load(run.system, "system").build(run.model, data, assets), data


def plan(run: "RunConfig") -> dict[str, Any]:
    """What the run would take (dry run): shapes, parameters, memory, time, from two real steps."""
    from brickwork.training.forecast import forecast

    system, data = build(run)
    return {"data": describe(data), **forecast(system, data.train, run.train, seed=run.seed)}


def describe(data: "TaskData") -> dict[str, Any]:
    """Kind and sizes of a task, and the notes of whoever read it."""
    return {
        "name": data.name,
        "kind": data.kind,
        "modality": data.modality,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
        "retrieval": {
            name: {"queries": len(task.queries), "documents": len(task.documents)}
            for name, task in data.retrieval.items()
        },
        "notes": list(data.notes),
    }


def told(data: "TaskData") -> list[str]:
    """What was read, for a person: how much of what kind, then the notes of whoever read it."""
    from brickwork.reporting import in_words

    parts = (
        f"{len(data.train):,} to train on, {len(data.validation):,} to validate, {len(data.test):,} held out"
    )
    return [f"{data.name}: {in_words(data)}, {parts}", *(f"  {note}" for note in data.notes)]


def train(
    run: "RunConfig",
    out: Path | str,
    *,
    resume: bool = False,
    devices: int = 1,
    strategy: "Strategy" = "ddp",
    progress: "Progress | None" = None,
    tensorboard: bool = False,
    measure: bool = True,
    prepared: tuple[Any, "TaskData"] | None = None,
) -> TrainSummary:
    """Trains, measures on held-out data, and leaves a complete run folder.

    ``prepared`` is what :func:`build` gave for this run, when the caller has it already. ``measure=False``
    leaves out the measurement and the report. ``devices`` and ``strategy``: how many processes, and whether each
    has the whole model (``ddp``) or they share it (``fsdp``).

    Raises:
        ConfigError, DataError: the run does not fit its data.
        ResourceError: the folder cannot be written, or another process trains there.
        NonFiniteError: a loss or gradient was not finite.
        Interrupted: stopped by a signal, after saving.
    """
    from brickwork.core import distributed
    from brickwork.evaluation.online import make_validator, system_validator
    from brickwork.training.loop import fit
    from brickwork.training.run import run_to_dict

    folder = Path(out)
    system, data = prepared or build(run, folder if resume else None)
    validate = (system_validator if hasattr(system, "evaluate") else make_validator)(data, run.seed)

    def start() -> None:
        """Says what was read and writes what a resume needs, once the folder is ours."""
        if progress is not None and prepared is None:  # who prepared it has told it
            for line in told(data):
                progress.message(line)
        write_json(folder / "config.json", run_to_dict(run))
        tokenizer = getattr(getattr(system, "encoder", system), "tokenizer", None)
        if tokenizer is not None:
            write_text(folder / "tokenizer.json", tokenizer.to_str())

    result = fit(
        system,
        data.train,
        run.train,
        folder,
        seed=run.seed,
        validate=validate,
        progress=progress,
        resume=resume,
        devices=devices,
        strategy=strategy,
        tensorboard=tensorboard,
        on_start=start,
    )
    system.eval()
    if distributed.rank() != 0:
        return TrainSummary(folder, None, result, None, system)
    finish = (
        _finish
        if hasattr(system, "representation") and not hasattr(system, "architecture")
        else _finish_system
    )
    return finish(run, folder, system, data, result, measure=measure, progress=progress)


def _finish(
    run: "RunConfig",
    folder: Path,
    system: Any,
    data: "TaskData",
    result: "FitResult",
    *,
    measure: bool,
    progress: "Progress | None",
) -> TrainSummary:
    from brickwork.evaluation.measure import measure as measure_all
    from brickwork.reporting import card, run_report

    representation: Representation = system.representation()
    measurement = None
    if measure:
        if progress is not None:
            progress.message("measuring on held-out data …")
        measurement = measure_all(representation, data)
        write_json(folder / "evaluation.json", measurement.summary())
    representation.card = card(run, data, result, measurement)
    representation.save(folder)
    run_report(folder, run, data, measurement)
    return TrainSummary(folder, representation, result, measurement, system)


def _finish_system(
    run: "RunConfig",
    folder: Path,
    system: Any,
    data: "TaskData",
    result: "FitResult",
    *,
    measure: bool,
    progress: "Progress | None",
) -> TrainSummary:
    """Keeps a system whole, with its own numbers on held-out data."""
    from brickwork.reporting import card, run_report
    from brickwork.representation.kept import save_system

    scores: dict[str, float] = {}
    if measure and hasattr(system, "evaluate") and len(data.test):
        if progress is not None:
            progress.message("measuring on held-out data …")
        scores = dict(system.evaluate(data.test))
        write_json(folder / "evaluation.json", {"scores": scores})
    system.card = {**card(run, data, result, None), "scores": scores}
    save_system(system, folder)
    run_report(folder, run, data, None, scores)
    representation = system.representation() if hasattr(system, "representation") else None
    return TrainSummary(folder, representation, result, None, system, scores)


def resume(
    folder: Path | str,
    *,
    devices: int = 1,
    strategy: "Strategy" = "ddp",
    progress: "Progress | None" = None,
    tensorboard: bool = False,
) -> TrainSummary:
    """Goes on with the run in ``folder`` from its newest good checkpoint, to the same bits.

    Raises:
        ArtifactError: the folder holds no run, or its configuration or checkpoints are damaged.
    """
    from brickwork.training.run import run_from_dict

    run = run_from_dict(run_values(Path(folder)))
    return train(
        run,
        folder,
        resume=True,
        devices=devices,
        strategy=strategy,
        progress=progress,
        tensorboard=tensorboard,
    )


def run_values(folder: Path) -> dict[str, Any]:
    """The configuration in a run folder, as plain values.

    Raises:
        ArtifactError: the folder holds no run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError(
            f"{folder} holds no run (config.json is missing); start one with: brickwork train"
        )
    return read_json(path)


def evaluate(
    model: "Path | str | Representation",
    data: Path | str,
    *,
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    seed: int = 0,
    baselines: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Quality and cost at every size on the held-out part of ``data``, as plain JSON values; the own numbers of a
    system that was kept whole.

    ``data`` is a path or a known set, split as in training (same ``seed``: same test part).
    """
    import statistics

    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task
    from brickwork.evaluation.measure import baseline_scores
    from brickwork.evaluation.measure import measure as measure_all
    from brickwork.representation.kept import load
    from brickwork.training.run import load_data

    config = DataConfig(source=str(data), limit=limit)
    if columns is not None:
        config = replace(config, columns=columns)
    found: Any = load(model) if isinstance(model, str | Path) else model
    slug = getattr(found, "slug", None) or found.lineage.get("system")
    task = load_data(slug, config, seed) if slug in registry.slugs() else load_task(config, seed)
    if hasattr(found, "evaluate"):
        return {"data": describe(task), "retrieval": [], "scores": dict(found.evaluate(task.test))}
    representation = _representation(found)
    summary = measure_all(representation, task, dims, layers, progress=progress).summary()
    if baselines:
        for entry in summary["retrieval"]:
            scores = baseline_scores(task.retrieval[entry["name"]])
            entry["baselines"] = {
                name: {metric: statistics.fmean(values) for metric, values in metrics.items()}
                for name, metrics in scores.items()
            }
    return {"data": describe(task), **summary}


def encode_file(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    *,
    dim: int | None = None,
    layers: int | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Encodes documents into Parquet shards; goes on where an interrupted call stopped.

    ``ray`` (``local``, ``auto`` or ``HOST:PORT``) has Parquet and JSONL files encoded by several ``workers``, with
    ``gpus`` each: :func:`brickwork.representation.encode_ray.encode_with_ray`.
    """
    if ray is not None:
        return _encode_with_ray(
            model, data, out, limit, columns=columns, dim=dim, layers=layers, address=ray, workers=workers,
            gpus=gpus, progress=progress,
        )  # fmt: skip
    if workers is not None or gpus:
        raise ConfigError("workers and gpus are of --ray; give it, or leave them out")
    from brickwork.data.load import read_documents
    from brickwork.representation.export_parquet import encode_to_disk

    documents = read_documents(data, columns=columns, limit=limit)
    return encode_to_disk(
        _representation(model), documents, Path(out), dim=dim, layers=layers, progress=progress
    )


def _encode_with_ray(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    limit: int | None,
    **options: Any,
) -> dict[str, Any]:
    from brickwork.representation.encode_ray import encode_with_ray

    if not isinstance(model, str | Path):
        raise ConfigError("with Ray each worker loads the model: give its folder; save it first")
    if limit is not None:
        raise ConfigError(
            "--limit cannot be had with --ray, whose workers read all files at once; leave it out"
        )
    return encode_with_ray(model, data, out, **options)


def build_index(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    *,
    layers: Sequence[int] | None = None,
    kind: str = "auto",
    store: str | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    progress: bool = False,
) -> "Index":
    """An index of the documents in ``data``, searchable at each of ``layers`` (default: the full depth).

    ``kind`` is how searches begin (``auto`` chooses); ``store`` where documents and vectors are kept instead
    of the folder ``out``.
    """
    from brickwork.index.build import build_index as build_documents

    representation = _representation(model)
    documents = _documents(representation, data, columns, limit)
    return build_documents(
        representation, documents, Path(out), layers=layers, kind=kind, store=store, progress=progress
    )


def _documents(
    representation: "Representation", data: Path | str, columns: "ColumnNames | None", limit: int | None
) -> "Iterator[Document]":
    """The documents in ``data``, as the model reads them: texts, or pictures where it encodes those."""
    from brickwork.data.captions import read_picture_documents
    from brickwork.data.load import read_documents
    from brickwork.index.encoding import image_shape

    shape = image_shape(representation)
    if shape is not None:
        return read_picture_documents(data, shape, columns, limit)
    return read_documents(data, columns=columns, limit=limit)


def update_index(
    model: "Path | str | Representation",
    data: Path | str,
    folder: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    progress: bool = False,
) -> tuple["Index", "SyncReport"]:
    """Brings the index in ``folder`` up to date with ``data``: only texts that are new to it are encoded.

    A ``model`` that was trained to replace the one in the index takes over first (see :func:`replace_model`).

    Raises:
        ArtifactError: no index there, a damaged one, or one of another model.
    """
    from brickwork.index.index import open_index

    representation = _representation(model)
    index = open_index(folder, representation)
    documents = _documents(representation, data, columns, limit)
    return index, index.sync(documents, progress=progress)


def replace_model(model: "Path | str | Representation", folder: Path | str) -> tuple["Index", bool]:
    """Has the index in ``folder`` searched with a compatible successor of its model from now on; no vector changes.

    Returns the index, and whether there was anything to do. Services that serve it take the new model up.

    Raises:
        ArtifactError: no index there, a damaged one, or the model was not trained to replace the one that is there.
    """
    from brickwork.index.index import open_index

    index = open_index(folder, _representation(model))
    return index, index.replace_model()


def compatibility(
    models: "Sequence[Path | str | Representation]",
    data: Path | str,
    *,
    search: str = "identification",
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether newer models can search what older ones have indexed: the compatibility matrix of ``models``, oldest first.

    Any encoders whose vectors have one length can be compared, on the held-out part of ``data`` (pairs, or inputs
    with labels; split as in training). ``search``, with labels: ``identification`` or ``nearest neighbour``.

    Raises:
        ConfigError: fewer than two models, vectors of other lengths, or an unknown ``search``.
        DataError: the data has neither queries nor labels.
    """
    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task
    from brickwork.evaluation.compatibility import SEARCHES, measure_compatibility

    if search not in SEARCHES:
        raise ConfigError(f"search={search!r} is unknown; choose one of {', '.join(SEARCHES)}")
    config = DataConfig(source=str(data), limit=limit)
    task = load_task(config if columns is None else replace(config, columns=columns), seed)
    loaded = [_representation(model) for model in models]
    names = [str(m) if isinstance(m, str | Path) else r.fingerprint for m, r in zip(models, loaded)]
    found = measure_compatibility(loaded, task, names=names, search=SEARCHES[SEARCHES.index(search)])
    return {"data": describe(task), "matrices": [matrix.summary() for matrix in found]}


def read_as(data: Path | str, columns: "ColumnNames | None" = None) -> str:
    """Which columns of a table of documents are taken for what, in words; nothing for what is no table."""
    from brickwork.data.columns import describe, document_columns
    from brickwork.data.config import ColumnNames
    from brickwork.data.readers import TABLES, column_names

    path = Path(data).expanduser()
    if not path.is_file() or not any(suffix.lower() in TABLES for suffix in path.suffixes[-2:]):
        return ""
    return describe("documents", document_columns(column_names(path), columns or ColumnNames(), str(path)))


def _representation(model: "Path | str | Representation") -> "Representation":
    from brickwork.representation.model import load

    return load(model) if isinstance(model, str | Path) else model
