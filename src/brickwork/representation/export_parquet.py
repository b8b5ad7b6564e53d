"""Any number of documents to vectors on disk, in Parquet files that other tools open; resumes after a kill.

A folder holds ``vectors-00000.parquet`` … (columns id, title, text, and vector or, of the sparse view, words) and
``vectors.json``, which lists the finished shards with their hashes and is written after each of them. On resuming,
finished shards are kept: the input is read past their documents, and a hash of those proves that it is still the same input.
Memory holds one shard at a time.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from brickwork.core.console import progress_bar
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.files import (
    FolderLock,
    atomic_path,
    checksum,
    read_json,
    remove_leftovers,
    sha256_file,
    write_json,
)
from brickwork.core.text import clean_text
from brickwork.data.types import Document
from brickwork.representation.cuts import counting_cuts

if TYPE_CHECKING:
    from brickwork.representation.model import Representation

MANIFEST = "vectors.json"
FORMAT_VERSION = 1
SHARD_SIZE = 10_000
# A shard also ends here, so that memory stays flat when documents are long.
SHARD_CHARACTERS = 64_000_000
# What encode_ray calls its shards: by the place of their rows in the input, and a hash of those.
OF_PART = re.compile(r"vectors-\d{5,}-\d{10,}-[0-9a-f]{16}\.parquet")
_WORDS = "words"  # what vectors of the sparse view are made of, where others say their type of numbers
SETTINGS = ("format_version", "model", "dim", "layers", "dtype", "normalize", "shard_size")


def document_text(document: Document) -> str:
    """What is encoded of a document: its title, unless the text begins with it, and its text."""
    if not document.title or document.text.startswith(document.title):
        return document.text
    return f"{document.title}\n{document.text}"


def check_reads_texts(representation: "Representation") -> None:
    """Refuses a model of images, before its texts are read.

    Raises:
        ConfigError: says how images are encoded.
    """
    if getattr(representation.encoder, "kind", "text") == "image":
        raise ConfigError(
            "--ray reads tables of texts, and this model reads images: leave it out, and encode a folder of them here"
        )


def encode_to_disk(
    representation: "Representation",
    documents: Iterable[Document | str],
    folder: Path | str,
    *,
    dim: int | None = None,
    layers: int | None = None,
    dtype: str = "float32",
    view: str = "dense",
    normalize: bool = True,
    shard_size: int = SHARD_SIZE,
    batch_size: int | None = None,
    token_budget: int | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> dict[str, Any]:
    """Encodes a stream of documents, of any number, into Parquet shards in ``folder``.

    A plain string is a document whose id is its row number; of one with an image the image is encoded. Calling it
    again with the same arguments after a kill keeps the finished shards. ``view`` ``sparse``: in place of a vector, the
    words that it is read as and their weights, of a model that reads words.

    Returns:
        ``documents``, ``shards``, ``reused`` (documents that earlier calls had done), ``dim``, ``layers``.

    Raises:
        ConfigError: wrong size or type; or ``folder`` holds vectors of another model or of other settings.
        DataError: no documents, or the input changed since the finished shards were written.
        ArtifactError: a finished shard is missing or damaged.
        ResourceError: the disk is full, or another process writes there.
    """
    folder = Path(folder)
    dim, layers = representation.size(dim, layers)
    if dtype not in ("float32", "float16"):
        raise ConfigError(f"dtype is {dtype!r}; choose one of 'float32', 'float16'")
    reads = _word_reader(representation, view, dim, layers)
    dtype = dtype if reads is None else _WORDS
    if shard_size < 1:
        raise ConfigError(f"shard_size is {shard_size}; it must be at least 1")
    settings = dict(
        zip(
            SETTINGS,
            (FORMAT_VERSION, representation.fingerprint, dim, layers, dtype, normalize, shard_size),
            strict=True,
        )
    )
    total = len(documents) if isinstance(documents, Sized) else None
    with (
        FolderLock(folder, "encoding"),
        counter(progress, total) as advance,
        counting_cuts(representation) as count,
    ):
        remove_leftovers(folder)
        manifest = open_folder(folder, settings)
        shards, done = manifest["shards"], 0
        pending = _shards(documents, shard_size)
        for number, shard in enumerate(shards):
            _check_unchanged(folder, shard, number, next(pending, []))
            done += shard["documents"]
            advance(shard["documents"], True)
        reused = done
        for number, rows in enumerate(pending, len(shards)):
            if manifest["complete"]:
                raise DataError(
                    f"{folder} was finished with {done} documents and the input now has more; "
                    "choose another folder, or remove this one"
                )
            vectors = representation.encode(
                _inputs(representation, rows),
                dim=dim,
                layers=layers,
                normalize=normalize,
                batch_size=batch_size,
                token_budget=token_budget,
                precision=precision,
                progress=advance,
            )
            name = f"vectors-{number:05d}.parquet"
            write_shard(folder / name, rows, vectors if reads is None else reads(vectors), dtype)
            done += len(rows)
            count(len(rows))
            shards.append(
                {
                    "file": name,
                    "documents": len(rows),
                    "documents_sha256": documents_digest(rows),
                    "sha256": sha256_file(folder / name),
                }
            )
            _write_manifest(folder, manifest)
        if not done:
            raise DataError("there are no documents to encode; check the path and the columns")
        manifest["complete"] = True
        _write_manifest(folder, manifest)
    return {"documents": done, "shards": len(shards), "reused": reused, "dim": dim, "layers": layers}


def _word_reader(
    representation: "Representation", view: str, dim: int, layers: int
) -> Callable[[np.ndarray], list[dict[str, float]]] | None:
    """What reads words off whole vectors, for the sparse view."""
    from brickwork.core.types import ReadsWords  # which brings torch

    if view not in ("dense", "sparse"):
        raise ConfigError(f"view is {view!r}; choose dense or sparse")
    if view == "dense":
        return None
    if not isinstance(representation, ReadsWords):
        raise ConfigError("the vectors of this model cannot be read as words; leave --view sparse out")
    if (dim, layers) != (representation.axes.full_dim, representation.axes.num_layers):
        raise ConfigError("the sparse view is read off whole vectors; leave --dim and --layers out")
    return representation.words_of


def _inputs(representation: "Representation", rows: Sequence[Document]) -> Any:
    """What is encoded of documents: their images, or their texts."""
    if rows[0].image is None:
        if representation.encoder.kind == "image":
            raise DataError(
                f"this model reads images, and '{rows[0].id}' is a text; give documents with images"
            )
        return [document_text(row) for row in rows]
    return np.stack([np.asarray(row.image) for row in rows])


def read_vectors(folder: Path | str) -> Iterator[tuple[list[str], np.ndarray]]:
    """(ids, vectors) of each finished shard, in order, after checking its hash.

    Raises:
        ArtifactError: the folder holds no vectors, or a shard is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    manifest = _read_manifest(folder)
    for shard in manifest["shards"]:
        _check_file(folder, shard)
        try:
            table = pq.read_table(folder / shard["file"], columns=["id", "vector"], use_threads=False)
            flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            ids, vectors = table["id"].to_pylist(), flat.reshape(table.num_rows, manifest["dim"])
        except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
            raise ArtifactError(
                f"{folder / shard['file']} does not hold vectors of {manifest['dim']!r:.20} dimensions ({error!r:.200}); "
                "encode again"
            ) from error
        yield ids, vectors


