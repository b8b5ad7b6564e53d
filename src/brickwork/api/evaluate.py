"""How good a model is on held-out data: the command ``evaluate``, and the compatibility matrix of several models.

import brickwork
brickwork.evaluate("runs/docs", "docs/", dims=[48, 384])["retrieval"]
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from brickwork.api.read_data import describe
from brickwork.api.train import CONTENT, read_run
from brickwork.api.untouched import untouched
from brickwork.core import registry
from brickwork.core.errors import ConfigError, DataError, naming_extras, need_extra
from brickwork.core.files import plain, read_json

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames, DataConfig
    from brickwork.data.types import TaskData
    from brickwork.evaluation.measure import Measurement
    from brickwork.index.index import Index
    from brickwork.representation.model import Representation


@naming_extras("evaluation")
def evaluate(
    model: "Path | str | Representation | Index",
    data: Path | str | None = None,
    *,
    queries: Path | str | None = None,
    qrels: Path | str | None = None,
    report: Path | str | None = None,
    learn_weight: bool = False,
    dims: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    seed: int | None = None,
    allow_outside: bool = False,
    baselines: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Quality and cost at every size on the held-out part of ``data``, as plain JSON values; the own numbers of a
    system that was kept whole.

    ``data`` is a path or a known set. A run folder says how it is read and split: its columns, targets, limit and seed
    are those of the training unless given here, so that the test part of the same data is the same. Of a path that the run
    was not trained on all rows are measured, unless ``seed`` asks for a split.

    With ``queries`` and ``qrels``, files of the user's own queries and judgements
    (:mod:`brickwork.data.readers.judgements`), a search is measured by these instead: of an index as it stands, or of a
    model with ``data`` as the documents. ``rows`` are all ways to search (vectors, words, both), by size, beside the model
    as it was published and BM25, with 95 % intervals of the paired difference; ``report`` is an HTML file to write. With
    ``learn_weight`` the weight of the vectors in hybrid searches is learnt from them and kept in the index. With ``queries``
    alone, ``answers`` has the documents that each way gives. ``baselines=False`` leaves the published model out.

    Raises:
        ArtifactError: the model cannot be loaded, or neither gives vectors nor measures itself.
        ConfigError: a size outside the model's, or sizes for a system that measures itself; said before the data is read.
        DataError: the data cannot be read as the run reads its own; queries or judgements that cannot be read, or that name
            documents that are not there.
    """
    if queries is not None:
        if seed is not None:
            raise ConfigError("seed is of a split, and with queries all documents are searched; leave it out")
        from brickwork.api.judging import evaluate_judged

        return evaluate_judged(
            model,
            data,
            queries,
            qrels,
            dims=dims,
            layers=layers,
            report=report,
            learn_weight=learn_weight,
            columns=columns,
            limit=limit,
            allow_outside=allow_outside,
            baselines=baselines,
            progress=progress,
        )
    if given := [n for n, v in (("qrels", qrels), ("report", report), ("learn_weight", learn_weight)) if v]:
        raise ConfigError(f"{' and '.join(given)} can be given with queries only; give these too")
    if data is None:
        raise ConfigError(
            "DATA is missing: give data to measure the model on, or your own queries (--queries)"
        )
    from brickwork.core.types import Evaluates

    need_extra("train", "evaluation")
    loaded = _loaded(model, dims, layers)
    task = _task(model, loaded, data, columns=columns, limit=limit, seed=seed, allow_outside=allow_outside)
    if isinstance(loaded, Evaluates):
        return {"data": describe(task), "retrieval": [], "scores": plain(loaded.evaluate(task.test))}
    measurement = _measurement(
        model, loaded, task, dims=dims, layers=layers, baselines=baselines, progress=progress
    )
    return {"data": describe(task), **measurement.summary()}


def measure_searches(
    model: "Path | str | Representation", data: Path | str, *, progress: bool = False
) -> "Measurement":
    """Searches of the held-out part of ``data`` at every size, by vectors and with words beside them, and by words alone.

    Raises:
        ArtifactError: the model cannot be loaded, or gives no vectors.
        ConfigError: it is measured by its system, so there are no sizes to search at.
        DataError: the data cannot be read as the run reads its own, or has no queries.
    """
    from brickwork.api.scores import hybrid_words
    from brickwork.core.types import Evaluates

    need_extra("train", "evaluation")
    loaded = _loaded(model, None, None)
    if isinstance(loaded, Evaluates):
        raise ConfigError(f"{model} is measured by its system, which has no sizes to choose from")
    task = _task(model, loaded, data)
    if not task.retrieval:
        raise DataError(
            f"{data} has no held-out queries to search with; give pairs of a query and its text, or documents"
        )
    return _measurement(model, loaded, task, baselines=True, words=hybrid_words(loaded), progress=progress)


def _loaded(model: Any, dims: Sequence[int] | None, layers: Sequence[int] | None) -> Any:
    """The model, if it has these sizes: a system that measures itself has none."""
    from brickwork.core.types import Evaluates
    from brickwork.representation.load import as_representation, load

    loaded: Any = load(model) if isinstance(model, str | Path) else model
    if not isinstance(loaded, Evaluates):
        loaded = as_representation(loaded)
        for size in dims or ():
            loaded.axes.resolve(size, None)
        for size in layers or ():
            loaded.axes.resolve(None, size)
    elif dims or layers:
        slug = getattr(loaded, "slug", type(loaded).__name__)
        raise ConfigError(
            f"{model} is measured by its system, {slug}, which has no sizes: leave dims and layers out"
        )
    return loaded


