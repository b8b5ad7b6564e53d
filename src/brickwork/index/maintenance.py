"""What keeps a folder in shape: segments merged, removed rows let go, shortlists built, old files deleted.

Nothing here changes what a search finds, and nothing counts before the manifest that is returned is written.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from brickwork.core.errors import ConfigError
from brickwork.core.files import atomic_path, remove_leftovers
from brickwork.index.manifest import (
    MODEL,
    SEGMENTS,
    SHORTLISTS,
    FileEntry,
    Manifest,
    ShortlistEntry,
    file_entries,
    is_model_folder,
    segment_files,
    with_files,
)
from brickwork.index.segments import Segment, Snapshot, write_segment
from brickwork.index.types import KINDS, Kind

MOST_REMOVED = 0.3
MOST_SEGMENTS = 32
MERGE_AT_LEAST = 16
LONGEST_TAIL = 0.2


def first_to_merge(snapshot: Snapshot) -> int | None:
    """The segment from which on all become one, or ``None`` if the index is in shape.

    All of them when three rows in ten are removed. Else, when there are more than 32, the newest ones: at least
    sixteen, and on backwards as long as a segment is not larger than what follows it, so that a row is copied
    only a few times in its life.
    """
    rows = snapshot.manifest.rows
    if rows - snapshot.live > MOST_REMOVED * rows:
        return 0
    lengths = [len(segment) for segment in snapshot.segments]
    if len(lengths) <= MOST_SEGMENTS:
        return None
    first = len(lengths) - MERGE_AT_LEAST
    while first and lengths[first - 1] <= sum(lengths[first:]):
        first -= 1
    return first


def merged(folder: Path, snapshot: Snapshot, first: int) -> Manifest | None:
    """The next manifest, with all segments from ``first`` on written into one without their removed rows.

    ``None`` where that would change nothing.
    """
    start = int(snapshot.starts[first])
    removed = snapshot.removed
    if len(snapshot.segments) - first <= 1 and (removed is None or not removed[start:].any()):
        return None

    def parts() -> Iterator[tuple[Segment, np.ndarray]]:
        for begin, segment in list(snapshot.parts())[first:]:
            gone = None if removed is None else removed[begin : begin + len(segment)]
            rows = np.arange(len(segment)) if gone is None else np.flatnonzero(~gone)
            if len(rows):
                yield segment, rows

    manifest = snapshot.manifest
    entry = write_segment(folder, f"{manifest.generation + 1:08d}", manifest, parts(), copy=True)
    segments = (*manifest.segments[:first], *([] if entry is None else [entry]))
    files = {} if entry is None else file_entries(folder, segment_files(entry))
    name = ""
    if removed is not None and removed[:start].any():
        name, more = write_removed(folder, manifest.generation + 1, removed[:start])
        files |= more
    # A shortlist covers the first segment.
    shortlists = manifest.shortlists if first else ()
    return with_files(manifest, files, segments=segments, removed=name, shortlists=shortlists)


def write_removed(
    folder: Path, generation: int, marks: Bool[np.ndarray, " rows"]
) -> tuple[str, dict[str, FileEntry]]:
    """Writes which rows are removed; returns the file's name and its entry."""
    name = f"removed-{generation:08d}.bin"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(np.packbits(marks, bitorder="little").tobytes())
    return name, file_entries(folder, [name])


def wants_shortlists(manifest: Manifest) -> bool:
    """Whether an index of this kind has other first stages than the scan."""
    return bool(manifest.segments) and manifest.kind != "flat"


def shortlists_are_old(snapshot: Snapshot) -> bool:
    """Whether more than a fifth of the rows is in no shortlist of an index that should have them."""
    manifest = snapshot.manifest
    covered = min((entry.rows for entry in manifest.shortlists), default=0)
    return wants_shortlists(manifest) and manifest.rows - covered > LONGEST_TAIL * manifest.rows


def with_shortlists(folder: Path, snapshot: Snapshot) -> Manifest | None:
    """The next manifest, with the shortlists of this index built over its one segment; ``None`` if it has none."""
    from brickwork.index.shortlists import build_shortlist

    if not snapshot.segments:
        return None
    manifest = snapshot.manifest
    entries = []
    for kind, dim, depth in _chosen(manifest):
        name = f"{SHORTLISTS}/{kind}-{dim}-{depth}-{manifest.generation + 1:08d}.safetensors"
        (folder / SHORTLISTS).mkdir(exist_ok=True)
        build_shortlist(kind, snapshot.segments[0].flat(depth).vectors, dim).save(folder / name)
        entries.append(
            ShortlistEntry(kind=kind, dim=dim, depth=depth, rows=len(snapshot.segments[0]), file=name)
        )
    files = file_entries(folder, [entry.file for entry in entries])
    return with_files(manifest, files, shortlists=tuple(entries))


def _chosen(manifest: Manifest) -> list[tuple[Kind, int, int]]:
    """Kind, prefix and depth of each shortlist that the index asks for."""
    from brickwork.core.elastic import ElasticAxes
    from brickwork.index.search import shortlist_dim

    contents = manifest.contents
    dim = shortlist_dim(ElasticAxes(dims=contents.dims, layers=contents.layers))
    kinds = [kind for kind in KINDS if kind == manifest.kind and kind != "flat"]
    return [(kind, dim, depth) for kind in kinds for depth in contents.depths]


def check_kind(kind: str) -> None:
    """Refuses a kind of index that does not exist.

    Raises:
        ConfigError: lists the kinds.
    """
    if kind not in ("auto", *KINDS):
        raise ConfigError(f"kind={kind!r} is unknown; choose one of auto, {', '.join(KINDS)}")


def remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Deletes what interrupted or replaced writes left: files of ours that the manifest does not name.

    Files that no index writes are left alone.
    """
    remove_leftovers(folder)
    for part in (SEGMENTS, SHORTLISTS):
        remove_leftovers(folder / part)
        for path in (folder / part).glob("*"):
            name = path.relative_to(folder).as_posix()
            if not any(known == name or known.startswith(f"{name}/") for known in manifest.files):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for path in folder.glob(f"{MODEL}*"):
        if is_model_folder(path.name) and path.name != manifest.model:
            shutil.rmtree(path, ignore_errors=True)
    # The last two are what format 1 had beside the manifest.
    for pattern in ("removed-*.bin", "documents.arrow", "vectors-*-*.safetensors"):
        for path in folder.glob(pattern):
            if path.name not in manifest.files:
                path.unlink(missing_ok=True)
