"""The chain of parts that a system's data passes, read from what its folder imports: nothing is imported for it."""

import ast
import importlib.util
from pathlib import Path

from brickwork.core import registry

# Room -> the stage that its parts are, in the order in which data passes them.
_STAGES = {"data": "data", "encoders": "encoder", "modules": "modules", "objectives": "objective"}
_NOT_PARTS = ("config", "types")  # modules that say what parts are given, not parts


def flow(slug: str) -> tuple[tuple[str, str], ...]:
    """(stage, names of parts) in order: the shared parts by room, the system's own files, the training, the use.

    Raises:
        ConfigError: there is no such system.
    """
    card = registry.card(slug)
    folder = _folder(slug)
    files = sorted(path for path in folder.glob("*.py") if path.stem not in ("__init__", "recipes"))
    parts = [part for path in files for part in _imported(path)]
    stages = []
    for room, stage in _STAGES.items():
        names = sorted({part for part in parts if part.startswith(f"{room}.")})
        if names or room == "data":
            stages.append((stage, ", ".join(names or ["data.load.load_task"])))
    own = [path.name for path in files if path.stem != "system"]
    if own:
        stages.append(("its own", ", ".join(own)))
    stages.append(("training", "training.loop.fit"))
    if "encodes" in card.capabilities:
        stages.append(("representation", "representation.model.Representation"))
    return tuple(stages)


def _folder(slug: str) -> Path:
    spec = importlib.util.find_spec(f"brickwork.systems.{slug.replace('-', '_')}")
    assert spec is not None, "it has a card"
    assert spec.submodule_search_locations is not None, "it is a folder"
    return Path(spec.submodule_search_locations[0])


def _imported(path: Path) -> list[str]:
    """``room.module.Name`` of what a file imports from the rooms of parts: classes and functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("brickwork."):
            continue
        module = (node.module or "").removeprefix("brickwork.")
        if module.partition(".")[0] not in _STAGES or module.rpartition(".")[2] in _NOT_PARTS:
            continue
        names += [f"{module}.{alias.name}" for alias in node.names if _is_part(alias.name)]
    return names


def _is_part(name: str) -> bool:
    """Neither a constant nor a configuration."""
    return not name.isupper() and not name.endswith("Config")
