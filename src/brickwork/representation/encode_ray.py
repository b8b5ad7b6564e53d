"""A corpus to vectors on disk with many workers, on this machine or on a cluster, by Ray Data.

The input is Parquet and JSONL files; each part of them (parts.py) becomes one shard of the output folder, written
atomically by whichever worker has it, and named by the place of its rows and their hash. So a worker that dies
costs its current shard, which another worker makes; a second call makes what is missing; and an input that has
changed is told by names that do not fit. The folder is read like that of ``encode_to_disk`` (``read_vectors``).

Model, input and output have to be on a file system that all machines of a cluster see under the same paths.
"""

import contextlib
import functools
import itertools
import json
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brickwork.core.errors import ConfigError, DataError, MissingExtraError, warn
from brickwork.core.files import FolderLock, remove_leftovers, write_json
from brickwork.data.config import ColumnNames
from brickwork.data.readers.files import ReadReport
from brickwork.representation.export_parquet import (
    FORMAT_VERSION,
    MANIFEST,
    SETTINGS,
    SHARD_SIZE,
    check_reads_texts,
    counter,
    open_folder,
)
from brickwork.representation.inference import Precision
from brickwork.representation.parts import Part, parts_task, raise_collected, table_files
from brickwork.representation.ray_worker import Job, Worker

_SHARDS = "vectors-*.parquet"
_SAVE_SECONDS = 5.0
_MOST_BLOCKS = 10_000
# Ray only carries names of parts and counts: about the smallest store that it accepts is enough.
_STORE_BYTES = 100 * 1024 * 1024


