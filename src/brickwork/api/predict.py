"""What one does with a system that was kept whole: predict, generate, look at its modules at work.

import brickwork
brickwork.generate("runs/lm", ["def add("], max_tokens=50)
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.api.train import read_run
from brickwork.core import registry
from brickwork.core.config import nearest
from brickwork.core.errors import ArtifactError, ConfigError, DataError, naming_extras

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames
    from brickwork.data.types import Examples
    from brickwork.representation.model import Representation


@naming_extras("the model")
def predict(
    model: "Path | str | Any",
    data: Path | str,
    out: Path | str | None = None,
    *,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    allow_outside: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """What a system that predicts says of each row of ``data``: named columns, with an ``id`` for each row.

    ``out``: a .parquet, .csv or .jsonl file to write them to. ``allow_outside``: names and links in the data may lead out
    of the folder that it is in. ``options``: those that the
    system's own ``predict`` takes, such as the rank of adapters that serve several.

    Raises:
        ArtifactError: the model does not predict.
        ConfigError: an option that the system does not take, or a value that it does not have.
        DataError: the data cannot be read as the model reads its inputs.
    """
    from brickwork.core.types import Predicts
    from brickwork.data.inputs import read_inputs
    from brickwork.data.writers import check_table_path, write_table
    from brickwork.training.run import texts_of

    if out is not None:
        check_table_path(Path(out))
    system = _system_that(model, Predicts, "predict", "predicts")
    _check_options(model, system.predict, options)
    encoder = getattr(system, "encoder", None)
    ids, inputs = read_inputs(
        data,
        system.input_kind,
        columns=columns,
        limit=limit,
        allow_outside=allow_outside,
        texts=texts_of(system),
        form=getattr(encoder, "framing", None) or getattr(encoder, "image_shape", None),
    )
    try:
        answers = {"id": ids, **system.predict(inputs, **options)}
    except DataError as error:  # which knows the rows, and not where they come from
        raise error if Path(data).name in str(error) else type(error)(f"{data}: {error}") from error
    if out is not None:
        write_table(Path(out), answers)
    return answers


def classify(
    model: "Path | str | Representation",
    images: Path | str,
    names: Sequence[str] = (),
    out: Path | str | None = None,
    *,
    examples: Path | str | None = None,
    prompts: Sequence[str] | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Each image of a folder (or one file) with the name that fits it best, without any training on the names.

    ``prompts`` are texts with ``{}`` for the name; a class is the mean of them (default: eight). Columns ``id``, ``class``,
    ``score`` (a cosine), ``margin`` over the second best, and, of a pretrained CLIP or SigLIP, ``probability`` as it was
    trained: among the names (CLIP), or of this name by itself (SigLIP).
    ``out``: a .parquet, .csv or .jsonl file to write them to.

    ``examples`` in place of ``names``: any model that encodes, also of texts, learns the classes from a few examples of each
    (:mod:`brickwork.api.few_examples`); ``columns``: of tables of texts.

    Raises:
        ConfigError: fewer than two names, a prompt without ``{}``, a model that does not encode images and texts, or names
            and examples.
        DataError: no image can be used, or no example.
    """
    import numpy as np

    from brickwork.api.few_examples import classify_from, refuse_names
    from brickwork.data.readers.images import read_images
    from brickwork.data.writers import check_table_path, write_table
    from brickwork.evaluation.cross_modal import PROMPTS, zero_shot
    from brickwork.index.encoding import image_form
    from brickwork.representation.load import as_representation

    if examples is not None:
        refuse_names(names, prompts)
        if out is not None:
            check_table_path(Path(out))
        answers = classify_from(
            as_representation(model),
            images,
            examples,
            columns=columns,
            limit=limit,
            allow_outside=allow_outside,
        )
        if out is not None:
            write_table(Path(out), answers)
        return answers
    chosen = list(prompts or PROMPTS)
    if len(set(names)) < 2:
        raise ConfigError(
            "give two or more different names to choose from, for example --names 'dog,cat', or --examples FOLDER"
        )
    if wrong := [prompt for prompt in chosen if "{}" not in prompt]:
        raise ConfigError(f"the prompt {wrong[0]!r} has no {{}} for the name")
    if out is not None:
        check_table_path(Path(out))
    representation = as_representation(model)
    kind = getattr(getattr(representation, "encoder", None), "kind", "system")
    if kind != "image-text":
        is_now = "is a system of its own" if kind == "system" else f"encodes {kind}s only"
        raise ConfigError(f"{model} {is_now}; classes by name need a model of images and texts: train align")
    form = image_form(representation)
    assert form is not None, "an encoder of images"
    ids, arrays = read_images(images, form, limit=limit, allow_outside=allow_outside)
    best, scores = zero_shot(representation, list(names), representation.encode(arrays), chosen)
    ranked = np.sort(scores, axis=1)
    answers = {
        "id": ids,
        "class": [names[number] for number in best],
        "score": ranked[:, -1],
        "margin": ranked[:, -1] - ranked[:, -2],
    }
    shares = representation.encoder.probabilities(scores)
    if shares is not None:
        answers["probability"] = shares.max(axis=1)
    if out is not None:
        write_table(Path(out), answers)
    return answers


