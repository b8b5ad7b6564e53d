"""MultiModN: a state travels through encoders of the modalities that are there; every task reads it after each.

``from brickwork.systems.multimodn import MultiModNClassifier, MultiModNRegressor`` gives the scikit-learn estimators.
"""

import importlib
from typing import TYPE_CHECKING, Any

from brickwork.core.registry import SystemCard

if TYPE_CHECKING:
    from brickwork.systems.multimodn.estimators import MultiModNClassifier as MultiModNClassifier
    from brickwork.systems.multimodn.estimators import MultiModNRegressor as MultiModNRegressor

CARD = SystemCard(
    slug="multimodn",
    title="MultiModN: Multimodal, Multi-Task, Interpretable Modular Networks",
    authors="Swamy, Satayeva, Frej, Bossy, Vogels, Jaggi, Käser, Hartley",
    year=2023,
    arxiv="2309.14118",
    group="routing and composition",
    summary="A state vector passes one encoder a modality, skipping those that are missing; every task's decoder reads it "
    "after each, so that each modality's contribution is seen. Tables, series, texts and images; several tasks at once.",
    capabilities=(
        "predicts",
        "evaluates",
        "traces",
        "compares",
        "tables",
        "series",
        "images",
        "missing modalities",
    ),
    jobs=(
        (
            "tables with columns of any kind, some missing",
            "scikit-learn estimators that predict from what is there",
        ),
    ),
)


def __getattr__(name: str) -> Any:
    """The estimators, imported at their first use: looking at the card is light."""
    if name in ("MultiModNClassifier", "MultiModNRegressor"):
        return getattr(importlib.import_module("brickwork.systems.multimodn.estimators"), name)
    raise AttributeError(name)