def open_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what was begun here, or a new one."""
    if not (folder / MANIFEST).is_file():
        others = [item.name for item in folder.iterdir() if item.name != ".lock"]
        if others:
            raise ConfigError(
                f"{folder} is not empty and holds no vectors ({others[0]}); choose another folder"
            )
        return {**settings, "complete": False, "shards": []}
    manifest = _read_manifest(folder)
    for name in SETTINGS:
        if manifest[name] != settings[name]:
            raise ConfigError(
                f"{folder} was begun with {name}={manifest[name]!r}, and now it is {settings[name]!r}; "
                "choose another folder, or remove this one"
            )
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / MANIFEST, {**manifest, "checksum": checksum(manifest)})


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder / MANIFEST} has format version {version!r}; this Brickwork reads {FORMAT_VERSION}. "
            "Encode again, or use the version that wrote it"
        )
    if manifest.pop("checksum", checksum(manifest)) != checksum(manifest):
        raise ArtifactError(f"{folder / MANIFEST} is damaged (its checksum differs); encode again")
    try:
        for number, shard in enumerate(manifest["shards"]):
            names = (manifest[name] for name in (*SETTINGS, "complete"))
            if not all(value is not None for value in names) or shard["documents"] < 1:
                raise ValueError("a setting is empty")
            if not all(isinstance(shard[name], str) for name in ("file", "sha256", "documents_sha256")):
                raise ValueError(f"shard {number} has no hashes")
            if shard["file"] != f"vectors-{number:05d}.parquet" and not OF_PART.fullmatch(shard["file"]):
                raise ValueError(f"shard {number} is called {shard['file']!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / MANIFEST} is damaged ({error!r}); encode again") from error
    return manifest


def _check_file(folder: Path, shard: dict[str, Any]) -> None:
    path = folder / shard["file"]
    if not path.is_file() or sha256_file(path) != shard["sha256"]:
        raise ArtifactError(f"{path} is missing or not what was written (its SHA-256 differs); encode again")


def _check_unchanged(folder: Path, shard: dict[str, Any], number: int, rows: Sequence[Document]) -> None:
    _check_file(folder, shard)
    if len(rows) != shard["documents"] or documents_digest(rows) != shard["documents_sha256"]:
        raise DataError(
            f"the input is not the one that {folder} was begun with: the documents of shard {number} differ; "
            "choose another folder, or remove this one"
        )


def _shards(documents: Iterable[Document | str], shard_size: int) -> Iterator[list[Document]]:
    """The documents in lists of ``shard_size``, shorter ones where the texts are very long, or images large."""
    rows: list[Document] = []
    size = 0
    for number, item in enumerate(documents):
        row = Document(id=str(number), title="", text=item, source="") if isinstance(item, str) else item
        own = len(row.text) if row.image is None else row.image.nbytes
        if rows and (len(rows) == shard_size or size + own > SHARD_CHARACTERS):
            yield rows
            rows, size = [], 0
        rows.append(row)
        size += own
    if rows:
        yield rows


def documents_digest(rows: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.id, row.title, row.text]).encode())
        if row.image is not None:
            digest.update(np.ascontiguousarray(row.image).tobytes())
    return digest.hexdigest()


def write_shard(
    path: Path,
    rows: Sequence[Document],
    vectors: np.ndarray | list[dict[str, float]],
    dtype: str,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes the Parquet file of a shard, atomically; ``notes`` stand in its header. ``vectors`` may be weights of words.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from brickwork.core.files import os_errors

    columns: dict[str, pa.Array] = {
        "id": pa.array([clean_text(row.id) for row in rows], pa.string()),
        "title": pa.array([clean_text(row.title) for row in rows], pa.large_string()),
        "text": pa.array([clean_text(row.text) for row in rows], pa.large_string()),
    }
    if isinstance(vectors, list):
        columns["words"] = pa.array(
            [list(one.items()) for one in vectors], pa.map_(pa.string(), pa.float32())
        )
    else:
        flat = pa.array(vectors.astype(dtype, copy=False).reshape(-1))
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    kept = {"vector.list.element": "none"} if "vector" in columns else {"words.key_value.key": "zstd"}
    compression = {"id": "zstd", "title": "zstd", "text": "zstd", **kept}
    with atomic_path(path) as temporary, os_errors(path):
        pq.write_table(
            pa.table(columns, metadata=dict(notes) if notes else None),
            temporary,
            compression=cast(Any, compression),
            use_dictionary=False,
            write_statistics=False,
        )


@contextlib.contextmanager
def counter(wanted: bool, total: int | None) -> Iterator[Callable[..., None]]:
    """What to call with a number of documents done (and True if an earlier call did them)."""
    if not wanted:
        yield lambda count, reused=False: None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} documents, {task.fields[speed]}/s"))
    with progress_bar(*columns, TimeElapsedColumn(), "left", TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total, speed="0")
        fresh = 0

        def advance(count: int, reused: bool = False) -> None:
            nonlocal fresh
            fresh += 0 if reused else count
            bar.update(task, advance=count, speed=f"{fresh / (bar.tasks[0].elapsed or 1e-9):,.0f}")

        yield advance
