"""The Python interface behind the command line: trainings, each command one call.

The commands of what was trained: :mod:`brickwork.api.evaluate`, :mod:`brickwork.api.index` and :mod:`brickwork.api.predict`.

import brickwork
run = brickwork.override(brickwork.recipe("matryoshka-2d"), ["data.source=docs/", "train.steps=300"])
summary = brickwork.train(run, "runs/docs")
summary.representation.encode(["a query"], dim=48, layers=3)
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.negatives import NEGATIVES, with_hard_negatives
from brickwork.api.read_data import check_parts, data_lines, describe, warnings_told
from brickwork.api.scores import hybrid_words, write_scores
from brickwork.api.untouched import untouched
from brickwork.core import registry
from brickwork.core.config import differences, nearest, to_dict
from brickwork.core.errors import ArtifactError, ConfigError, DataError, naming_extras, need_extra, warn
from brickwork.core.files import plain, read_json, write_json, write_text
from brickwork.core.folders import known_folder

if TYPE_CHECKING:
    from brickwork.data.types import TaskData
    from brickwork.evaluation.measure import Measurement
    from brickwork.representation.model import Representation
    from brickwork.training.devices import Strategy
    from brickwork.training.loop import FitResult
    from brickwork.training.progress import Progress
    from brickwork.training.run import RunConfig


CONTENT = "data.json"
"""What the data of a run was, in a few digits a column."""


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """What a notebook shows: where it is, and what came out. The scores of every query are in ``measurement``."""
        lines = [f"TrainSummary of {self.folder}: {self.result.step:,} steps in {self.result.seconds:.0f} s"]
        if self.measurement is not None:
            lines += [one.sentence for one in (*self.measurement.against, *self.measurement.against_cut)]
        lines += [f"held out: {name} {value:.4g}" for name, value in self.scores.items()]
        return "\n  ".join(lines)


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
    """The named run of a system: a complete, frozen configuration. A name may be written with hyphens.

    Raises:
        ConfigError: unknown system or recipe; names the nearest one.
    """
    names, name = recipe_names(slug), name.replace("-", "_")
    if name not in names:
        raise ConfigError(f"{slug} has no recipe '{name}': {nearest(name, names)}")
    return replace(getattr(registry.load(slug, "recipes"), name)(), recipe=name)


@naming_extras("training")
def build(run: "RunConfig", assets: Path | None = None) -> tuple[Any, "TaskData"]:
    """The system and the data of a run. ``assets``: a run folder whose tokenizer and negatives are used, for resuming."""
    from brickwork.representation.contract import build_system
    from brickwork.representation.load import continue_system
    from brickwork.training.run import find_models, load_data

    run = with_sizes(run)
    find_models(run)
    data = load_data(run.system, run.data, run.seed)
    if assets is None:
        check_parts(data, run.data)
    if run.start:
        system = continue_system(run.system, run.model, data, run.seed, run.start)
    else:
        system = build_system(run.system, run.model, data, run.seed, assets)
    return system, with_hard_negatives(run, system, data, assets)


def with_sizes(run: "RunConfig") -> "RunConfig":
    """The run with data of the sizes that its model reads, where nothing else is asked for: passages of documents as long as
    it takes them, images as a pretrained model has them scaled and cut.

    Raises:
        ArtifactError: a pretrained model that is not there, or does not say how it wants its images.
    """
    from brickwork.training.run import framing_of

    run = _with_passages(run)
    data = run.data
    if not hasattr(data, "framing") or data.framing is not None or data.image_size is not None:
        return run
    return replace(run, data=replace(data, framing=framing_of(run.model)))


def _with_passages(run: "RunConfig") -> "RunConfig":
    parts = (run.model, getattr(run.model, "encoder", None))
    limit = next((tokens for part in parts if (tokens := getattr(part, "max_tokens", None))), None)
    if limit is None or run.data.max_passage_tokens is not None:
        return run
    return replace(run, data=replace(run.data, max_passage_tokens=max(10, limit)))


@naming_extras("training")
def plan(run: "RunConfig") -> dict[str, Any]:
    """What the run would take (dry run): shapes, parameters, memory, time, from two real steps."""
    from brickwork.core.types import Fits, Foretells
    from brickwork.training.forecast import forecast
    from brickwork.training.rounds import refuse_options
    from brickwork.training.run import planned_stages

    system, data = build(run)
    stages = planned_stages(run)
    if isinstance(system, Fits):
        refuse_options(run.train, stages)
        takes = {"takes": system.foretell(data.train)} if isinstance(system, Foretells) else {}
        return {"data": describe(data), "learns": "in rounds of its own", **takes}
    return {
        "data": describe(data),
        **forecast(system, data.train, run.train, seed=run.seed, stages=stages, variants=data.variants),
    }


@naming_extras("training")
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
        MissingExtraError: a package of the extra ``train`` is not installed; said before the data is read.
        ConfigError, DataError: the run does not fit its data, or the run or the data that is to be resumed.
        ResourceError: the folder cannot be written, or another process trains there.
        NonFiniteError: a loss or gradient was not finite.
        Interrupted: stopped by a signal, after saving.
    """
    from brickwork.core import distributed
    from brickwork.core.types import Evaluates, Finishes, Fits, Foretells
    from brickwork.data.fingerprints import fingerprint, refuse_other_data
    from brickwork.evaluation.online import make_validator, system_validator
    from brickwork.representation.adapting import finish_adapting
    from brickwork.training.loop import fit
    from brickwork.training.rounds import fit_rounds, refuse_options
    from brickwork.training.run import planned_stages, run_to_dict
    from brickwork.training.run_folder import check_free

    need_extra("train", "training")
    folder, run = Path(out), with_sizes(run)
    stages = planned_stages(run)
    check_free(folder, resume)
    if resume:
        _check_same(folder, run)
    with warnings_told() as told:
        system, data = prepared or build(run, folder if resume else None)
    content = fingerprint(data)
    if resume:
        record = folder / CONTENT
        refuse_other_data(str(record), read_json(record) if record.is_file() else None, content)
    validate = (system_validator if isinstance(system, Evaluates) else make_validator)(data, run.seed)

    def start() -> None:
        """Says what was read and writes what a resume needs, once nothing is refused any more."""
        if progress is not None and prepared is None:  # whoever prepared it has printed them
            for line in data_lines(data, told):
                progress.message(line)
        write_json(folder / "config.json", run_to_dict(run))
        write_json(folder / CONTENT, content)
        if data.mined is not None:
            write_json(folder / NEGATIVES, data.mined)
        if progress is not None and isinstance(system, Foretells):
            progress.message(system.foretell(data.train))
        tokenizer = getattr(getattr(system, "encoder", system), "tokenizer", None)
        if tokenizer is not None:
            write_text(folder / "tokenizer.json", tokenizer.to_str())

    learn: Callable[..., "FitResult"]
    if isinstance(system, Fits):
        refuse_options(run.train, stages, devices, strategy)
        learn = fit_rounds
    else:
        learn = partial(fit, stages=stages, variants=data.variants, devices=devices, strategy=strategy)
    result = learn(
        system,
        data.train,
        run.train,
        folder,
        seed=run.seed,
        validate=validate,
        progress=progress,
        resume=resume,
        tensorboard=tensorboard,
        on_start=start,
    )
    system.eval()
    if distributed.rank() != 0:
        return TrainSummary(folder, None, result, None, system)
    finish_adapting(system)
    if isinstance(system, Finishes):
        for line in system.finish(data.train):
            if progress is not None:
                progress.message(line)
    return _finish(run, folder, system, data, result, measure=measure, progress=progress)