def encode_with_ray(
    model: Path | str,
    data: Path | str,
    folder: Path | str,
    *,
    address: str = "local",
    workers: int | None = None,
    gpus: float = 0,
    columns: ColumnNames | None = None,
    dim: int | None = None,
    layers: int | None = None,
    dtype: str = "float32",
    normalize: bool = True,
    shard_size: int = SHARD_SIZE,
    precision: Precision = "auto",
    progress: bool = False,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Encodes the Parquet and JSONL files of ``data`` (a file or a folder) into shards in ``folder``.

    ``address``: ``local`` starts Ray on this machine for the time of the call; ``auto`` finds the cluster that
    this machine is part of; ``HOST:PORT`` is one. A Ray that this program runs already is used as it is.
    ``workers``: processes with a model and one thread each, by default one a core (or a GPU); ``gpus``: of each
    worker. ``shard_size`` is in rows. Links that lead out of ``data`` are followed with ``allow_outside`` only.

    Returns:
        ``documents``, ``shards``, ``reused`` (documents that earlier calls had done), ``skipped`` (rows without a
        text that can be read), ``dim``, ``layers``.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: wrong size, type or address; or ``folder`` holds vectors of another model or other settings.
        DataError: no documents, a damaged file, or the input changed since the finished shards were written.
        ArtifactError: a finished shard is damaged.
        ResourceError: the disk is full, another process writes there, or a part kills every worker it is given to.
    """
    ray = _import_ray()
    from brickwork.representation.load import load_representation
    from brickwork.training.run import texts_of

    if dtype not in ("float32", "float16"):
        raise ConfigError(f"dtype is {dtype!r}; choose one of 'float32', 'float16'")
    for name, value in (("shard_size", shard_size), ("workers", 1 if workers is None else workers)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    data, folder = Path(data).expanduser().absolute(), Path(folder).expanduser().absolute()
    representation = load_representation(model)  # the data is looked at after what the model cannot do
    check_reads_texts(representation)
    dim, layers = representation.size(dim, layers)
    names = _input_files(data, allow_outside)
    job = Job(
        model=str(Path(model).absolute() if Path(model).exists() else model),
        fingerprint=representation.fingerprint,
        data=data,
        folder=folder,
        dim=dim,
        layers=layers,
        dtype=dtype,
        normalize=normalize,
        precision=precision,
        gpu=gpus > 0,
        texts=texts_of(representation),
    )
    del representation  # the workers have their own
    settings = (FORMAT_VERSION, job.fingerprint, dim, layers, dtype, normalize, shard_size)
    with FolderLock(folder, "encoding"):
        remove_leftovers(folder)
        manifest = open_folder(folder, dict(zip(SETTINGS, settings, strict=True)))
        write_json(folder / MANIFEST, manifest)  # a worker looks whether it sees the folder
        before = {name: _state(data / name) for name in names}
        with _cluster(ray, address, workers, gpus) as most:
            parts = _survey(ray, job, names, columns or ColumnNames(), shard_size)
            _check_folder(folder, parts, manifest)
            with counter(progress, sum(part.rows for part in parts)) as advance:
                totals = _encode(ray, job, parts, manifest, most, gpus, advance)
        remove_leftovers(folder)
        for name in names:
            if _state(data / name) != before[name]:
                raise DataError(
                    f"{data / name} changed while it was encoded; remove {folder} and encode again when "
                    "nobody writes to the input"
                )
        if not manifest["shards"]:
            raise DataError(f"{data} holds no text that can be read: {'; '.join(totals.report.messages())}")
        manifest |= {"complete": True, "parts": len(parts)}
        write_json(folder / MANIFEST, manifest)
    totals.warn()
    return {
        "documents": totals.documents,
        "shards": len(manifest["shards"]),
        "reused": totals.reused,
        "skipped": sum(totals.report.skipped.values()),
        "dim": dim,
        "layers": layers,
    }


class _Totals:
    """What the shards' notes say, added up."""

    def __init__(self) -> None:
        self.documents = self.reused = self.cut = 0
        self.report = ReadReport()

    def add(self, notes: dict[str, Any], reused: bool) -> None:
        self.documents += notes["documents"]
        self.reused += notes["documents"] if reused else 0
        self.cut += notes["cut"]
        repairs = notes["repairs"]
        for name in ("invalid_utf8", "nul_bytes", "truncated"):
            setattr(self.report, name, getattr(self.report, name) + repairs[name])
        self.report.skipped.update(repairs["skipped"])
        for reason, where in repairs["first"].items():
            self.report.first.setdefault(reason, where)

    def warn(self) -> None:
        """One warning for each kind of repair, and one for texts that are longer than the model reads."""
        self.report.used(self.documents, self.documents + sum(self.report.skipped.values()))
        self.report.warn()
        if self.cut:
            warn(
                f"{self.cut:,} of {self.documents:,} texts are longer than the model reads and were cut there; "
                "split long texts into passages to keep all of them"
            )


def _survey(ray: Any, job: Job, names: list[str], columns: ColumnNames, shard_size: int) -> list[Part]:
    """The parts of all files, in order."""
    options = {"data": job.data, "columns": columns, "shard_size": shard_size, "texts": job.texts}
    items = [{"number": number, "name": name} for number, name in enumerate(names)]
    blocks = min(len(items), _MOST_BLOCKS)
    survey = ray.data.from_items(items, override_num_blocks=blocks).map(
        parts_task, fn_kwargs=options, num_cpus=1
    )
    lists = [raise_collected(json.loads(row["result"]))["parts"] for row in survey.iter_rows()]
    parts = [Part(**values) for values in itertools.chain.from_iterable(lists)]
    return sorted(parts, key=lambda part: (part.number, part.first))


def _check_folder(folder: Path, parts: list[Part], manifest: dict[str, Any]) -> None:
    strange = sorted({path.name for path in folder.glob(_SHARDS)} - {part.shard for part in parts})
    if strange:
        raise DataError(
            f"the input is not the one that {folder} was begun with: no part of it belongs to {strange[0]}; "
            "choose another folder, or remove this one"
        )
    if manifest["complete"] and len(parts) > manifest.get("parts", 0):
        raise DataError(
            f"{folder} was finished and the input now has more; choose another folder, or remove this one"
        )


def _encode(
    ray: Any,
    job: Job,
    parts: list[Part],
    manifest: dict[str, Any],
    workers: int,
    gpus: float,
    advance: Callable[..., None],
) -> _Totals:
    """Has all shards made and enters them into the manifest, which is written every few seconds."""
    known = {shard["file"]: shard["sha256"] for shard in manifest["shards"]}
    before = {path.name for path in job.folder.glob(_SHARDS)}
    tasks = [json.dumps({"part": asdict(part), "sha256": known.get(part.shard)}) for part in parts]
    blocks = min(len(tasks), _MOST_BLOCKS)
    results = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=blocks).map(
        Worker,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
        num_cpus=1,
        num_gpus=gpus or None,
    )
    done_parts, shards, saved = [], {}, time.monotonic()
    try:
        for row in results.iter_rows():
            made = raise_collected(json.loads(row["result"]))
            reused = False
            if made["shard"] is not None:
                name = made["shard"]["file"]
                shards[name], reused = made["shard"], name in before
            done_parts.append((made["place"], made["notes"], reused))
            advance(made["rows"], reused)
            if time.monotonic() - saved > _SAVE_SECONDS:
                _save(job.folder, manifest, shards)
                saved = time.monotonic()
    finally:
        _save(job.folder, manifest, shards)
    totals = _Totals()
    for _, notes, reused in sorted(done_parts, key=lambda made: made[0]):  # workers finish in any order
        totals.add(notes, reused)
    return totals


