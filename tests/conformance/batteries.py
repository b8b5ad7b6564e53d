"""What the battery has to know of one system and cannot derive: it stands beside the system's own tests.

``tests/systems/battery_<slug>.py`` is optional, and so is each of its names:

- ``UNTESTED``: path of an option (of data: ``data.…``) -> why no other value of it can be tried here, and where it is
  tested instead;
- ``CANDIDATES``: path or name of an option -> values to try, where they cannot be guessed;
- ``data(folder)``: further data configurations to change the system's own data options of; files go to the folder;
- ``runs()``: further runs whose model and data are starting points, besides the smoke recipes;
- ``earlier(case, folder)``: option -> values that have to be made first, like the folder of an earlier model;
- ``starts(case, made)``: further (model, data) to begin with, with what ``earlier`` made.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from brickwork.data.types import TaskData
from brickwork.representation.contract import build_system

SYSTEMS = Path(__file__).parents[1] / "systems"


_FIELDS = ("untested", "candidates", "runs", "data", "earlier", "starts")


def build(slug: str, model: Any, data: TaskData, seed: int) -> torch.nn.Module:
    """A system from its configuration and data that are there already, as the house builds it."""
    return build_system(slug, model, data, seed)


@dataclass(frozen=True)
class Battery:
    """The names of one ``battery_<slug>.py``, or their defaults."""

    untested: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, list[Any]] = field(default_factory=dict)
    runs: Callable[[], list[Any]] = list
    data: Callable[[Path], list[Any]] = lambda folder: []
    earlier: Callable[[Any, Path], dict[str, list[Any]]] = lambda case, folder: {}
    starts: Callable[[Any, dict[str, list[Any]]], Any] = lambda case, made: ()


def battery_of(slug: str, folder: Path = SYSTEMS) -> Battery:
    """The battery module of a system, found by its name in ``folder``.

    Raises:
        AssertionError: the module has a public name in capitals that the battery does not read.
    """
    name = f"battery_{slug.replace('-', '_')}"
    path = folder / f"{name}.py"
    if not path.is_file():
        return Battery()
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {name: name.upper() if name in ("untested", "candidates") else name for name in _FIELDS}
    unread = {n for n in vars(module) if n.isupper() and not n.startswith("_")} - set(names.values())
    assert not unread, f"{path.name} has {sorted(unread)}, which the battery does not read"
    return Battery(
        **{ours: getattr(module, theirs) for ours, theirs in names.items() if hasattr(module, theirs)}
    )
