"""What keeps a folder in shape: segments merged, removed rows let go, shortlists built, old files deleted.

Nothing here changes what a search finds, and nothing counts before the manifest that is returned is written.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from brickwork.core.errors import ConfigError
from brickwork.core.files import atomic_path, remove_leftovers, write_json
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
from brickwork.index.planning import Frontier, choose_kind, measure_frontier, sample_queries, stage_dim
from brickwork.index.postings import ANALYZER
from brickwork.index.search import FlatVectors
from brickwork.index.segments import Segment, write_segment
from brickwork.index.shortlists import Shortlist, build_shortlist
from brickwork.index.snapshot import Snapshot
from brickwork.index.types import KINDS, Contents, Kind
from brickwork.index.versions import as_stretches, version_of_rows

MOST_REMOVED = 0.3
MOST_SEGMENTS = 32
MERGE_AT_LEAST = 16
LONGEST_TAIL = 0.2
# Smaller indexes are measured in a moment, when recall= or budget_ms= is first asked for.
MEASURE_FROM = 10_000


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


def merged(
    folder: Path, snapshot: Snapshot, first: int, *, words: bool = False, contents: Contents | None = None
) -> Manifest | None:
    """The next manifest, with all segments from ``first`` on written into one without their removed rows.

    ``words``: all segments are written, and with their words, which the index does not have yet. ``contents``: what the
    index holds from now on, with wider vectors: those that are there get zeros. ``None`` where nothing would change.
    """
    start = int(snapshot.starts[first])
    removed = snapshot.removed
    tidy = len(snapshot.segments) - first <= 1 and (removed is None or not removed[start:].any())
    if tidy and not words and contents is None:
        return None

    def parts() -> Iterator[tuple[Segment, np.ndarray]]:
        for begin, segment in list(snapshot.parts())[first:]:
            gone = None if removed is None else removed[begin : begin + len(segment)]
            rows = np.arange(len(segment)) if gone is None else np.flatnonzero(~gone)
            if len(rows):
                yield segment, rows

    manifest = replace(snapshot.manifest, analyzer=ANALYZER) if words else snapshot.manifest
    manifest = manifest if contents is None else replace(manifest, contents=contents)
    entry = write_segment(folder, f"{manifest.generation + 1:08d}", manifest, parts(), copy=True)
    if entry is not None and manifest.versions:
        kept = [version_of_rows(segment.entry.versions, len(segment))[rows] for segment, rows in parts()]
        entry = replace(entry, versions=as_stretches(np.concatenate(kept)))
    segments = (*manifest.segments[:first], *([] if entry is None else [entry]))
    files = {} if entry is None else file_entries(folder, segment_files(entry))
    name = ""
    if removed is not None and removed[:start].any():
        name, more = write_removed(folder, manifest.generation + 1, removed[:start])
        files |= more
    changes: dict[str, Any] = {"segments": segments, "removed": name}
    if not first:  # shortlists cover the first segment
        changes |= {"shortlists": (), "frontiers": {}}
    return with_files(manifest, files, **changes)


def write_removed(
    folder: Path, generation: int, marks: Bool[np.ndarray, " rows"]
) -> tuple[str, dict[str, FileEntry]]:
    """Writes which rows are removed; returns the file's name and its entry."""
    name = f"removed-{generation:08d}.bin"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(np.packbits(marks, bitorder="little").tobytes())
    return name, file_entries(folder, [name])


def chosen_kind(manifest: Manifest, rows: int) -> tuple[Kind, str]:
    """The kind of first stage for this number of rows, and why."""
    if manifest.contents.codec == "bits":
        return "flat", "flat: bits are compared as they are"
    if manifest.kind == "auto":
        return choose_kind(rows, manifest.contents.width, manifest.contents.dims)
    (kind,) = (kind for kind in KINDS if kind == manifest.kind)
    return kind, f"{kind}: as was asked for"