def _save(folder: Path, manifest: dict[str, Any], shards: dict[str, dict[str, Any]]) -> None:
    """Writes the manifest with what is known of earlier shards and of those just made, in order."""
    known = {shard["file"]: shard for shard in manifest["shards"]} | shards
    manifest["shards"] = [known[name] for name in sorted(known)]
    write_json(folder / MANIFEST, manifest)


def _input_files(data: Path, allow_outside: bool) -> list[str]:
    report = ReadReport()
    names = table_files(data, report, allow_outside=allow_outside)
    report.warn()
    if others := sum(count for kind, count in report.quiet.items() if kind != "hidden"):
        warn(f"{others} files in {data} are neither .parquet nor plain .jsonl and were left out")
    return names


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _import_ray() -> Any:
    """Ray, told to report nothing to its makers, to say little, and to leave the choice of GPUs alone."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray", "encoding with several workers") from None
    return ray


@contextlib.contextmanager
def _cluster(ray: Any, address: str, workers: int | None, gpus: float) -> Iterator[int]:
    """Ray, for the time of the block; gives the number of workers that it has room for."""
    own = not ray.is_initialized()
    with contextlib.ExitStack() as cleanup:
        # Standard output is for results; Ray says there which of its workers it lost, the last when it ends.
        cleanup.enter_context(contextlib.redirect_stdout(sys.stderr))
        if own:
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if address == "local":
                options |= {
                    "num_cpus": workers or len(os.sched_getaffinity(0)),
                    "num_gpus": None if gpus else 0,
                }
                options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
                # The names of Ray's sockets are long already, and a socket's path has at most 107 characters.
                place = tempfile.gettempdir() if len(tempfile.gettempdir()) < 30 else "/tmp"
                options["_temp_dir"] = tempfile.mkdtemp(prefix="brickwork-ray-", dir=place)
                cleanup.callback(shutil.rmtree, options["_temp_dir"], ignore_errors=True)
                cleanup.enter_context(_own_token())
            elif address != "auto":
                _check_address(address)
            cleanup.callback(ray.shutdown)
            try:
                with _without_native_output():
                    ray.init(address=address, **options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _no_cluster(address, str(error.__cause__ or error)) from error
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield _room(ray.cluster_resources(), workers, gpus)


def _check_address(address: str) -> None:
    """Refuses an address where nobody listens: Ray would go on asking for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--ray {address!r}: write local, auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """A password for a Ray of our own, unless the user has one: Ray would leave a file with it in the home folder."""
    before = {name: os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE")}
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = _token()
    try:
        yield
    finally:
        for name, value in before.items():  # Ray sets the mode
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@functools.cache
def _token() -> str:
    """One for the life of this process, since Ray remembers the first that it met."""
    return secrets.token_hex(32)


def _no_cluster(address: str, reason: str) -> ConfigError:
    if "InvalidAuthToken" in reason:
        return ConfigError(
            f"the Ray cluster at '{address}' wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH, as on its head"
        )
    return ConfigError(
        f"Ray could not be reached or started at '{address}' ({reason}); start a cluster with "
        "`ray start --head --disable-usage-stats`, or use --ray local"
    )


@contextlib.contextmanager
def _without_native_output() -> Iterator[None]:
    """Drops what Ray's compiled part prints of its own start; what goes wrong there is raised as well."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _room(resources: dict[str, float], workers: int | None, gpus: float) -> int:
    """How many workers to start: as asked, and at most as many as there are cores and GPUs for."""
    places = int(resources.get("CPU", 0))
    if gpus:
        places = min(places, int(resources.get("GPU", 0) / gpus))
    if places < 1:
        raise ConfigError(
            f"no worker fits: each needs a core and {gpus:g} GPUs, and Ray has {resources.get('CPU', 0):g} cores "
            f"and {resources.get('GPU', 0):g} GPUs"
        )
    return min(places, workers or places)