def generate(
    model: "Path | str | Any",
    prompts: Sequence[str],
    *,
    max_tokens: int = 100,
    temperature: float = 0.8,
    top_k: int = 0,
    seed: int = 0,
) -> list[str]:
    """Each prompt continued by up to ``max_tokens`` tokens.

    ``temperature`` 0 takes the likeliest token each time; ``top_k`` 0 draws from all.

    Raises:
        ArtifactError: the model does not generate.
        ConfigError: an option out of range.
    """
    from brickwork.core.types import Generates

    if max_tokens < 1 or temperature < 0 or top_k < 0:
        raise ConfigError(
            f"max_tokens={max_tokens}, temperature={temperature}, top_k={top_k}: tokens must be at least 1, the others "
            "not negative"
        )
    system = _system_that(model, Generates, "generate", "generates")
    return system.generate(prompts, max_tokens=max_tokens, temperature=temperature, top_k=top_k, seed=seed)


def recommend(model: "Path | str | Any", users: Sequence[Any], *, count: int = 10) -> dict[str, Any]:
    """The ``count`` best items for each of ``users``: columns ``user``, ``rank``, ``item`` and ``score``.

    Raises:
        ArtifactError: the model does not recommend.
        ConfigError: ``count`` below 1.
    """
    from brickwork.core.types import Recommends

    if count < 1:
        raise ConfigError(f"count={count}; it must be at least 1")
    return _system_that(model, Recommends, "recommend", "recommends").recommend(users, count=count)


@naming_extras("the model")
def analyse(
    folder: Path | str, data: Path | str | None = None, *, limit: int | None = None
) -> dict[str, dict[str, Any]]:
    """What the system of a run says about held-out examples: a table for each named result.

    ``data``: other data than that of the run.

    Raises:
        ArtifactError: the folder holds no run, or its system analyses nothing.
    """
    from brickwork.core.types import Analyses

    system = _system_that(folder, Analyses, "analyse what it learnt", "analyses")
    return system.analyse(_held_out(folder, data, limit)[1])


@naming_extras("the model")
def inspect(
    folder: Path | str,
    data: Path | str | None = None,
    out: Path | str | None = None,
    *,
    limit: int | None = None,
    columns: "ColumnNames | None" = None,
    properties: Sequence[str] = (),
    allow_outside: bool = False,
    progress: bool = False,
) -> Path:
    """Writes a page of what is inside a model, and returns its path.

    Of a run with modules to watch, what they do on held-out examples; or what it found out. Of a model that encodes, and
    ``data`` (a table with a column for each property): how much of the variance of its vectors each property explains, by
    layer (:func:`brickwork.api.explain.explain`); of a run with modules, this where ``properties`` are named.

    ``data``: else other data than that of the run. ``out``: default ``inspect.html`` in the run folder, or
    ``inspect-TABLE.html``. ``columns``, ``allow_outside``: how the table is read.

    Raises:
        ArtifactError: the folder holds no run, or its system has nothing that can be watched.
        ConfigError: an option that has no effect.
        DataError: a table that cannot be read, or without a property.
    """
    from brickwork.api.explain import can_explain, check_page_path, explain, write_explanation
    from brickwork.core.types import Draws, Traces
    from brickwork.inspection.drawings import write_drawings
    from brickwork.inspection.traces import write_traces
    from brickwork.representation.load import load

    system = load(folder)
    watched = isinstance(system, Draws | Traces)
    if can_explain(system) and (properties or not watched):
        if data is None:
            raise ConfigError(
                f"{folder} has vectors: give a table of inputs with a column for each property that they may hold, "
                f"for example: brickwork inspect {folder} items.csv"
            )
        name = f"inspect-{Path(data).name.split('.')[0]}.html"
        path = Path(out) if out is not None else (Path(folder) if Path(folder).is_dir() else Path()) / name
        check_page_path(path)
        made = explain(
            system,
            data,
            columns=columns,
            properties=properties,
            limit=limit,
            allow_outside=allow_outside,
            progress=progress,
        )
        return write_explanation(made, path, f"{Path(folder).name} on {Path(data).name}")
    if properties:
        raise ArtifactError(f"{folder} has no vectors of its inputs, so that no property can be measured")
    folder = Path(folder)
    path = Path(out) if out is not None else folder / "inspect.html"
    if isinstance(system, Draws):
        title, examples = _held_out(folder, data, limit)
        return write_drawings(path, title, f"On {len(examples):,} held-out examples.", system.draw(examples))
    system = _system_that(system, Traces, "show its modules at work", "traces", name=folder)
    title, examples = _held_out(folder, data, limit)
    return write_traces(path, title, system.trace(examples), len(examples))


