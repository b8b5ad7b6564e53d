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
    "load": "brickwork.representation.load",
    "Representation": "brickwork.representation.model",
    "train": "brickwork.api.train",
    "resume": "brickwork.api.train",
    "evaluate": "brickwork.api.evaluate",
    "classify": "brickwork.api.predict",
    "generate": "brickwork.api.predict",
    "generate_images": "brickwork.api.predict",
    "predict": "brickwork.api.predict",
    "inspect": "brickwork.api.predict",
    "build_index": "brickwork.api.index",
    "open_index": "brickwork.index.index",
    "choose": "brickwork.api.choose",
    "compare": "brickwork.api.compare",
    "learn_dense_weight": "brickwork.api.hybrid",
    "recipe": "brickwork.api.train",
    "override": "brickwork.core.config",
}
__all__ = ["__version__", *sorted(_WHERE)]

if TYPE_CHECKING:  # for editors and type checkers; `as` marks the names as exported
    from brickwork.api.choose import choose as choose
    from brickwork.api.compare import compare as compare
    from brickwork.api.evaluate import evaluate as evaluate
    from brickwork.api.hybrid import learn_dense_weight as learn_dense_weight
    from brickwork.api.index import build_index as build_index
    from brickwork.api.predict import classify as classify
    from brickwork.api.predict import generate as generate
    from brickwork.api.predict import generate_images as generate_images
    from brickwork.api.predict import inspect as inspect
    from brickwork.api.predict import predict as predict
    from brickwork.api.train import recipe as recipe
    from brickwork.api.train import resume as resume
    from brickwork.api.train import train as train
    from brickwork.core.config import override as override
    from brickwork.index.index import open_index as open_index
    from brickwork.representation.load import load as load
    from brickwork.representation.model import Representation as Representation


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'brickwork' has no attribute '{name}'")
