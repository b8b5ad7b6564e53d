"""A newer model in the place of the one that an index was made with, without encoding its documents again.

That is possible where the newer model was trained for it: its lineage names the models whose vectors its own can be
compared with (``replaces``). Afterwards queries and new documents are encoded by it, and
the vectors that are there stay; which model made which rows is kept with each segment (index/versions.py).

A model may also have grown: its first dimensions are those of the older one (``extends``), and others come after them.
Vectors that are there stay as they are, with zeros behind them, and are compared by the dimensions that they have
(index/grown_rows.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brickwork.core.errors import ArtifactError
from brickwork.core.files import FolderLock
from brickwork.core.registry import successor_hint
from brickwork.index.maintenance import merged, remove_unnamed
from brickwork.index.manifest import (
    MODEL,
    Manifest,
    SegmentEntry,
    file_entries,
    files_below,
    read_manifest,
    with_files,
    write_manifest,
)
from brickwork.index.snapshot import Snapshot

if TYPE_CHECKING:
    from brickwork.representation.model import Representation


def check_successor(folder: Path, manifest: Manifest, representation: "Representation") -> None:
    """Refuses a model whose vectors cannot be compared with those of an index.

    Raises:
        ArtifactError: vectors of another length, a model that was not trained as a successor, or an index with
            vectors of shallower depths; says what to do.
    """
    contents, width = manifest.contents, representation.axes.full_dim
    grows = manifest.model_now in extended_by(representation)
    if grows and manifest.store:
        raise ArtifactError(
            f"{folder} has its vectors in {manifest.store}, where they cannot grow: build an index with this model in "
            "another place"
        )
    if grows and contents.codec != "float32":
        raise ArtifactError(
            f"{folder} keeps {contents.codec} of its vectors, which cannot grow: build an index with this model in another "
            "folder"
        )
    if grows and contents.width not in representation.axes.dims[:-1]:
        raise ArtifactError(
            f"{folder} holds vectors of {contents.width} dimensions, and this model grew from one of "
            f"{list(representation.axes.dims[:-1])}: build an index with it in another folder"
        )
    if width != contents.width and not grows:
        raise ArtifactError(
            f"{folder} holds vectors of {contents.width} dimensions and this model makes {width}: they cannot be compared. "
            f"Train the new model with as many dimensions ({successor_hint('OLD')}, and for texts "
            f"--set model.encoder.projection={contents.width}), or build an index with this model in another folder"
        )
    if not grows and manifest.model_now not in replaced_by(representation):
        raise ArtifactError(
            f"{folder} was built with model {manifest.model_now}, not {representation.fingerprint}: vectors of two "
            f"models cannot be compared unless one was trained to replace the other ({successor_hint('OLD')}). Give "
            "the model that built it, of which there is a copy in the index, or build an index with this model in another "
            "folder"
        )
    if contents.depths != contents.layers[-1:]:
        raise ArtifactError(
            f"{folder} holds vectors after {list(contents.depths)} layers; a successor can be compared with those of "
            f"the full depth only. Build an index of the full depth, --layers {contents.layers[-1]}"
        )


def replaced_by(representation: "Representation") -> Sequence[str]:
    """The fingerprints of the models whose vectors those of ``representation`` can be compared with."""
    return tuple(getattr(representation, "lineage", {}).get("replaces", ()))


def extended_by(representation: "Representation") -> Sequence[str]:
    """The fingerprints of the models whose dimensions are the first of ``representation``'s."""
    return tuple(getattr(representation, "lineage", {}).get("extends", ()))


def succeeded(folder: Path, manifest: Manifest, representation: "Representation") -> Manifest:
    """The next manifest, with ``representation``, saved beside the old model, as the one that encodes from now on."""
    check_successor(folder, manifest, representation)
    name = f"{MODEL}-{manifest.generation + 1}"
    representation.save(folder / name)
    versions = (*manifest.versions, representation.fingerprint)
    files = file_entries(folder, files_below(folder, name))
    widths = (*manifest.widths, representation.axes.full_dim) if manifest.widths else ()
    return with_files(manifest, files, versions=versions, widths=widths, model=name)


def grown(folder: Path, snapshot: Snapshot, representation: "Representation") -> Manifest:
    """The next manifest after a model that grew took over: all rows in one segment of its width, nothing encoded, and no
    shortlists, which are built again."""
    before = snapshot.manifest
    check_successor(folder, before, representation)
    dims = (*before.contents.dims, *(d for d in representation.axes.dims if d > before.contents.width))
    widths = before.widths or (before.contents.width,) * (len(before.versions) + 1)
    wider = (
        merged(folder, snapshot, 0, contents=replace(before.contents, dims=dims))
        if snapshot.segments
        else None
    )
    manifest = wider or replace(before, contents=replace(before.contents, dims=dims))
    name = f"{MODEL}-{manifest.generation + 1}"
    representation.save(folder / name)
    files = file_entries(folder, files_below(folder, name))
    return with_files(
        manifest,
        files,
        versions=(*before.versions, representation.fingerprint),
        widths=(*widths, representation.axes.full_dim),
        model=name,
    )


def made_now(entry: SegmentEntry, manifest: Manifest) -> SegmentEntry:
    """A segment that was just encoded, by the model of now."""
    return replace(entry, versions=((len(manifest.versions), entry.rows),)) if manifest.versions else entry


def replace_beside_store(folder: Path, representation: "Representation") -> None:
    """The same for an index whose documents are elsewhere: only the folder changes.

    Raises:
        ArtifactError: as :func:`check_successor`.
        ResourceError: another process writes there; no permission; the disk is full.
    """
    with FolderLock(folder, "replacing the model"):
        manifest = read_manifest(folder)
        if manifest.model_now != representation.fingerprint:
            manifest = succeeded(folder, manifest, representation)
            write_manifest(folder, manifest)
            remove_unnamed(folder, manifest)


def keep_weight_beside_store(folder: Path, weight: float | None) -> None:
    """The weight of hybrid searches of an index whose documents are elsewhere. Raises ResourceError as above."""
    with FolderLock(folder, "keeping a weight"):
        write_manifest(folder, with_files(read_manifest(folder), {}, dense_weight=weight))