def shortlists_are_old(snapshot: Snapshot) -> bool:
    """Whether more than a fifth of the rows is in no shortlist of an index that should have them."""
    manifest = snapshot.manifest
    if not manifest.rows or chosen_kind(manifest, snapshot.live)[0] == "flat":
        return False
    covered = min((entry.rows for entry in manifest.shortlists), default=0)
    return manifest.rows - covered > LONGEST_TAIL * manifest.rows


def with_shortlists(folder: Path, snapshot: Snapshot) -> Manifest:
    """The next manifest, with shortlists over the one segment of this index, and what they find and cost."""
    manifest = snapshot.manifest
    segment = snapshot.segments[0]
    kind, reason = chosen_kind(manifest, len(segment))
    entries, frontiers = [], {}
    for depth in manifest.contents.depths:
        vectors, built = segment.flat(depth), []
        if kind != "flat":
            dim = stage_dim(kind, manifest.contents.dims)
            name = f"{SHORTLISTS}/{kind}-{dim}-{depth}-{manifest.generation + 1:08d}.safetensors"
            (folder / SHORTLISTS).mkdir(exist_ok=True)
            built = [build_shortlist(kind, vectors.vectors, dim)]
            built[0].save(folder / name)
            entries.append(ShortlistEntry(kind=kind, dim=dim, depth=depth, rows=len(segment), file=name))
        if len(segment) >= MEASURE_FROM:
            frontiers[str(depth)] = f"{SHORTLISTS}/frontier-{depth}-{manifest.generation + 1:08d}.json"
            measurement = measured(vectors, manifest.contents, built)
            write_json(folder / frontiers[str(depth)], measurement.to_dict())
    files = file_entries(folder, [*(entry.file for entry in entries), *frontiers.values()])
    return with_files(manifest, files, shortlists=tuple(entries), frontiers=frontiers, reason=reason)


def measured(vectors: FlatVectors, contents: Contents, shortlists: Sequence[Shortlist] = ()) -> Frontier:
    """What searches find and cost, with some documents as queries: through shortlists, or a scan of prefixes."""
    flat = build_shortlist("flat", vectors.vectors, stage_dim("flat", contents.dims))
    return measure_frontier(vectors, [flat, *shortlists], sample_queries(len(vectors)))


def check_kind(kind: str) -> None:
    """Refuses a kind of index that does not exist.

    Raises:
        ConfigError: lists the kinds.
    """
    if kind not in ("auto", *KINDS):
        raise ConfigError(f"kind={kind!r} is unknown; choose one of auto, {', '.join(KINDS)}")


def check_free(folder: Path) -> None:
    """Refuses a folder that holds something else than an index.

    Raises:
        ConfigError: names the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not an index; choose another folder")


def emptied(manifest: Manifest, contents: Contents, kind: str, *, analyzer: str) -> Manifest:
    """The manifest of an index that is built again in the same place: nothing of what was there counts."""
    gone: dict[str, Any] = {
        "reason": "",
        "segments": (),
        "shortlists": (),
        "versions": (),
        "widths": (),
        "dense_weight": None,
    }
    return replace(manifest, contents=contents, kind=kind, analyzer=analyzer, **gone)


def remove_unnamed(folder: Path, manifest: Manifest) -> None:
    """Deletes what interrupted or replaced writes left: files of ours that the manifest does not name.

    Files that no index writes are left alone. What cannot be deleted now is left to the next writer.
    """
    kept = {part for name in manifest.files for part in (name, str(Path(name).parent))}
    ours = ("segments/*", "shortlists/*", "removed-*.bin")
    paths = [path for pattern in ours for path in folder.glob(pattern)]
    paths += [path for path in folder.glob(f"{MODEL}*") if is_model_folder(path.name)]
    with contextlib.suppress(OSError):
        for place in (folder, folder / SEGMENTS, folder / SHORTLISTS):
            remove_leftovers(place)
        for path in paths:
            if path.relative_to(folder).as_posix() not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