def _task(
    model: Any,
    loaded: Any,
    data: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    seed: int | None = None,
    allow_outside: bool = False,
) -> "TaskData":
    """``data``, read as the model's run reads its own, with what is to be measured as its test part."""
    from brickwork.core.types import ReadsAsLearnt
    from brickwork.training.run import load_data

    split = seed is not None
    config, seed = _as_trained(model, data, columns, limit, seed, allow_outside)
    slug = getattr(loaded, "slug", None) or loaded.lineage.get("system")

    def read(config: "DataConfig") -> "TaskData":
        if isinstance(loaded, ReadsAsLearnt):
            return cast("TaskData", loaded.load_data(config, seed))
        return load_data(slug, config, seed) if slug in registry.slugs() else _untrained(loaded, config, seed)

    return held_out_part(model, config, read, split)


def _measurement(
    model: Any, loaded: "Representation", task: "TaskData", *, baselines: bool, **how: Any
) -> "Measurement":
    """What :func:`brickwork.evaluation.measure.measure` finds, beside the model that a run started from and the simple
    model that its system names."""
    from brickwork.core.types import HasBaseline
    from brickwork.evaluation.measure import measure

    run = read_run(model) if baselines and _is_run(model) else None
    start = None if run is None else untouched(run, loaded.axes)
    simple = None
    if run is not None and isinstance(kind := registry.load(run.system, "system").System, HasBaseline):
        simple = kind.baseline(run.model, loaded.axes, task.train, run.seed)
    return measure(loaded, task, untouched=start, simple=simple, baselines=baselines, **how)


def _untrained(model: "Representation", config: "DataConfig", seed: int) -> "TaskData":
    """Data as a model reads it that no system of ours has trained: images as its own preprocessing has them."""
    from brickwork.core.framing import Framing
    from brickwork.data.config import ImageDataConfig
    from brickwork.data.image_text import image_text_task
    from brickwork.data.load import load_task
    from brickwork.index.encoding import image_form

    form = image_form(model)
    if not isinstance(form, Framing):
        return load_task(config, seed)
    if model.encoder.kind == "image-text":
        return image_text_task(config, seed, framing=form)
    return load_task(ImageDataConfig(**{**vars(config), "framing": form}), seed)


@naming_extras("evaluation")
def compatibility(
    models: "Sequence[Path | str | Representation]",
    data: Path | str,
    *,
    search: str = "identification",
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    seed: int | None = None,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Whether newer models can search what older ones have indexed: the compatibility matrix of ``models``, oldest first.

    Any encoders whose vectors have one length can be compared, on the held-out part of ``data`` (pairs, or inputs
    with labels; read and split as by the newest; of a file that it was not trained on, all
    pairs, but a part of what has labels). ``search``, with labels: ``identification`` or ``nearest neighbour``.

    Raises:
        ConfigError: fewer than two models, vectors of other lengths, or an unknown ``search``.
        DataError: the data has neither queries nor labels.
    """
    from brickwork.data.load import load_task
    from brickwork.evaluation.compatibility import SEARCHES, check_models, measure_compatibility
    from brickwork.representation.load import as_representation

    if search not in SEARCHES:
        raise ConfigError(f"search={search!r} is unknown; choose one of {', '.join(SEARCHES)}")
    loaded = [as_representation(model) for model in models]
    names = [str(m) if isinstance(m, str | Path) else r.fingerprint for m, r in zip(models, loaded)]
    check_models(loaded, names)
    newest = models[-1]
    split = seed is not None
    config, seed = _as_trained(newest, data, columns, limit, seed, allow_outside)
    read = partial(load_task, seed=seed)
    task = held_out_part(newest, config, read, split)
    if task.kind == "labelled" and not len(task.train):
        task = read(config)  # labels are searched in a gallery, which is the training part
    matrices = measure_compatibility(loaded, task, names=names, search=SEARCHES[SEARCHES.index(search)])
    return {"data": describe(task), "matrices": [matrix.summary() for matrix in matrices]}


def held_out_part(
    model: Any, config: "DataConfig", read: "Callable[[DataConfig], TaskData]", split: bool
) -> "TaskData":
    """The data with what is to be measured as its test part: of the run's own data, and of known sets, the part that was
    held out; of other files all rows."""
    from brickwork.data.fingerprints import fingerprint
    from brickwork.data.load import is_known

    source = Path(config.source).expanduser()
    if split or is_known(config.source) or not source.exists():
        return read(config)
    everything = replace(config, validation_share=0.0, test_share=1.0, max_held_out=sys.maxsize)
    if not _is_run(model):
        return read(everything)
    own = Path(read_run(model).data.source).expanduser()
    if own.exists() and os.path.samefile(own, source):
        return read(config)
    record = Path(model) / CONTENT
    if record.is_file():  # the same data in another place
        task = read(config)
        then, now = read_json(record), fingerprint(task)
        if all(then.get(part) == now[part] for part in ("train", "validation", "test")):
            return task
    return read(everything)


def _is_run(model: Any) -> bool:
    from brickwork.representation.folder import MANIFEST

    # Models of other tools have a config.json too, and ours from the hub have none.
    return isinstance(model, str | Path) and all(
        (Path(model) / n).is_file() for n in (MANIFEST, "config.json")
    )


def _as_trained(
    model: Any,
    data: Path | str,
    columns: "ColumnNames | None",
    limit: int | None,
    seed: int | None,
    allow_outside: bool,
) -> "tuple[DataConfig, int]":
    """How the run of ``model`` reads and splits its data, where it has one, for ``data`` and with what was chosen."""
    from brickwork.data.config import DataConfig

    config, own_seed = DataConfig(source=str(data)), 0
    if _is_run(model):
        run = read_run(model, data)
        config, own_seed = run.data, run.seed
    config = replace(
        config,
        limit=limit or config.limit,
        columns=columns or config.columns,
        allow_outside=allow_outside or config.allow_outside,
    )
    return config, own_seed if seed is None else seed