def _held_out(folder: Path | str, data: Path | str | None, limit: int | None) -> "tuple[str, Examples]":
    """The test part of a run's data, or, of ``data`` that it was not trained on, all of it, read as the run reads its own;
    with a title."""
    from brickwork.api.evaluate import held_out_part
    from brickwork.training.run import load_data

    run = read_run(folder, data)
    task = held_out_part(
        folder, run.data, lambda config: load_data(run.system, config, run.seed), split=data is None
    )
    rows = range(min(len(task.test), limit or len(task.test)))
    return f"{run.system} on {task.name}", task.test.select(rows)


def export_adapter(model: "Path | str | Any", folder: Path | str, **options: Any) -> Path:
    """Writes the adapters of a model as Hugging Face's ``peft`` reads them. ``options``: those of the system's own
    ``export_peft``, such as the rank to cut to.

    Raises:
        ArtifactError: the model has no adapters.
        ConfigError: an option that the system does not take, or a value that it does not have.
    """
    from brickwork.core.types import ExportsAdapters

    system = _system_that(model, ExportsAdapters, "export adapters", "adapters")
    _check_options(model, system.export_peft, options)
    return system.export_peft(folder, **options)


def export_pruned(model: "Path | str | Any", folder: Path | str, keep: str) -> Path:
    """Writes the model that a run looked into with only the parts that ``keep`` names (``p<0.01``, ``top 20``).

    Raises:
        ArtifactError: the model prunes nothing.
        ConfigError: a condition that is none, or that no part fulfils.
        ResourceError: the folder cannot be written.
    """
    from brickwork.core.types import Prunes
    from brickwork.representation.kept import save_system

    system = _system_that(model, Prunes, "prune a model", "prunes")
    return save_system(system.prune(keep), folder)


def export_dense(model: "Path | str | Any", folder: Path | str) -> Path:
    """Writes a model whose parts are used token by token whole, as transformers loads it.

    Raises:
        ArtifactError: the model is dense anyway, or its encoder has no equal there.
        ConfigError: its gate cannot be left out, or the folder is not empty.
    """
    from brickwork.core.types import ExportsDense

    return _system_that(model, ExportsDense, "export a dense model", "dense").export_dense(folder)


def export_bricks(
    model: "Path | str | Any", folder: Path | str, *, merged: bool = False, **options: Any
) -> Path:
    """Writes the bricks of a model into a library of bricks, or (``merged``) its base with bricks in the weights.

    ``options``: those of the system's own ``export_bricks`` or ``export_merged``, such as which ``brick``.

    Raises:
        ArtifactError: the model has no bricks.
        ConfigError: an option that the system does not take, or a value that it does not have.
    """
    from brickwork.core.types import KeepsBricks

    system = _system_that(model, KeepsBricks, "export bricks", "bricks")
    method = system.export_merged if merged else system.export_bricks
    _check_options(model, method, options)
    return method(folder, **options)


def _check_options(model: "Path | str | Any", method: Any, options: Mapping[str, Any]) -> None:
    """Refuses options that a system's own method does not take: it takes its parameters that have a default."""
    takes = [name for name, p in signature(method).parameters.items() if p.default is not p.empty]
    for name, value in options.items():
        if name not in takes:
            instead = nearest(name, takes) if takes else "it takes none"
            raise ConfigError(
                f"{name}={value!r} is no option of the model in {model}: {instead}; leave it out"
            )


def _system_that(
    model: "Path | str | Any", protocol: type, verb: str, does: str, *, name: "Path | str" = ""
) -> Any:
    """The system in ``model``, which has to do what ``protocol`` says: ``verb`` in words, ``does`` on cards. ``name``: what
    the user calls it."""
    from brickwork.representation.load import load

    system = load(model) if isinstance(model, str | Path) else model
    if not isinstance(system, protocol):
        kind = getattr(system, "slug", "") or "an encoder"
        raise ArtifactError(
            f"{name or model} is {kind}, which cannot {verb}; systems that can: {', '.join(registry.able(does)) or 'none'}"
        )
    return system
