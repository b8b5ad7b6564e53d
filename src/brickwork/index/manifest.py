"""The manifest of an index: what belongs to it, vouched for by sizes and hashes, replaced in one step.

A folder holds

manifest.json, and a copy for repairs          generation, contents, and bytes and sha256 of every other file
segments/<name>/documents.arrow                id, title, text, source, meta by row (Arrow IPC, mapped)
segments/<name>/fields.arrow                   the metadata again, by field: what filters read
segments/<name>/words.arrow                    the words of the texts, and the rows of each: what lexical search reads
segments/<name>/vectors-<layers>.safetensors   unit vectors of full width, one file for each stored depth
removed-<generation>.bin                       one bit for each row that is removed
shortlists/*.safetensors                       first stages other than a scan, over the first rows
model/                                         the representation that encodes the queries

Segments never change. A change writes new files and then a new manifest, which takes the old one's place
atomically: whoever opens the folder sees the state before or after it.
"""

import contextlib
import hashlib
import mmap
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError, ConfigError, ResourceError
from brickwork.core.files import checksum, read_json, sha256_file, write_json
from brickwork.core.folders import known_folder
from brickwork.index.postings import WITH_WORDS
from brickwork.index.types import Contents, Kind

FORMAT = 5
# Format 4 had no words.
READABLE = (4, FORMAT)
MANIFEST = "manifest.json"
COPY = "manifest.copy.json"
MODEL = "model"
SEGMENTS = "segments"
SHORTLISTS = "shortlists"
DOCUMENTS = "documents.arrow"
FIELDS = "fields.arrow"
WORDS = "words.arrow"
NO_WORDS = "none"
REPAIR = "run `brickwork index {folder} --repair`"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """What a file must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SegmentEntry:
    """Rows that were written together: the files of their documents, of their metadata by field, of the vectors by
    depth, and of their words where the index compares words.

    ``versions``: stretches (version, rows) where later models than the index's first made some of the vectors.
    """

    rows: int
    documents: str
    fields: str
    vectors: dict[str, str]
    words: str = ""
    versions: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShortlistEntry:
    """A first stage over the first ``rows`` rows, on ``dim`` dimensions of the vectors after ``depth`` layers."""

    kind: Kind
    dim: int
    depth: int
    rows: int
    file: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index holds. ``store`` is the location of documents and vectors that are not in the folder.

    ``kind`` is what was asked for when the index was made, ``reason`` why its shortlists are what they are;
    ``frontiers`` are the files that tell, for each depth, what searches found and cost. ``versions`` are the
    fingerprints of the models that took over from the one of ``contents``, the oldest first; ``widths`` are the dimensions
    that the vectors of each model have, the first one's included, where a model grew (else empty). ``analyzer`` names how
    texts become words (``postings.ANALYZER``), or says that a model reads them off vectors (``MODEL_WORDS``); it is
    ``none`` where an index is made without words, and empty where it is older than that there were any. ``dense_weight``
    is how much the vectors count in hybrid searches that do not say it; ``None``: as much as the words.
    """

    format: int = FORMAT
    generation: int
    contents: Contents
    store: str = ""
    kind: str = "flat"
    reason: str = ""
    segments: tuple[SegmentEntry, ...] = ()
    removed: str = ""
    shortlists: tuple[ShortlistEntry, ...] = ()
    frontiers: dict[str, str] = field(default_factory=dict)
    model: str = MODEL
    analyzer: str = ""
    versions: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    dense_weight: float | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all segments, removed ones included."""
        return sum(segment.rows for segment in self.segments)

    @property
    def model_now(self) -> str:
        """The fingerprint of the model that encodes queries and new documents."""
        return self.versions[-1] if self.versions else self.contents.model


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the manifest atomically: the one moment at which a change happens."""
    values = to_dict(manifest)
    values["checksum"] = checksum(values)
    write_json(folder / MANIFEST, values)
    # Only for a repair, and after the change: that it could not be written is no reason to fail.
    with contextlib.suppress(OSError, ResourceError):
        write_json(folder / COPY, values)


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest:
    """The manifest of an index; its files are not looked at.

    Raises:
        ArtifactError: not an index, another format, or a manifest that is damaged or names files outside.
    """
    path = folder / name
    known = known_folder(folder)
    if known.kind not in ("index", "") or not path.is_file():
        if known.kind == "index":
            raise ArtifactError(f"{path} is missing; {REPAIR.format(folder=folder)}")
        if known.kind in ("", "empty"):
            what = f"it has no {MANIFEST}. Make one with `brickwork index`"
        else:
            what = f"it {known.about}"
        raise ArtifactError(f"{folder} is not an index: {what}")
    values = read_json(path)
    version = values.get("format") if isinstance(values, dict) else None
    if version not in READABLE:
        newer = isinstance(version, int) and version > FORMAT
        advice = "update Brickwork (pip install --upgrade brickwork), or " if newer else ""
        raise ArtifactError(
            f"{folder} has index format {version}; this version reads format {FORMAT}: {advice}build the index "
            "again (brickwork index)"
        )
    try:
        if values.pop("checksum", None) != checksum(values):
            raise ArtifactError(
                f"{path} is damaged: its checksum is not the recorded one; {REPAIR.format(folder=folder)}"
            )
        manifest = from_dict(Manifest, values)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); {REPAIR.format(folder=folder)}") from error
    _check_names(folder, manifest)
    return manifest