def _check_same(folder: Path, run: "RunConfig") -> None:
    """Refuses to resume a run with another model, other data or another start; the loop compares the rest.

    Raises:
        ConfigError: names each field that differs.
    """
    if not (folder / "config.json").is_file():
        return
    then, now = to_dict(read_run(folder)), to_dict(run)
    fields = ("system", "model", "data", "start")
    changes = differences({name: then[name] for name in fields}, {name: now[name] for name in fields})
    if (folder / CONTENT).is_file():
        changes.pop(
            "data.source", None
        )  # data may lie elsewhere: what is in it is compared once it has been read
    if changes:
        raise ConfigError(
            f"{folder / 'config.json'} is of another run: {', '.join(changes.values())}. Use the same, or train in "
            "another folder"
        )


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
    """Keeps a trained system whole, and measures it, by its own measure or by its vectors."""
    from brickwork.api.report import card, run_report
    from brickwork.core.types import Draws, Encodes, Evaluates
    from brickwork.evaluation.measure import measure as measure_all
    from brickwork.representation.kept import save_system

    # A system of one slug may be of several kinds, which are not all what its card says.
    about = getattr(system, "about", {})
    system.card = {**card(run, data, result, None), **about}
    save_system(system, folder)  # before it is measured: a process that is killed meanwhile leaves it whole
    if measure and progress is not None:
        progress.message("measuring on held-out data …")
    scores: dict[str, float] | None = None
    measurement: Measurement | None = None
    if measure and isinstance(system, Evaluates):
        scores = {n: float(v) for n, v in system.evaluate(data.test).items()} if len(data.test) else {}
        write_json(folder / "evaluation.json", {"scores": plain(scores)})
    elif measure and isinstance(system, Encodes):
        representation = system.representation()
        start = untouched(run, representation.axes) if data.retrieval else None
        measurement = measure_all(
            representation, data, untouched=start, baselines=True, words=hybrid_words(representation)
        )
        write_json(folder / "evaluation.json", measurement.summary())
        write_scores(folder, measurement)
        for lost in (one for one in measurement.against if one.outcome == "worse"):
            warn(f"{lost.sentence}: this training did not help that search")
    if measure:
        measured = {} if scores is None else {"scores": plain(scores)}
        system.card = {**card(run, data, result, measurement), **about, **measured}
        save_system(system, folder)
    drawings = system.draw(data.test) if measure and isinstance(system, Draws) else ()
    run_report(folder, run, data, measurement, scores, drawings)
    # A run may be a part of a training, whose encoder has not learnt yet: nothing to go on to with its vectors.
    useful = isinstance(system, Encodes) and getattr(system, "encoder_trained", True)
    representation = system.representation() if useful else None
    return TrainSummary(folder, representation, result, measurement, system, scores or {})


