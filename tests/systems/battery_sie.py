"""What the battery has to know of sie."""

from dataclasses import replace
from typing import Any

import numpy as np

from brickwork.data.augment import Augmentation
from brickwork.systems.sie.data import Data
from brickwork.systems.sie.recipes import smoke

UNTESTED = {
    "encoder.shrink": "smoke images are 8 × 8 and read by an MLP; tests/unit/encoders has it",
    "data.source": "the battery has no other; tests/systems/test_sie_data.py",
    "data.changes": "what is told and not what is read; tests/systems/test_sie.py",
    "data.table.object": "of the user's table; tests/systems/test_sie_data.py",
    "data.table.circular": "of the user's table; tests/systems/test_sie_data.py",
    "data.table.rotation": "of the user's table; tests/systems/test_sie_data.py",
    "data.table.turn": "of the user's table; tests/systems/test_sie_data.py",
}
CANDIDATES = {
    "split": [0.25],
    "projector": [(16,), (16, 8)],
    "equivariance": [2.0],
    "invariance": [3.0],
    "variance": [3.0],
    "covariance": [3.0],
    "temperature": [0.5],
    "regression": [2.0],
    "data.objects": [3],
    "data.views": [2, 3],
    "data.augmentation": [Augmentation(rotate=20.0)],
}


def data(folder: Any) -> list[Any]:
    """A few rendered objects, and views of coloured images."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    images = Data(source=str(folder / "images.npy"), views=3, augmentation=Augmentation(rotate=10.0))
    return [Data(objects=2, views=3, image_size=8), images, Data(source="digits", limit=40, views=2)]


def runs() -> list[Any]:
    """The other losses: SimCLR, without a split, and without a predictor."""
    run = smoke()
    plain = replace(run.model, covariance=None, split=0.0, criterion="simclr")
    models = [
        replace(plain, predictor="mlp"),
        replace(plain, predictor="none", regression=1.0),
    ]
    return [replace(run, model=model) for model in models]
