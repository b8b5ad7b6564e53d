"""A model as a folder: written file by file, read only after size, hash and shapes were compared.

model.safetensors   the weights
tokenizer.json      for texts
README.md           the model card, for people
brickwork.json      format version, kind, architecture, lineage, card, sha256 of the files, …

A model that is there is replaced at one moment, when brickwork.json is: the other files are written under pending
names before it and get their own after it. Reading and saving take a pending file for the one that the manifest
means if it has that hash, so a save that was killed at any point leaves the old model or the new one.

Two kinds of models are kept like this: encoders (:mod:`brickwork.representation.store`) and whole systems
(:mod:`brickwork.representation.kept`).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import brickwork
from brickwork.core.errors import AbsentModelError, ArtifactError, ConfigError
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
from brickwork.core.folders import known_folder

T = TypeVar("T")
MANIFEST = "brickwork.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
FORMAT_VERSION = 1
_PENDING = ".new-"
# The files that a model of each kind may have. Names come from here, so none can lead out of the folder.
_FILES: dict[str, tuple[set[str], ...]] = {
    "text": ({WEIGHTS, TOKENIZER},),
    "image": ({WEIGHTS},),
    "image-text": ({WEIGHTS, TOKENIZER},),
    "system": ({WEIGHTS}, {WEIGHTS, TOKENIZER}),
}
_TRIES = 10
_LOOKING = ("hub", "tower", "decoder")  # bodies of encoders
_MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
_DTYPES = {
    torch.float32: "F32",
    torch.int64: "I64",
    torch.bool: "BOOL",
    torch.float64: "F64",
    torch.uint8: "U8",
}


def fingerprint(architecture: Mapping[str, Any], tokenizer: str | None, tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that change with any weight, the architecture or the tokenizer."""
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    if tokenizer is not None:
        digest.update(tokenizer.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def tokenizer_json(tokenizer: Any) -> str:
    """A tokenizer as one line of JSON, the same before saving and after loading."""
    return json.dumps(json.loads(tokenizer.to_str()), sort_keys=True, ensure_ascii=False)


def write_folder(
    folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: str | None, card: str
) -> Path:
    """Writes a model; an existing folder keeps its other files, and its model until the new one is complete.

    Raises:
        ResourceError: disk full, read-only folder.
    """
    with os_errors(folder):
        there = folder.is_dir()
    if there:
        _write(folder, manifest, tensors, tokenizer, card)
    else:
        with atomic_folder(folder) as temporary:
            _write(temporary, manifest, tensors, tokenizer, card)
    return folder


def _write(
    folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], tokenizer: str | None, card: str
) -> None:
    with os_errors(folder):
        remove_leftovers(folder)
        _settle(folder)
    try:
        save_tensors(folder / f"{_PENDING}{WEIGHTS}", tensors, {"format": "pt"})
        names = {WEIGHTS}
        if tokenizer is not None:
            write_text(folder / f"{_PENDING}{TOKENIZER}", tokenizer)
            names.add(TOKENIZER)
        write_text(folder / "README.md", card)
        whole = {
            "format_version": FORMAT_VERSION,
            **manifest,
            "brickwork": brickwork.__version__,
            "sha256": {name: sha256_file(folder / f"{_PENDING}{name}") for name in sorted(names)},
        }
        write_json(folder / MANIFEST, {**whole, "checksum": checksum(whole)})
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
        return read_manifest(folder)["sha256"].get(name)
    except ArtifactError:
        return None


def unfinished(folder: Path) -> ArtifactError:
    """Why a folder without a manifest cannot be loaded."""
    if (folder / "checkpoints").is_dir():
        return ArtifactError(
            f"{folder} holds a training that has not finished; finish it with: brickwork resume {folder}"
        )
    known = known_folder(folder)
    if known.kind not in ("", "empty", "model"):
        return ArtifactError(f"{folder} holds no model: it {known.about}")
    return ArtifactError(
        f"{folder} holds no model: neither {MANIFEST} nor modules.json is there; choose a run folder or a "
        "SentenceTransformer folder"
    )


def read_folder(folder: Path, load: Callable[[dict[str, Any], dict[str, Path]], T]) -> T:
    """What ``load`` makes of the manifest and the checked files of ``folder``.

    Read again where another process was just saving over it.

    Raises:
        ArtifactError: of another format version, or a file is missing, damaged or unsafe, or tensors are
            missing, unexpected or of the wrong shape.
    """
    for _ in range(_TRIES):
        before = read_json(folder / MANIFEST)
        try:
            return _read(folder, load)
        except FileNotFoundError:
            continue  # a pending file got its own name
        except ArtifactError:
            if read_json(folder / MANIFEST) == before:
                raise
    raise ArtifactError(f"{folder} changes all the time: another process saves there; load it afterwards")


