"""Runs the claims of a system, stores each record at once, and says which records the code has outgrown.

Records live in ``docs/claims/<slug>-<scale>.json`` of a checkout. An installed package has no such folder and
answers "no recorded results". Nothing here imports torch until a claim runs.
"""

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import time
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from brickwork.core import registry
from brickwork.core.config import nearest
from brickwork.core.errors import ArtifactError, ConfigError, ResourceError
from brickwork.core.files import FolderLock, plain, read_json, write_json
from brickwork.studies.bench import Bench
from brickwork.studies.fingerprint import study_fingerprint
from brickwork.studies.study import Claim, Scale, claims_in

SCALES: tuple[Scale, ...] = ("smoke", "small", "gpu")
_FORMAT = 2
_PATIENCE = 10.0  # seconds
_VERSIONED = ("brickwork", "torch", "transformers", "numpy", "scikit-learn", "faiss-cpu")

Record = dict[str, Any]

_MISSING = object()
_NUMBER, _NONE = (int, float), type(None)
_FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(
        ("id", "statement", "paper", "criterion", "verdict", "unit", "note", "fingerprint", "date"), str
    ),
    **dict.fromkeys(("effects", "arms", "conditions", "seeds", "systems"), list),
    "effect": (*_NUMBER, _NONE),
    "interval": (list, _NONE),
    "machine": dict,
}
"""What a reader of records relies on."""


def results_folder() -> Path | None:
    """``docs/claims`` of the checkout that this package runs from; ``None`` for an installed package."""
    root = Path(__file__).resolve().parents[3]
    return root / "docs" / "claims" if (root / "pyproject.toml").is_file() else None


def run_claims(
    slug: str,
    scale: str,
    *,
    only: Collection[str] | None = None,
    seeds: int = 3,
    progress: Callable[[str], None] | None = None,
    folder: Path | None = None,
    bench: Any = None,
    force: bool = False,
) -> list[Record]:
    """Runs the claims of a system and returns their records, in the order of the paper.

    Each record is written to ``folder`` (default: :func:`results_folder`; kept in memory only where there is
    none) as soon as its claim has finished, so an interrupted run goes on where it was: a claim whose record
    has the fingerprint of today's code and the same seeds is not run again unless ``force``. A claim that could not run
    is tried again. Processes that run different claims of one system add to the same file.

    Raises:
        ConfigError: unknown system, scale or claim.
        ResourceError: the folder cannot be written, or another process holds it for long.
    """
    claims = _chosen(slug, scale, only)
    say = progress or (lambda message: None)
    folder = folder or results_folder()
    path = folder / f"{slug}-{scale}.json" if folder else None
    bench = bench or Bench(progress=say)
    records = []
    for number, claim in enumerate(claims, 1):
        title = f"{slug} {claim.id} ({number}/{len(claims)})"
        old = read_records(path).get(claim.id) if path else None
        if old and not force and _settled(claim, old, scale, seeds) and not stale(slug, old):
            say(f"{title}: recorded, {old['verdict']}")
            records.append(old)
            continue
        say(f"{title}: {claim.statement}")
        bench.systems = {slug}
        result = claim.run(typing.cast(Scale, scale), range(seeds), bench)
        record = _record(slug, scale, claim, result, range(seeds), bench.systems)
        say(f"{title}: {result.verdict}" + (f" ({result.note})" if result.note else ""))
        records.append(record)
        if path and not _store(path, slug, scale, record):
            say(f"{title}: not recorded, since the result that is recorded rests on more")
    return records


def _settled(claim: Claim, record: Record, scale: str, seeds: int) -> bool:
    """Whether a record has the result that is wanted: with as many seeds, and run, unless the claim has no such scale."""
    return record["seeds"] == list(range(seeds)) and (
        record["verdict"] != "not run" or scale not in claim.scales
    )


