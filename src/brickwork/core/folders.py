"""What a folder is: told by the names of the files that only one kind has, so that one given for another is named."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FolderKind = Literal[
    "checkpoint",
    "checkpoints",
    "index",
    "run",
    "unfinished run",
    "model",
    "vectors",
    "segment",
    "data",
    "empty",
    "",
]
_DATA = {
    ".jsonl",
    ".csv",
    ".tsv",
    ".parquet",
    ".txt",
    ".md",
    ".html",
    ".htm",
    ".rst",
    ".png",
    ".jpg",
    ".jpeg",
    ".gz",
}
_LOOKED_AT = 200


@dataclass(frozen=True)
class KnownFolder:
    """A folder of ours: ``kind``, empty where it is none that is known; ``owner``, the run or index that it is part of."""

    path: Path
    kind: FolderKind
    owner: Path | None = None

    @property
    def about(self) -> str:
        """What it is and what can be done with it, as half a sentence: ``is a checkpoint of …; …``."""
        here, owner = _quoted(self.path), _quoted(self.owner or self.path)
        if self.kind == "checkpoint" and self.owner is None:
            return "is a checkpoint of a run, and no model by itself: give the folder of the run"
        return {
            "checkpoint": f"is a checkpoint of the run {owner}: give the run, or go on with it: brickwork resume {owner}",
            "checkpoints": f"holds the checkpoints of the run {owner}: give the run, or go on with it: brickwork resume "
            f"{owner}",
            "index": f"is an index: search it (brickwork search {here} QUERY) or serve it (brickwork serve {here})",
            "run": f"is a finished run, a model: make an index with it (brickwork index {here} DATA --out DIR), serve it "
            f"(brickwork serve {here}) or measure it (brickwork evaluate {here})",
            "unfinished run": f"is a run that has not finished: brickwork resume {here}",
            "model": f"is a model: make an index with it (brickwork index {here} DATA --out DIR) or serve it (brickwork "
            f"serve {here})",
            "vectors": "holds vectors that `brickwork encode` wrote, and neither a model nor an index",
            "segment": f"is a part of the index {owner}: give the index",
            "data": f"holds data: train on it (brickwork train SYSTEM --data {here}) or index it (brickwork index MODEL "
            f"{here} --out DIR)",
            "empty": "is empty",
            "": "is no folder that Brickwork knows",
        }[self.kind]


def known_folder(folder: Path | str) -> KnownFolder:
    """What a folder is. Nothing in its files is read; one that is not there is of no kind."""
    path = Path(folder)

    def has(*names: str) -> bool:
        return all((path / name).is_file() for name in names)

    full = path.absolute()
    if not path.is_dir():
        return KnownFolder(path, "")
    if full.parent.name == "checkpoints" and (has("state.json") or full.name.startswith("step-")):
        return KnownFolder(path, "checkpoint", _above(path, 2))
    if full.name == "checkpoints" and any(path.glob("step-*")):
        return KnownFolder(path, "checkpoints", _above(path, 1))
    if full.parent.name in ("segments", "shortlists") and (full.parent.parent / "manifest.json").is_file():
        return KnownFolder(path, "segment", _above(path, 2))
    if full.name in ("segments", "shortlists") and (full.parent / "manifest.json").is_file():
        return KnownFolder(path, "segment", _above(path, 1))
    if has("state.json", "optimizer.safetensors"):  # taken out of its run
        return KnownFolder(path, "checkpoint")
    beside = (
        has("manifest.copy.json") or (path / "segments").is_dir() or any(path.glob("model*/brickwork.json"))
    )
    if beside and (has("manifest.json") or has("manifest.copy.json")):
        return KnownFolder(path, "index")
    if has("brickwork.json"):
        return KnownFolder(path, "run" if has("config.json") and not has("modules.json") else "model")
    # A run has its data.json before the first step, and checkpoints some time after it.
    if has("config.json") and ((path / "checkpoints").is_dir() or has("data.json")):
        return KnownFolder(path, "unfinished run")
    if has("modules.json") or has("config_sentence_transformers.json"):
        return KnownFolder(path, "model")
    if has("vectors.json"):
        return KnownFolder(path, "vectors")
    return KnownFolder(path, _by_content(path))


def _by_content(path: Path) -> FolderKind:
    """Whether there are files of data among the first that are below a folder."""
    count = 0
    for count, item in enumerate(path.rglob("*"), 1):
        if item.suffix.lower() in _DATA:
            return "data"
        if count >= _LOOKED_AT:
            break
    return "" if count else "empty"


def _above(path: Path, levels: int) -> Path:
    """The folder so many levels up, written as the user wrote the path where it can be."""
    parts = path.parts
    if len(parts) > levels and not any(part in (".", "..") for part in parts[-levels:]):
        return path.parents[levels - 1]
    return path.absolute().parents[levels - 1]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