def _read(folder: Path, load: Callable[[dict[str, Any], dict[str, Path]], T]) -> T:
    manifest = read_manifest(folder)
    files = _check_files(folder, manifest["kind"], manifest["sha256"])
    where = folder / MANIFEST
    try:
        return load(manifest, files)
    except AbsentModelError as error:
        raise AbsentModelError(f"{folder}: {error}") from error
    except (ConfigError, ArtifactError) as error:
        if str(folder) in str(error):
            raise
        raise ArtifactError(f"{where} is damaged: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ArtifactError(
            f"{where} does not describe a model that can be built ({error!r:.200})"
        ) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder, its version, checksum and fields checked."""
    path = folder / MANIFEST
    manifest = read_json(path)
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {version!r}; this Brickwork ({brickwork.__version__}) reads "
            f"{FORMAT_VERSION}. Install a newer Brickwork, or make the folder again"
        )
    if manifest.get("checksum", checksum(manifest)) != checksum(manifest):
        raise ArtifactError(f"{path} is damaged (its checksum differs); use a good copy, or save again")
    for name in ("architecture", "lineage", "sha256", "card"):
        if not isinstance(manifest.get(name), dict):
            raise ArtifactError(f"{path} is damaged: '{name}' is missing or not an object")
    if manifest.get("kind") not in tuple(_FILES):
        raise ArtifactError(f"{path} is of kind {manifest.get('kind')!r}; known: {', '.join(_FILES)}")
    return manifest


def _check_files(folder: Path, kind: str, hashes: Mapping[str, Any]) -> dict[str, Path]:
    """Where every file that will be read is: one of ours, there, and what was written."""
    if set(hashes) not in _FILES[kind]:
        raise ArtifactError(
            f"{folder / MANIFEST} lists the files {sorted(map(str, hashes))}; a {kind} model has "
            f"{' or '.join(str(sorted(names)) for names in _FILES[kind])}. The folder is damaged or not safe"
        )
    paths = {}
    for name in sorted(hashes):
        pending = folder / f"{_PENDING}{name}"
        taken = pending.is_file() and sha256_file(pending) == hashes[name]
        paths[name] = pending if taken else folder / name
        _check_file(paths[name], hashes[name])
    return paths


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


def fill(module: nn.Module, path: Path) -> None:
    """Gives a module without memory the weights of a checked file.

    Raises:
        ArtifactError: the file has not exactly the module's tensors, in shape and type.
        ValueError: a parameter or buffer is not part of the state, and so has no value.
    """
    compare(module, check_tensor_file(path), path)
    tied = tied_names(module)
    module.load_state_dict(load_tensors(path), assign=True)
    for (
        name,
        source,
    ) in tied.items():  # assigned one by one, they would be two, in memory and where they are trained
        if torch.equal(module.get_parameter(name), own := module.get_parameter(source)):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, own)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            # The file has weights in the order of their shape; convolutions are faster with channels last.
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"'{name}' is not among the weights")


def tied_names(module: nn.Module) -> dict[str, str]:
    """Name of a parameter -> name of the one before it that it is one and the same with."""
    first: dict[int, str] = {}
    names = module.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in names if first.setdefault(id(p), name) != name}


def compare(module: nn.Module, header: Mapping[str, Any], path: Path) -> None:
    """Raises unless the file has exactly the module's tensors, in shape and type."""
    state = module.state_dict()
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    problems = []
    if missing := sorted(set(state) - set(entries)):
        problems.append(f"missing {missing}")
    if unexpected := sorted(set(entries) - set(state)):
        problems.append(f"unexpected {unexpected}")
    for name in sorted(set(state) & set(entries)):
        shape, dtype, entry = list(state[name].shape), _DTYPES.get(state[name].dtype), entries[name]
        if list(entry["shape"]) != shape:
            problems.append(f"'{name}' has shape {list(entry['shape'])}, not {shape}")
        elif entry["dtype"] != dtype:
            problems.append(f"'{name}' is of type {entry['dtype']}, not {dtype}")
    if problems:
        raise ArtifactError(
            f"{path} does not fit the architecture in {MANIFEST}: {'; '.join(problems)[:2000]}"
        )


def needs_memory(architecture: Mapping[str, Any]) -> bool:
    """Whether a part of what is described looks at its weights while it is built, as models of transformers do."""
    return any(name == "body" and item in _LOOKING for name, item in items(architecture))


def items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every name in plain values with what it stands for, at any depth."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield name, item
            yield from items(item)
    elif isinstance(value, list):
        for item in value:
            yield from items(item)
