"""A representation as a folder: written file by file, read only after size, hash and shapes were compared.

model.safetensors   the weights
tokenizer.json      for texts
README.md           the model card, for people
brickwork.json      format version, kind, architecture, axes, lineage, card, sha256 of the files

A model that is there is replaced at one moment, when brickwork.json is: the other files are written under pending
names before it and get their own after it. Reading and saving take a pending file for the one that the manifest
means if it has that hash, so a save that was killed at any point leaves the old model or the new one.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import brickwork
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import (
    atomic_folder,
    check_tensor_file,
    checksum,
    load_tensors,
    os_errors,
    read_json,
    remove_leftovers,
    save_tensors,
    sha256_file,
    write_json,
    write_text,
)
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.representation.card import render
from brickwork.representation.model import Representation, tokenizer_json

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = "brickwork.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
FORMAT_VERSION = 1
_PENDING = ".new-"
_FILES = {"text": {WEIGHTS, TOKENIZER}, "image": {WEIGHTS}}
_TRIES = 10
_MAX_TOKENIZER_BYTES = 256 * 1024 * 1024


def save(representation: Representation, folder: Path) -> Path:
    """Writes the folder; an existing one keeps its other files, and its model until the new one is complete."""
    with os_errors(folder):
        there = folder.is_dir()
    if there:
        _write(representation, folder)
    else:
        with atomic_folder(folder) as temporary:
            _write(representation, temporary)
    return folder


def _write(representation: Representation, folder: Path) -> None:
    encoder = representation.encoder
    names = _FILES[encoder.kind]
    with os_errors(folder):
        remove_leftovers(folder)
        _settle(folder)
    try:
        save_tensors(folder / f"{_PENDING}{WEIGHTS}", encoder.state_dict(), {"format": "pt"})
        if TOKENIZER in names:
            write_text(folder / f"{_PENDING}{TOKENIZER}", tokenizer_json(encoder))
        write_text(folder / "README.md", render(representation))
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": encoder.kind,
            "architecture": encoder.architecture(),
            "axes": {"dims": list(representation.axes.dims), "layers": list(representation.axes.layers)},
            "lineage": representation.lineage,
            "fingerprint": representation.fingerprint,
            "brickwork": brickwork.__version__,
            "sha256": {name: sha256_file(folder / f"{_PENDING}{name}") for name in sorted(names)},
            "card": representation.card,
        }
        write_json(folder / MANIFEST, {**manifest, "checksum": checksum(manifest)})
    finally:
        with os_errors(folder):
            _settle(folder)


def _settle(folder: Path) -> None:
    """Gives pending files that belong to the manifest their names, and removes the others."""
    for name in (WEIGHTS, TOKENIZER):
        pending = folder / f"{_PENDING}{name}"
        if pending.is_file() and sha256_file(pending) == _recorded(folder, name):
            os.replace(pending, folder / name)
        pending.unlink(missing_ok=True)


def _recorded(folder: Path, name: str) -> object:
    """The hash in the manifest that is there; ``None`` where it has none or cannot be read."""
    try:
        return _read_manifest(folder)["sha256"].get(name)
    except ArtifactError:
        return None


def unfinished(folder: Path) -> ArtifactError:
    """Why a folder without a manifest cannot be loaded."""
    if (folder / "checkpoints").is_dir():
        return ArtifactError(
            f"{folder} holds a training that has not finished; finish it with: brickwork resume {folder}"
        )
    return ArtifactError(
        f"{folder} holds no model: neither {MANIFEST} nor modules.json is there; choose a run folder or a "
        "SentenceTransformer folder"
    )


def load_folder(folder: Path) -> Representation:
    """The representation in ``folder``; read again where another process was just saving over it.

    Raises:
        ArtifactError: of another format version, or a file is missing, damaged or unsafe, or tensors are
            missing, unexpected or of the wrong shape.
    """
    for _ in range(_TRIES):
        before = read_json(folder / MANIFEST)
        try:
            return _load(folder)
        except FileNotFoundError:
            continue  # a pending file got its own name
        except ArtifactError:
            if read_json(folder / MANIFEST) == before:
                raise
    raise ArtifactError(f"{folder} changes all the time: another process saves there; load it afterwards")


def _load(folder: Path) -> Representation:
    manifest = _read_manifest(folder)
    kind, architecture, axes = manifest["kind"], manifest["architecture"], manifest["axes"]
    files = _check_files(folder, kind, manifest["sha256"])
    header = check_tensor_file(files[WEIGHTS])
    where = folder / MANIFEST
    try:
        text = files[TOKENIZER].read_text(encoding="utf-8") if kind == "text" else ""
        _check_layers(architecture, len(header))
        encoder = _build(kind, architecture, text, header, files[WEIGHTS])
        elastic = ElasticAxes(dims=tuple(axes["dims"]), layers=tuple(axes["layers"]))
        return Representation(encoder.eval(), elastic, manifest["lineage"], manifest["card"])
    except (ConfigError, ArtifactError) as error:
        if str(folder) in str(error):
            raise
        raise ArtifactError(f"{where} is damaged: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ArtifactError(
            f"{where} does not describe an encoder that can be built ({error!r:.200})"
        ) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    manifest = read_json(path)
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {version!r}; this Brickwork ({brickwork.__version__}) reads "
            f"{FORMAT_VERSION}. Install a newer Brickwork, or make the folder anew"
        )
    if manifest.get("checksum", checksum(manifest)) != checksum(manifest):
        raise ArtifactError(f"{path} is damaged (its checksum differs); use a good copy, or save again")
    for name in ("architecture", "axes", "lineage", "sha256", "card"):
        if not isinstance(manifest.get(name), dict):
            raise ArtifactError(f"{path} is damaged: '{name}' is missing or not an object")
    if manifest.get("kind") not in tuple(_FILES):
        raise ArtifactError(f"{path} is of kind {manifest.get('kind')!r}; known: {', '.join(_FILES)}")
    return manifest


def _check_files(folder: Path, kind: str, hashes: "Mapping[str, Any]") -> dict[str, Path]:
    """Where every file that will be read is: one of ours, there, and what was written."""
    # Names come from a fixed set, so none can lead out of the folder.
    if set(hashes) != _FILES[kind]:
        raise ArtifactError(
            f"{folder / MANIFEST} lists the files {sorted(map(str, hashes))}; a {kind} model has "
            f"{sorted(_FILES[kind])}. The folder is damaged or not safe"
        )
    found = {}
    for name in sorted(hashes):
        pending = folder / f"{_PENDING}{name}"
        taken = pending.is_file() and sha256_file(pending) == hashes[name]
        found[name] = pending if taken else folder / name
        _check_file(found[name], hashes[name])
    return found


def _check_file(path: Path, wanted: object) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; use a complete copy of the folder")
    if path.suffix == ".safetensors":
        check_tensor_file(path)  # a pickle is refused before it is read
    elif path.stat().st_size > _MAX_TOKENIZER_BYTES:
        raise ArtifactError(f"{path} has {path.stat().st_size} bytes, too many for a tokenizer; not read")
    if sha256_file(path) != wanted:
        raise ArtifactError(
            f"{path} is not the file that was written (its SHA-256 differs from the one in {MANIFEST}): "
            "damaged. Use a good copy, or save again"
        )


def _check_layers(architecture: "Mapping[str, Any]", num_tensors: int) -> None:
    """A number of layers beyond the tensors there are would only cost time and memory."""
    for values in (architecture.get("arguments"), architecture.get("config")):
        for name in ("num_layers", "depth"):
            count = values.get(name) if isinstance(values, dict) else None
            if isinstance(count, int) and count > num_tensors:
                raise ValueError(f"{name}={count} with {num_tensors} tensors")


def _build(
    kind: str, architecture: "Mapping[str, Any]", tokenizer: str, header: "Mapping[str, Any]", path: Path
) -> nn.Module:
    def fresh() -> nn.Module:
        if kind == "image":
            return ImageEncoder.from_architecture(architecture)
        return TextEncoder.from_architecture(architecture, tokenizer)

    if architecture.get("body") == "hub":  # transformers' models look at their weights while they are built
        encoder = fresh()
    else:
        # Without memory at first: shapes are compared before anything is allocated.
        with torch.device("meta"):
            encoder = fresh()
    _compare(encoder, header, path)
    encoder.load_state_dict(load_tensors(path), assign=True)
    for name, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"'{name}' is not among the weights")
    # The file has weights in the order of their shape; convolutions are faster with channels last.
    return encoder.to(memory_format=torch.channels_last) if kind == "image" else encoder  # type: ignore[call-overload]


def _compare(encoder: nn.Module, header: "Mapping[str, Any]", path: Path) -> None:
    """Raises unless the file has exactly the encoder's tensors, in shape and type."""
    wanted = {name: list(tensor.shape) for name, tensor in encoder.state_dict().items()}
    found = {name: entry for name, entry in header.items() if name != "__metadata__"}
    problems = []
    if missing := sorted(set(wanted) - set(found)):
        problems.append(f"missing {missing}")
    if unexpected := sorted(set(found) - set(wanted)):
        problems.append(f"unexpected {unexpected}")
    for name in sorted(set(wanted) & set(found)):
        entry = found[name]
        if list(entry["shape"]) != wanted[name]:
            problems.append(f"'{name}' has shape {list(entry['shape'])}, not {wanted[name]}")
        elif entry["dtype"] != "F32":
            problems.append(f"'{name}' is of type {entry['dtype']}, not F32")
    if problems:
        raise ArtifactError(
            f"{path} does not fit the architecture in {MANIFEST}: {'; '.join(problems)[:2000]}"
        )
