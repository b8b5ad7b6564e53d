"""What a worker of ``encode_ray`` does: one part of the input to one shard. Nothing here knows of Ray.

Results and errors travel as plain values; an error that the user can put right is raised again where the job began.
"""

import json
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, ResourceError
from brickwork.core.files import os_errors, sha256_file
from brickwork.data.readers.files import ReadReport
from brickwork.data.types import TextFormat
from brickwork.representation.export_parquet import MANIFEST, document_text, documents_digest, write_shard
from brickwork.representation.inference import Precision
from brickwork.representation.parts import Part, collected_errors, read_part

_NOTES = "brickwork"  # the name, in a shard's header, of what a later call wants to know of it
_ATTEMPTS = 3
_ATTEMPTS_FILE = ".partial-attempts-"  # which core.files.remove_leftovers takes for an interrupted write


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know. Paths are absolute."""

    model: str
    fingerprint: str
    data: Path
    folder: Path
    dim: int
    layers: int
    dtype: str
    normalize: bool
    precision: Precision
    gpu: bool
    texts: TextFormat | None = None


class Worker:
    """Makes shards, with one model that is loaded for the first of them. Lives in an actor of Ray."""

    def __init__(self, job: Job):
        self.job = job
        self.model: Any = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """One part (as JSON) to what was made of it (as JSON); an error that the user can put right is a result."""
        task = json.loads(row["task"])
        with collected_errors() as answer:
            part = Part(**task["part"])
            answer.update(self._shard(part, task["sha256"]), place=[part.number, part.first], rows=part.rows)
        return {"result": json.dumps(answer)}

    def _shard(self, part: Part, sha256: str | None) -> dict[str, Any]:
        """What the manifest will say of the shard, and its notes."""
        job, path = self.job, self.job.folder / part.shard
        if not (job.folder / MANIFEST).is_file():
            raise ConfigError(
                f"the worker on {socket.gethostname()} does not see {job.folder}; model, input and output have to "
                "be on a file system that all machines of the cluster share, under the same paths"
            )
        if path.is_file():
            return _finished(path, sha256)
        report = ReadReport()
        rows = read_part(job.data, part, report, job.texts)
        repairs = {name: getattr(report, name) for name in ("invalid_utf8", "nul_bytes", "truncated")}
        repairs |= {"skipped": dict(report.skipped), "first": report.first}
        notes = {"documents": len(rows), "cut": 0, "repairs": repairs}
        if not rows:
            return {"shard": None, "notes": notes}
        attempts = job.folder / f"{_ATTEMPTS_FILE}{part.number}-{part.key}"
        _count_attempt(attempts, part)
        self._load()
        cut_before = self.model.encoder.truncated
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BrickworkWarning)  # counted here, and told once for all workers
            vectors = self.model.encode(
                [document_text(row) for row in rows],
                dim=job.dim,
                layers=job.layers,
                normalize=job.normalize,
                precision=job.precision,
            )
        notes["cut"] = self.model.encoder.truncated - cut_before
        notes["documents_sha256"] = documents_digest(rows)
        write_shard(path, rows, vectors, job.dtype, {_NOTES: json.dumps(notes)})
        attempts.unlink(missing_ok=True)
        return _finished(path, None)

    def _load(self) -> None:
        if self.model is not None:
            return
        import torch

        from brickwork.representation.load import load_representation

        torch.set_num_threads(1)
        self.model = load_representation(self.job.model)
        if self.model.fingerprint != self.job.fingerprint:
            raise ArtifactError(
                f"{self.job.model} is another model on {socket.gethostname()} than where the job began; "
                "give all machines the same"
            )
        if self.job.gpu:
            if not torch.cuda.is_available():
                raise ConfigError(
                    f"the worker on {socket.gethostname()} was given a GPU and its torch sees none; install "
                    "torch with CUDA there, or leave --gpus out"
                )
            self.model.to("cuda")


def _count_attempt(attempts: Path, part: Part) -> None:
    """Refuses a part that has taken its worker down :data:`_ATTEMPTS` times, so that Ray does not go on for ever.

    A worker that dies cannot say so; what it leaves is a file with a byte for each attempt.
    """
    with os_errors(attempts), open(attempts, "ab") as file:
        if file.tell() >= _ATTEMPTS:
            raise ResourceError(
                f"{part.where()} ended {_ATTEMPTS} workers that were encoding them, perhaps for want of memory; "
                "use fewer workers or a smaller shard_size. A second call goes on from the finished shards"
            )
        file.write(b".")


def _finished(path: Path, sha256: str | None) -> dict[str, Any]:
    """What is known of a shard that exists, after comparing it with its hash if there is one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    digest = sha256_file(path)
    try:
        notes = json.loads(pq.read_schema(path).metadata[_NOTES.encode()])
    except (pa.ArrowInvalid, OSError, TypeError, KeyError, ValueError):
        notes = None
    if notes is None or sha256 not in (None, digest):
        raise ArtifactError(f"{path} is damaged; remove this file and encode again: the others are kept")
    shard = {
        "file": path.name,
        "documents": notes["documents"],
        "documents_sha256": notes["documents_sha256"],
        "sha256": digest,
    }
    return {"shard": shard, "notes": notes}
