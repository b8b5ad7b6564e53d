"""What one does with a system that was kept whole: predict, generate, look at its modules at work.

import brickwork
brickwork.generate("runs/lm", ["def add("], max_tokens=50)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from brickwork.api.kept_systems import checked_options, system_that
from brickwork.api.train import read_run
from brickwork.core.errors import ArtifactError, ConfigError, DataError, naming_extras

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames, DataConfig
    from brickwork.data.types import Examples, TaskData
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
    system = system_that(model, Predicts, "predict", "predicts")
    options = checked_options(model, system.predict, options)
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
    name: Path | str = "",
) -> list[str]:
    """Each prompt continued by up to ``max_tokens`` tokens.

    ``temperature`` 0 takes the likeliest token each time; ``top_k`` 0 draws from all. ``name``: what the user calls a model
    that is loaded already.

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
    system = system_that(model, Generates, "generate", "generates", name=name)
    return system.generate(prompts, max_tokens=max_tokens, temperature=temperature, top_k=top_k, seed=seed)


@naming_extras("the model")
def generate_images(
    model: "Path | str | Any",
    names: Sequence[str],
    out: Path | str | None = None,
    *,
    count: int = 16,
    seed: int = 0,
    name: Path | str = "",
    **options: Any,
) -> Any:
    """``count`` images of each name as an array (images, H, W, C) of uint8, one name after the other.

    ``out``: a new folder for them, a PNG each in a sub-folder for each name (as `train` reads them), and ``grid.png`` with
    all. ``options``: those that the system's own ``generate_images`` takes, such as ``steps`` or ``guidance``. ``name``:
    as of :func:`generate`.

    Raises:
        ArtifactError: the model makes no images.
        ConfigError: a name that it does not know, an option that it does not take, or a folder with something in it.
    """
    from brickwork.core.files import refuse_filled
    from brickwork.core.types import GeneratesImages
    from brickwork.data.writers import write_images

    if out is not None:
        refuse_filled(out)
    system = system_that(model, GeneratesImages, "make images", "generates", name=name)
    options = checked_options(name or model, system.generate_images, options)
    images = system.generate_images(names, count=count, seed=seed, **options)
    if out is not None:
        write_images(Path(out), [name for name in names for _ in range(count)], images)
    return images


def recommend(model: "Path | str | Any", users: Sequence[Any], *, count: int = 10) -> dict[str, Any]:
    """The ``count`` best items for each of ``users``: columns ``user``, ``rank``, ``item`` and ``score``.

    Raises:
        ArtifactError: the model does not recommend.
        ConfigError: ``count`` below 1.
    """
    from brickwork.core.types import Recommends

    if count < 1:
        raise ConfigError(f"count={count}; it must be at least 1")
    return system_that(model, Recommends, "recommend", "recommends").recommend(users, count=count)


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

    system = system_that(folder, Analyses, "analyse what it learnt", "analyses")
    return system.analyse(_held_out(folder, system, data, limit)[1])


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
    layer (:func:`brickwork.api.explain.explain`), or without a table of a run that has labels, how much these do; of a run
    with modules, this where ``properties`` are named.

    ``data``: else other data than that of the run. ``out``: default ``inspect.html`` in the run folder, or
    ``inspect-TABLE.html``. ``columns``, ``allow_outside``: how the table is read.

    Raises:
        ArtifactError: the folder holds no run, or its system has nothing that can be watched.
        ConfigError: an option that has no effect.
        DataError: a table that cannot be read, or without a property.
    """
    from brickwork.api.explain import (
        can_explain,
        check_page_path,
        explain,
        explain_own,
        write_explanation,
    )
    from brickwork.core.types import Draws, Traces
    from brickwork.inspection.drawings import write_drawings
    from brickwork.inspection.traces import write_traces
    from brickwork.representation.load import load

    system = load(folder)
    watched = isinstance(system, Draws | Traces)
    if can_explain(system) and (properties or not watched):
        name = "inspect.html" if data is None else f"inspect-{Path(data).name.split('.')[0]}.html"
        path = Path(out) if out is not None else (Path(folder) if Path(folder).is_dir() else Path()) / name
        check_page_path(path)
        if data is None:
            if properties:
                raise ConfigError(
                    f"--property names columns of a table: brickwork inspect {folder} items.csv"
                )
            title = f"{Path(folder).name} on its own labels"
            return write_explanation(explain_own(folder, limit=limit, progress=progress), path, title)
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
        title, examples = _held_out(folder, system, data, limit, columns=columns, allow_outside=allow_outside)
        return write_drawings(path, title, f"On {len(examples):,} held-out examples.", system.draw(examples))
    system = system_that(system, Traces, "show its modules at work", "traces", name=folder)
    title, examples = _held_out(folder, system, data, limit, columns=columns, allow_outside=allow_outside)
    return write_traces(path, title, system.trace(examples), len(examples))


def _held_out(
    folder: Path | str,
    system: Any,
    data: Path | str | None,
    limit: int | None,
    *,
    columns: "ColumnNames | None" = None,
    allow_outside: bool = False,
) -> "tuple[str, Examples]":
    """The test part of a run's data, or, of ``data`` that it was not trained on, all of it, read as the run reads its own
    where nothing else is chosen; with a title."""
    from brickwork.api.evaluate import held_out_part
    from brickwork.core.types import ReadsAsLearnt
    from brickwork.training.run import load_data

    run = read_run(folder, data)
    chosen = replace(
        run.data,
        columns=columns or run.data.columns,
        allow_outside=allow_outside or run.data.allow_outside,
    )

    def read(config: "DataConfig") -> "TaskData":
        if data is not None and isinstance(system, ReadsAsLearnt):
            return cast("TaskData", system.load_data(config, run.seed))
        return load_data(run.system, config, run.seed)

    task = held_out_part(folder, chosen, read, split=data is None)
    rows = range(min(len(task.test), limit or len(task.test)))
    return f"{run.system} on {task.name}", task.test.select(rows)