def _store(path: Path, slug: str, scale: str, record: Record) -> bool:
    """Adds a record to those that are in the file by now, in the order of the paper, and says whether it did.

    A run that could not take place does not push out a result, nor does one with fewer seeds a result of today's code.
    """
    order = [claim.id for claim in claims_of(slug)]
    with _alone(path.parent):
        known = read_records(path)
        old = known.get(record["id"])
        if old and old["verdict"] != "not run":
            fewer = len(record["seeds"]) < len(old["seeds"]) and not stale(slug, old)
            if record["verdict"] == "not run" or fewer:
                return False
        known[record["id"]] = record
        kept = sorted(known.values(), key=lambda r: order.index(r["id"]) if r["id"] in order else len(order))
        write_json(path, {"format": _FORMAT, "slug": slug, "scale": scale, "records": kept})
        return True


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The one writer of a folder of records; waits for its turn, as a writer is there for a moment."""
    end = time.monotonic() + _PATIENCE
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(FolderLock(folder, "writing records"))
                break
            except ResourceError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield


def _chosen(slug: str, scale: str, only: Collection[str] | None) -> list[Any]:
    if scale not in SCALES:
        raise ConfigError(f"unknown scale '{scale}': {nearest(scale, SCALES)}")
    claims: Sequence[Any] = claims_of(slug)
    ids = [claim.id for claim in claims]
    for wanted in only or ():
        if wanted not in ids:
            raise ConfigError(f"{slug} has no claim '{wanted}': {nearest(wanted, ids)}")
    return [claim for claim in claims if not only or claim.id in only]


def _record(
    slug: str, scale: str, claim: Any, result: Any, seeds: Sequence[int], systems: Collection[str]
) -> Record:
    return {
        "id": claim.id,
        "statement": claim.statement,
        "paper": claim.paper,
        "criterion": claim.criterion,
        "scale": scale,
        **plain(dataclasses.asdict(result)),
        "seeds": list(seeds),
        "systems": sorted(systems),
        "fingerprint": study_fingerprint(slug, systems, claim.id),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": {name: _version(name) for name in _VERSIONED},
    }


def stale(slug: str, record: Record) -> bool:
    """Whether what a record rests on in its study, recipes or golden losses has changed since it was made, or is gone."""
    try:
        return record["fingerprint"] != study_fingerprint(slug, record["systems"], record["id"])
    except FileNotFoundError:
        return True


def has_study(slug: str) -> bool:
    """Whether there is a study of a system: one that is being written has none yet.

    Raises:
        ConfigError: unknown system.
    """
    registry.card(slug)
    return importlib.util.find_spec(_study(slug)) is not None


def _study(slug: str) -> str:
    return f"brickwork.studies.{slug.replace('-', '_')}"


def claims_of(slug: str) -> tuple[Claim, ...]:
    """The claims of the paper behind a system, from its study (a module, or ``claims`` of a folder), imported now.

    Raises:
        ConfigError: unknown system, or one without a study.
    """
    if not has_study(slug):
        raise ConfigError(f"{slug} has no study: write its claims in {_study(slug).replace('.', '/')}.py")
    study = importlib.import_module(_study(slug))
    if hasattr(study, "__path__"):
        study = importlib.import_module(f"{study.__name__}.claims")
    return claims_in(study)


def read_records(path: Path) -> dict[str, Record]:
    """The records of one results file by claim id; empty where there is no such file.

    Raises:
        ConfigError: the file has the format of another version.
        ArtifactError: it is damaged; names what is wrong.
    """
    if not path.is_file():
        return {}
    stored = read_json(path)
    if not isinstance(stored, dict) or "format" not in stored:
        raise _damaged(path, "it holds no records of claims")
    if stored["format"] != _FORMAT:
        raise ConfigError(
            f"{path} has format {stored['format']}, this version reads {_FORMAT}; run the claims again"
        )
    records = stored.get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _damaged(path, "'records' is not a list of records")
    for number, record in enumerate(records):
        for name, kinds in _FIELDS.items():
            if not isinstance(record.get(name, _MISSING), kinds):
                raise _damaged(
                    path, f"record {number} ({record.get('id', 'without id')}) has no good '{name}'"
                )
    return {record["id"]: record for record in records}


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is damaged: {reason}; get a good copy, or remove it and run the claims again"
    )


def load_records(slug: str, folder: Path | None = None) -> dict[str, dict[str, Record]]:
    """All recorded results of a system: scale → claim id → record."""
    folder = folder or results_folder()
    if folder is None:
        return {}
    recorded = {scale: read_records(folder / f"{slug}-{scale}.json") for scale in SCALES}
    return {scale: records for scale, records in recorded.items() if records}


def load_verdicts(slug: str, folder: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Claim id → scale → verdict, effect, interval, seeds, date, stale: what ``brickwork list`` shows."""
    verdicts: dict[str, dict[str, dict[str, Any]]] = {}
    for scale, records in load_records(slug, folder).items():
        for claim, record in records.items():
            fields = {key: record[key] for key in ("verdict", "effect", "interval", "seeds", "date")}
            verdicts.setdefault(claim, {})[scale] = {
                **fields,
                "stale": stale(slug, record),
            }
    return verdicts


def machine() -> dict[str, Any]:
    """Processor, threads and accelerator of this machine; no host name, no paths."""
    import torch

    name = platform.processor() or platform.machine()
    if os.path.isfile("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        name = names[0] if names else name
    facts: dict[str, Any] = {"cpu": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return {**facts, "python": platform.python_version()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
