"""A whole system in a model folder: what every training leaves.

The system says what it is made of (``architecture()``, JSON values) and is rebuilt from that
(:func:`brickwork.representation.contract.restore_system`); the weights come from safetensors. No code comes from the
folder: a slug that is not in the catalogue is refused.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core import registry
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import check_tensor_file, read_json
from brickwork.core.seeding import seed_everything
from brickwork.core.types import Analyses, Encodes, Generates, Predicts, Recommends, Traces
from brickwork.data.types import TaskData
from brickwork.representation import contract
from brickwork.representation.card import render, render_system
from brickwork.representation.folder import (
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    fill,
    fingerprint,
    read_folder,
    tokenizer_json,
    write_folder,
)


def save_system(system: Any, folder: Path | str, card: Mapping[str, Any] | None = None) -> Path:
    """Writes a system that the house has built or restored; its own ``card`` is the default.

    ``system.transient`` names the parts that only training needs: they are left out, and a restored system lacks them.

    Raises:
        ResourceError: disk full, read-only folder.
    """
    tokenizer = _tokenizer(system)
    text = tokenizer_json(tokenizer) if tokenizer is not None else None
    architecture, state = system.architecture(), system.state_dict()
    transient = getattr(system, "transient", ())
    state = {name: value for name, value in state.items() if name.partition(".")[0] not in transient}
    about = dict(getattr(system, "card", {}) if card is None else card)
    manifest = {
        "kind": "system",
        "system": system.slug,
        "architecture": architecture,
        "lineage": {"system": system.slug, **getattr(system, "lineage", {})},
        "fingerprint": fingerprint(architecture, text, state),
        "card": about,
    }
    if only_encodes(system):
        representation = system.representation()
        representation.card = about
        readme = render(representation)
    else:
        readme = render_system(system.slug, about)
    return write_folder(Path(folder), manifest, state, text, readme)


def _tokenizer(system: Any) -> Any:
    own = getattr(system, "tokenizer", None)
    return own if own is not None else getattr(getattr(system, "encoder", None), "tokenizer", None)


def only_encodes(system: Any) -> bool:
    """Whether its vectors are all that a user can have of a system."""
    others = (Predicts, Generates, Recommends, Analyses, Traces)
    return isinstance(system, Encodes) and not isinstance(system, others)


def restore_system(manifest: Mapping[str, Any], files: Mapping[str, Path]) -> nn.Module:
    """The system that a checked manifest describes, in evaluation mode; its ``card`` is what was recorded.

    Raises:
        ArtifactError: it is of a system that this installation does not have, or the weights do not fit.
    """
    slug, architecture = manifest.get("system"), manifest["architecture"]
    if slug not in registry.slugs():
        raise ArtifactError(f"the model is of the system {slug!r}, which this Brickwork does not have; known: "
                            f"{', '.join(registry.slugs())}")  # fmt: skip
    _check_counts(architecture, len(check_tensor_file(files[WEIGHTS])))
    tokenizer = files[TOKENIZER].read_text(encoding="utf-8") if TOKENIZER in files else None
    if "hub" in _bodies(architecture):  # transformers' models look at their weights while they are built
        system = contract.restore_system(slug, architecture, tokenizer)
    else:
        with torch.device("meta"):
            system = contract.restore_system(slug, architecture, tokenizer)
    fill(system, files[WEIGHTS])
    system.card = dict(manifest["card"])
    system.lineage = {name: value for name, value in manifest["lineage"].items() if name != "system"}
    return system.eval()


def load_system(path: Path | str, revision: str | None = None) -> Any:
    """The whole system in a folder or a repository on the hub, in evaluation mode.

    Raises:
        ArtifactError: nothing there, an unfinished run, files that are missing, damaged or unsafe, or an encoder alone.
    """
    from brickwork.representation.hub import download

    folder = download(path, revision)
    if not _is_system(folder):
        raise ArtifactError(f"{path} holds no whole system; choose the folder of a run")
    return read_folder(folder, restore_system)


def continue_system(slug: str, config: Any, data: TaskData, seed: int, start: Path | str) -> Any:
    """The finished system in the run folder ``start``, to be trained on ``data`` as ``config`` says.

    Its class has ``continued(finished, config)``.

    Raises:
        ConfigError: the system does not go on from finished runs, or the folder is of another one.
        ArtifactError: the folder holds no whole system.
        DataError: data that the system does not read.
    """
    cls = registry.load(slug, "system").System
    if not hasattr(cls, "continued"):
        raise ConfigError(f"start={start}: {slug} does not go on from a finished run; leave it out")
    contract.check_data(slug, cls.reads, data)
    seed_everything(seed)
    finished = load_system(Path(start).expanduser())
    if finished.slug != slug:
        raise ConfigError(f"start={start} is no {slug} run; name the folder of one")
    system = cls.continued(finished, config)
    system.slug, system.facts = slug, finished.facts
    return system.train()


def load(path: Path | str, revision: str | None = None) -> Any:
    """The model in a folder or a repository on the hub: a :class:`Representation` where vectors are all that the
    system gives, else the system itself.

    A system is given in evaluation mode, with its own methods (``predict``, ``generate``, …). Only safetensors and JSON
    are read, after their hashes were compared; no code comes from a model folder.

    Raises:
        ArtifactError: nothing there, an unfinished run, or files that are missing, damaged or unsafe.
    """
    from brickwork.representation.hub import download
    from brickwork.representation.model import load as load_representation

    folder = download(path, revision)
    if not _is_system(folder):
        return load_representation(folder)
    system = load_system(folder)
    return system.representation() if only_encodes(system) else system


def _is_system(folder: Path) -> bool:
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    return isinstance(manifest, dict) and manifest.get("kind") == "system"


def _check_counts(value: Any, num_tensors: int) -> None:
    """A number of layers or modules beyond the tensors there are would only cost time and memory."""
    for name, found in _items(value):
        if name in ("num_layers", "depth") and isinstance(found, int) and found > num_tensors:
            raise ValueError(f"{name}={found} with {num_tensors} tensors")


def _bodies(value: Any) -> set[Any]:
    return {found for name, found in _items(value) if name == "body" and isinstance(found, str)}


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name with its value, at any depth."""
    if isinstance(value, Mapping):
        for name, found in value.items():
            yield name, found
            yield from _items(found)
    elif isinstance(value, list):
        for found in value:
            yield from _items(found)