def _inside(folder: Path, name: str) -> bool:
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # a link to itself, or a name that no file can have
        return False


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Every file that is used is listed, and none lies outside of the folder."""
    root = folder.resolve()
    for name in manifest.files:
        if not _inside(root, name):
            raise ArtifactError(
                f"{folder / MANIFEST} names a file outside the index ({name}); it was refused"
            )
    if not is_model_folder(manifest.model):
        raise ArtifactError(f"{folder / MANIFEST} names a folder outside the index ({manifest.model})")
    depths = {str(depth) for depth in manifest.contents.depths}
    unlisted = [name for name in used_files(manifest) if name not in manifest.files]
    if unlisted:
        raise ArtifactError(f"{folder / MANIFEST} is damaged: {unlisted[0]} has no size and hash in it")
    if any(set(segment.vectors) != depths or segment.rows < 1 for segment in manifest.segments):
        raise ArtifactError(f"{folder / MANIFEST} is damaged: a segment has other depths than the index")
    if manifest.analyzer in WITH_WORDS and not all(segment.words for segment in manifest.segments):
        raise ArtifactError(f"{folder / MANIFEST} is damaged: a segment has no words, which others have")
    if manifest.widths and len(manifest.widths) != len(manifest.versions) + 1:
        raise ArtifactError(f"{folder / MANIFEST} is damaged: it has not one width for each model")
    for segment in manifest.segments:
        whole = not segment.versions or sum(rows for _, rows in segment.versions) == segment.rows
        if not whole or any(not 0 <= v <= len(manifest.versions) for v, _ in segment.versions):
            raise ArtifactError(f"{folder / MANIFEST} is damaged: a segment has versions that there are not")


def is_model_folder(name: str) -> bool:
    """Whether a folder within an index has a name that only its model has."""
    return re.fullmatch(rf"{MODEL}(-\d+)?", name) is not None


def check_size(folder: Path, name: str, entry: FileEntry) -> None:
    """Refuses a file that is missing or has another size, before anything of it is read.

    Raises:
        ArtifactError: names the file and what to do.
    """
    path = folder / name
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{path} is missing from the index; {REPAIR.format(folder=folder)}")
    if status.st_size != entry.bytes:
        raise ArtifactError(
            f"{path} is damaged: it has {status.st_size} bytes, the manifest says {entry.bytes}; "
            f"{REPAIR.format(folder=folder)}"
        )


def check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Refuses a file whose size or hash is not the recorded one. Raises as :func:`check_size`."""
    check_size(folder, name, entry)
    if sha256_file(folder / name) != entry.sha256:
        raise _other_hash(folder, name)


def _other_hash(folder: Path, name: str) -> ArtifactError:
    return ArtifactError(
        f"{folder / name} is damaged: its sha256 is not the recorded one; {REPAIR.format(folder=folder)}"
    )


def map_file(folder: Path, name: str, entry: FileEntry, *, verify: bool) -> mmap.mmap:
    """A file's bytes, mapped and not read; size first, then the hash where ``verify`` is set.

    What is mapped stays as it is for this reader, even when a writer removes the file.

    Raises:
        ArtifactError: as :func:`check_size`.
    """
    check_size(folder, name, entry)
    if not entry.bytes:
        raise ArtifactError(f"{folder / name} is empty; {REPAIR.format(folder=folder)}")
    with open(folder / name, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if verify and hashlib.sha256(mapped).hexdigest() != entry.sha256:
        raise _other_hash(folder, name)
    return mapped


def file_entries(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Sizes and hashes of files that were just written."""
    return {
        name: FileEntry(bytes=(folder / name).stat().st_size, sha256=sha256_file(folder / name))
        for name in names
    }


def files_below(folder: Path, part: str) -> list[str]:
    """The names, relative to ``folder``, of all files below its subfolder ``part``."""
    return sorted(p.relative_to(folder).as_posix() for p in (folder / part).rglob("*") if p.is_file())


def segment_files(entry: SegmentEntry) -> list[str]:
    """The names of the files of a segment."""
    return [entry.documents, entry.fields, *entry.vectors.values(), *([entry.words] if entry.words else [])]


def used_files(manifest: Manifest) -> list[str]:
    """The names of all files that an index needs, except those of its model."""
    return [
        *(name for segment in manifest.segments for name in segment_files(segment)),
        *([manifest.removed] if manifest.removed else []),
        *(entry.file for entry in manifest.shortlists),
        *manifest.frontiers.values(),
    ]


def with_files(manifest: Manifest, files: dict[str, FileEntry], **changes: Any) -> Manifest:
    """The next generation: ``changes`` made, ``files`` added, and files that nothing uses left out."""
    changed = replace(manifest, format=FORMAT, generation=manifest.generation + 1, **changes)
    used = set(used_files(changed))
    kept = {
        name: entry
        for name, entry in {**manifest.files, **files}.items()
        if name in used or name.startswith(f"{changed.model}/")
    }
    return replace(changed, files=kept)
