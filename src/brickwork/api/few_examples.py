"""Labels that a model was not trained on, learnt from a few examples of each and then told of new inputs.

import brickwork
answers = brickwork.classify("runs/rich", "new/", examples="shots/")
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.errors import ConfigError, DataError, naming_extras, warn

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames
    from brickwork.evaluation.new_labels import NewLabels
    from brickwork.representation.model import Representation


@naming_extras("classes from examples")
def classes_from(
    representation: "Representation",
    examples: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    allow_outside: bool = False,
    seed: int = 0,
) -> "NewLabels":
    """A classifier on the vectors of a model, from ``examples``: images in a folder for each class, or for a model of texts
    a table with a text and a label (a model of both takes images).

    Raises:
        DataError: nothing that can be read, examples outside of a class folder only, or fewer than two classes.
    """
    from brickwork.data.classes import warn_of_case
    from brickwork.evaluation.new_labels import learn_labels

    inputs, labels = _examples(representation, examples, columns, allow_outside)
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(
            f"{examples} has examples of {len(names)} class; give two or more, each with a few examples"
        )
    warn_of_case(names, str(examples))
    places = np.array([names.index(label) for label in labels], dtype=np.int64)
    return learn_labels(representation.encode(inputs, normalize=False), places, names, seed=seed)


def classify_from(
    representation: "Representation",
    inputs: Path | str,
    examples: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Each of ``inputs`` with the class that it most likely is: columns ``id``, ``class``, ``score`` and ``margin`` over the
    second best.

    With five examples or more of every class ``score`` is the probability of a linear classifier, with fewer the cosine to
    the mean of a class.

    Raises:
        DataError: as :func:`classes_from`, and where no input can be used.
    """
    from brickwork.data.inputs import read_inputs
    from brickwork.index.encoding import image_form
    from brickwork.training.run import texts_of

    form = image_form(representation)
    model = classes_from(representation, examples, columns=columns, allow_outside=allow_outside)
    ids, read = read_inputs(
        inputs,
        "texts" if form is None else "images",
        columns=columns,
        limit=limit,
        allow_outside=allow_outside,
        texts=texts_of(representation) if form is None else None,
        form=form,
    )
    scores = model.scores(representation.encode(read["input"], normalize=False))
    ranked = np.sort(scores, axis=1)
    return {
        "id": ids,
        "class": [model.names[place] for place in scores.argmax(1)],
        "score": ranked[:, -1],
        "margin": ranked[:, -1] - ranked[:, -2],
    }


def _examples(
    representation: "Representation", examples: Path | str, columns: "ColumnNames | None", allow_outside: bool
) -> tuple[Any, list[str]]:
    """Inputs of a model, and the class of each."""
    from brickwork.index.encoding import image_form

    form = image_form(representation)
    if form is None:
        return _texts(examples, columns, allow_outside)
    from brickwork.data.readers.images import read_images

    folder = Path(examples).expanduser()
    if folder.is_file():
        raise DataError(f"{examples} is a file; give a folder with a folder of images for each class in it")
    names, images = read_images(folder, form, allow_outside=allow_outside)
    inside = [row for row, name in enumerate(names) if "/" in name]
    if not inside:
        raise DataError(
            f"{examples} has no folder with images in it; put the examples of each class into a folder of its name"
        )
    if outside := len(names) - len(inside):
        warn(f"{examples}: {outside:,} images beside the folders of the classes are left out")
    return images[inside], [names[row].split("/")[0] for row in inside]


def _texts(
    examples: Path | str, columns: "ColumnNames | None", allow_outside: bool
) -> tuple[list[str], list[str]]:
    from brickwork.data.config import ColumnNames, DataConfig
    from brickwork.data.load import load_task
    from brickwork.data.readers.columns import task_of
    from brickwork.data.readers.files import column_names, table_kind

    path = Path(examples).expanduser()
    if path.is_file() and path.stat().st_size and table_kind(path) is not None:
        names = column_names(path)
        kind, _ = task_of(names, columns or ColumnNames(), str(path))
        if kind != "labelled":
            raise DataError(
                f"{examples} has the columns {', '.join(names)}; examples of classes need a text and a label in each row "
                "(--column label=NAME for another name)"
            )
    config = DataConfig(
        source=str(examples),
        columns=columns or ColumnNames(),
        validation_share=0.0,
        test_share=0.0,
        allow_outside=allow_outside,
    )
    task = load_task(config, 0)
    if task.kind != "labelled" or task.modality != "text":
        raise DataError(
            f"{examples} is {task.kind} ({task.modality}), and examples of classes need a text and a label in each row: a "
            "table with columns text and label"
        )
    classes = task.class_names or tuple(map(str, range(task.num_classes or 0)))
    return list(task.train.columns["input"]), [classes[int(n)] for n in task.train.columns["label"]]


def refuse_names(names: Any, prompts: Any) -> None:
    """Names and prompts are for classes without examples.

    Raises:
        ConfigError: one of them was given too.
    """
    if names or prompts:
        given = "--names" if names else "--prompt"
        raise ConfigError(
            f"{given} has no effect with --examples, whose folders or labels are the classes; leave one out"
        )
