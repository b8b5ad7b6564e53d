"""Models from folders and from the hub: a representation, a whole system, or whichever of the two is there.

model = brickwork.load("runs/demo")

Only safetensors and JSON are read, after their hashes were compared; no code comes from a model folder.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brickwork.core import registry
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import seed_everything
from brickwork.core.types import Encodes, ExportsAdapters
from brickwork.data.types import TaskData
from brickwork.encoders.prompts import Prompts
from brickwork.representation.adapting import adapt_system
from brickwork.representation.contract import check_data, facts_of
from brickwork.representation.engines import Texts, check_engine, choose_engine
from brickwork.representation.folder import MANIFEST, read_folder, unfinished
from brickwork.representation.hub import download
from brickwork.representation.import_images import import_images, is_image_model
from brickwork.representation.import_sentence_transformers import (
    import_sentence_transformers,
    is_sentence_transformer,
)
from brickwork.representation.kept import only_encodes, restore_system
from brickwork.representation.model import Representation
from brickwork.representation.store import restore_encoder


def load(
    path: Path | str,
    revision: str | None = None,
    *,
    engine: str = "auto",
    calibration: Iterable[str] | None = None,
) -> Any:
    """The model in a folder or a repository on the hub: a :class:`Representation` where vectors are all that it gives,
    else the system that was trained, in evaluation mode, with its own methods (``predict``, ``generate``, …).

    ``revision``: branch, tag or commit of a hub repository. ``engine``: what encodes (representation/engines.py);
    ``calibration``: some hundred texts of your own, from which ``int8`` makes its network the first time.

    Raises:
        ArtifactError: nothing there, an unfinished run, or files that are missing, damaged or unsafe.
        ConfigError, MissingExtraError: an engine that cannot be had.
    """
    check_engine(engine)
    folder = download(path, revision)
    model = _load(folder)
    if not isinstance(model, Representation):
        if not only_encodes(model):
            if engine != "auto":
                raise ConfigError(
                    f"{path} is a whole system, and engine={engine!r} is of encoders; leave it out"
                )
            return model
        model = model.representation()
    choose_engine(model, engine, folder, calibration)
    return model


def load_system(path: Path | str, revision: str | None = None) -> Any:
    """The whole system in a folder or a repository on the hub, in evaluation mode.

    Raises:
        ArtifactError: nothing there, an unfinished run, files that are missing, damaged or unsafe, or an encoder alone.
    """
    model = _load(download(path, revision))
    if isinstance(model, Representation):
        raise ArtifactError(f"{path} holds an encoder and no whole system; choose the folder of a run")
    return model


def continue_system(slug: str, config: Any, data: TaskData, seed: int, start: Path | str) -> Any:
    """The finished system in the run folder ``start``, to be trained on ``data`` as ``config`` says.

    Its class has ``continued(finished, config, *, seed, **facts)``; what follows from the data is as for a fresh system.

    Raises:
        ConfigError: the system does not go on from finished runs, or the folder is of another one.
        ArtifactError: the folder holds no whole system.
        DataError: data that the system does not read.
    """
    cls = registry.load(slug, "system").System
    if not hasattr(cls, "continued"):
        raise ConfigError(f"start={start}: {slug} does not go on from a finished run; leave it out")
    check_data(slug, cls.reads, data)
    seed_everything(seed)
    finished = load_system(Path(start).expanduser())
    if finished.slug != slug:
        raise ConfigError(f"start={start} is no {slug} run; name the folder of one")
    facts = facts_of(slug, cls, config, data)
    system = cls.continued(finished, config, seed=seed, **facts)
    system.slug, system.facts = slug, facts or finished.facts
    adapt_system(system, config)
    return system.train()


def load_representation(
    path: Path | str, revision: str | None = None, *, engine: str = "auto", calibration: Texts | None = None
) -> Representation:
    """The vectors' side of the model in a run folder, a SentenceTransformer folder or a repository on the hub.

    Raises:
        ArtifactError: nothing there, an unfinished run, or files that are missing, damaged or unsafe; or a system that
            does not encode.
        ConfigError, MissingExtraError: an engine that cannot be had.
    """
    check_engine(engine)
    folder = download(path, revision)
    model = _load(folder)
    if not isinstance(model, Representation):
        if not isinstance(model, Encodes):
            raise _no_encoder(path, model)
        model = model.representation()
    representation: Representation = model
    choose_engine(representation, engine, folder, calibration)
    return representation


def as_representation(model: Any) -> Representation:
    """The vectors' side of the model that was given, or of the one in the folder (or repository) that was.

    Raises:
        ArtifactError: as :func:`load_representation`, of a system that was given too.
    """
    if isinstance(model, str | Path):
        return load_representation(model)
    if isinstance(model, Encodes) and hasattr(model, "slug"):
        representation: Representation = model.representation()
        return representation
    if hasattr(model, "slug"):
        raise _no_encoder(f"the model ({type(model).__name__})", model)
    return model


def _load(folder: Path) -> Any:
    """A representation or a system, whichever is in ``folder``."""
    if (folder / MANIFEST).is_file():
        return read_folder(folder, _restore)
    if is_image_model(folder):
        return import_images(folder)
    if is_sentence_transformer(folder):
        return import_sentence_transformers(folder)
    raise unfinished(folder)


def _restore(manifest: Mapping[str, Any], files: Mapping[str, Path]) -> Any:
    if manifest["kind"] == "system":
        return restore_system(manifest, files)
    encoder, axes = restore_encoder(manifest, files), manifest["axes"]
    elastic = ElasticAxes(dims=tuple(axes["dims"]), layers=tuple(axes["layers"]))
    prompts = Prompts.from_dict(manifest, MANIFEST)
    return Representation(encoder, elastic, manifest["lineage"], manifest["card"], prompts)


def _no_encoder(path: Path | str, system: Any) -> ArtifactError:
    """Why what needs an encoder cannot be had of a system without one, and what can."""
    if isinstance(system, ExportsAdapters):
        instead = f"its adapters can be exported (brickwork export {path} --to peft)"
    else:
        able = ", ".join(registry.able("encodes"))
        instead = f"the folder itself is what to pass on; models with an encoder come from {able}"
    return ArtifactError(
        f"{path} is a whole system, {system.slug}, and gives no vectors: there is no encoder in it to export, to encode "
        f"or to search with. `brickwork info {system.slug}` says what it can do, brickwork.load gives it to Python, and "
        f"{instead}"
    )
