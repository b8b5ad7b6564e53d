"""Brickwork: learned representation modules to train, cut to size, route, swap, upgrade and look inside.

    import brickwork
    model = brickwork.load("runs/demo")
    vectors = model.encode(["a sentence"], dim=64, layers=3)

The names below are imported when they are first used, so that ``import brickwork`` is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "load": "brickwork.representation.kept",
    "Representation": "brickwork.representation.model",
    "train": "brickwork.api",
    "resume": "brickwork.api",
    "evaluate": "brickwork.evaluating",
    "generate": "brickwork.using",
    "predict": "brickwork.using",
    "inspect": "brickwork.using",
    "build_index": "brickwork.indexing",
    "open_index": "brickwork.index.index",
    "recipe": "brickwork.api",
    "override": "brickwork.core.config",
}
__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:  # for editors and type checkers; `as` marks the names as exported
    from brickwork.api import recipe as recipe
    from brickwork.api import resume as resume
    from brickwork.api import train as train
    from brickwork.core.config import override as override
    from brickwork.evaluating import evaluate as evaluate
    from brickwork.index.index import open_index as open_index
    from brickwork.indexing import build_index as build_index
    from brickwork.representation.kept import load as load
    from brickwork.representation.model import Representation as Representation
    from brickwork.using import generate as generate
    from brickwork.using import inspect as inspect
    from brickwork.using import predict as predict


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'brickwork' has no attribute '{name}'")