def resume(
    folder: Path | str,
    data: Path | str | None = None,
    *,
    devices: int = 1,
    strategy: "Strategy" = "ddp",
    progress: "Progress | None" = None,
    tensorboard: bool = False,
) -> TrainSummary:
    """Goes on with the run in ``folder`` from its newest good checkpoint, to the same bits.

    ``data``: where its data lies now, if it was moved or renamed; what is in it must be the same.

    Raises:
        ArtifactError: the folder holds no run, or its configuration or checkpoints are damaged.
        DataError: its data has changed, or is not where it was.
    """
    run = read_run(folder)
    if data is not None:
        run = replace(run, data=replace(run.data, source=str(data)))
    source = Path(run.data.source)
    is_path = len(source.parts) > 1 or source.suffix  # and no name of a known set
    if is_path and not source.expanduser().exists():
        raise DataError(
            f"{source}, the data of the run {folder}, is not there from {Path.cwd()}; go to where the training "
            f"was begun, or say where the data lies now: brickwork resume {folder} --data PATH"
        )
    return train(
        run,
        folder,
        resume=True,
        devices=devices,
        strategy=strategy,
        progress=progress,
        tensorboard=tensorboard,
    )


def read_run(folder: Path | str, source: Path | str | None = None) -> "RunConfig":
    """The run in ``folder``; with ``source``, the same run on other data, which is read and split as its own was.

    Raises:
        ArtifactError: the folder holds no run.
        ConfigError: its configuration is of another version of Brickwork, or was changed by hand; every wrong field.
    """
    from brickwork.training.run import run_from_dict

    path = Path(folder) / "config.json"
    known = known_folder(folder)
    if known.kind not in ("run", "unfinished run", "") or not path.is_file():
        about = f"it {known.about}" if known.kind else "config.json is missing"
        raise ArtifactError(f"{folder} holds no run ({about}); start one with: brickwork train")
    run = run_from_dict(read_json(path))
    if source is None or str(source) == run.data.source:
        return run
    # What was allowed for the run's own data is not allowed for any other.
    return replace(run, data=replace(run.data, source=str(source), allow_outside=False))
