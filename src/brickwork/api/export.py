"""What a system that was kept whole is written as for other tools: adapters, bricks, a pruned or a dense model."""

from pathlib import Path
from typing import Any

from brickwork.api.kept_systems import checked_options, system_that


def export_adapter(model: "Path | str | Any", folder: Path | str, **options: Any) -> Path:
    """Writes the adapters of a model as Hugging Face's ``peft`` reads them. ``options``: those of the system's own
    ``export_peft``, such as the rank to cut to.

    Raises:
        ArtifactError: the model has no adapters.
        ConfigError: an option that the system does not take, or a value that it does not have.
    """
    from brickwork.core.types import ExportsAdapters

    system = system_that(model, ExportsAdapters, "export adapters", "adapters")
    options = checked_options(model, system.export_peft, options)
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

    system = system_that(model, Prunes, "prune a model", "prunes")
    return save_system(system.prune(keep), folder)


def export_dense(model: "Path | str | Any", folder: Path | str) -> Path:
    """Writes a model whose parts are used token by token whole, as transformers loads it.

    Raises:
        ArtifactError: the model is dense anyway, or its encoder has no equal there.
        ConfigError: its gate cannot be left out, or the folder is not empty.
    """
    from brickwork.core.types import ExportsDense

    return system_that(model, ExportsDense, "export a dense model", "dense").export_dense(folder)


def export_word_vectors(model: "Path | str | Any", path: Path | str) -> Path:
    """Writes the word vectors of a model into a file that word2vec's tools read: binary where its name ends in ``.bin``,
    else text.

    Raises:
        ArtifactError: the model has no vectors of words.
        ResourceError: the file cannot be written.
    """
    from brickwork.core.types import ExportsWordVectors

    system = system_that(model, ExportsWordVectors, "export word vectors", "word vectors")
    return system.export_word_vectors(path, "binary" if Path(path).suffix == ".bin" else "text")


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

    system = system_that(model, KeepsBricks, "export bricks", "bricks")
    method = system.export_merged if merged else system.export_bricks
    options = checked_options(model, method, options)
    return method(folder, **options)
