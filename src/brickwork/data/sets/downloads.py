"""Official files, fetched into the user's cache, checked, and brought into the layout that is read."""

import io
import json
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from brickwork.core.console import progress_bar
from brickwork.core.errors import DataError
from brickwork.core.files import atomic_path, os_errors, sha256_file
from brickwork.data.sets.source import Source, cache_folder

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30


def fetch(source: Source) -> Path:
    """Downloads the official file of a set with a progress bar, checks its SHA-256 and converts it.

    Returns the data folder (in the cache) that now holds the files of the set.

    Raises:
        DataError: no network, or the file is not the one that is known.
        ResourceError: the cache cannot be written.
    """
    root = cache_folder() / "data"
    archive = cache_folder() / "downloads" / source.download.rpartition("/")[2]
    with os_errors(archive):
        if not archive.is_file():
            with atomic_path(archive) as temporary:
                _download(source, temporary)
                _check(source, temporary)
        _check(source, archive)
        _CONVERTERS[source.name](archive, root)
        archive.unlink()
    return root


def _download(source: Source, path: Path) -> None:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    try:
        with (
            urllib.request.urlopen(source.download, timeout=_TIMEOUT_SECONDS) as answer,
            open(path, "wb") as file,
            progress_bar(*columns, transient=True) as progress,
        ):
            size = answer.headers.get("Content-Length")
            task = progress.add_task(f"downloading {source.name}", total=int(size) if size else None)
            while part := answer.read(_CHUNK):
                file.write(part)
                progress.advance(task, len(part))
    except urllib.error.URLError as error:
        raise DataError(
            f"the data set '{source.name}' is not on this machine and could not be downloaded from "
            f"{source.download} ({error.reason}). With a network it comes by itself; without one, set "
            f"BRICKWORK_DATA to a folder that holds {', '.join(source.files)}"
        ) from error


def _check(source: Source, path: Path) -> None:
    digest = sha256_file(path)
    if digest != source.sha256:
        path.unlink(missing_ok=True)
        raise DataError(
            f"{source.download} gave a file with SHA-256 {digest}, expected {source.sha256}: it was removed. "
            "Try again; if it stays so, the official file has changed"
        )


def _mnist(archive: Path, root: Path) -> None:
    names = {
        "x_train": "train_images",
        "y_train": "train_labels",
        "x_test": "test_images",
        "y_test": "test_labels",
    }
    with np.load(archive, allow_pickle=False) as file:
        arrays = {ours: file[theirs] for theirs, ours in names.items()}
    with atomic_path(root / "mnist" / "mnist.npz") as temporary, open(temporary, "wb") as out:
        np.savez_compressed(out, **arrays)


def _cifar10(archive: Path, root: Path) -> None:
    """Records of one byte for the class and 3 × 32 × 32 for the pixels, kept without loss as PNG."""
    import pyarrow as pa
    import pyarrow.parquet
    from PIL import Image

    parts = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
    with tarfile.open(archive) as tar:
        members = {Path(member.name).name: member for member in tar if member.isfile()}

        def read(name: str) -> bytes:
            file = tar.extractfile(members[name])
            assert file is not None
            return file.read()

        names = read("batches.meta.txt").decode().split()
        for part, files in parts.items():
            records = np.frombuffer(b"".join(map(read, files)), dtype=np.uint8).reshape(-1, 3073)
            # The official order within a batch is random; across parts it stays as it is.
            images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            encoded = []
            for image in images:
                buffer = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", compress_level=1)
                encoded.append(buffer.getvalue())
            labels = records[:, 0].astype(np.int8)
            table = pa.table(
                {"image": encoded, "label": labels, "name": [names[label] for label in labels.tolist()]}
            )
            with atomic_path(root / "cifar10" / f"{part}.parquet") as temporary:
                pyarrow.parquet.write_table(table, temporary, compression="none")


def _snli(archive: Path, root: Path) -> None:
    """The dev and test parts; rows without an agreed label are left out, as is usual."""
    import pyarrow as pa
    import pyarrow.parquet

    columns: dict[str, list[str]] = {"split": [], "premise": [], "hypothesis": [], "label": []}
    with zipfile.ZipFile(archive) as file:
        for part in ("dev", "test"):
            with file.open(f"snli_1.0/snli_1.0_{part}.jsonl") as rows:
                for line in rows:
                    row = json.loads(line)
                    if row["gold_label"] != "-":
                        columns["split"].append(part)
                        columns["premise"].append(row["sentence1"])
                        columns["hypothesis"].append(row["sentence2"])
                        columns["label"].append(row["gold_label"])
    with atomic_path(root / "nli_paraphrase" / "snli_dev_test.parquet") as temporary:
        pyarrow.parquet.write_table(pa.table(columns), temporary, compression="zstd")


_CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "nli_snli": _snli,
}
