"""What the battery has to know of binary-paragraph-vector."""

from dataclasses import replace
from typing import Any

from brickwork.systems.binary_paragraph_vector.recipes import smoke

UNTESTED = {"rate": "of the optimiser; tests/systems/test_binary_paragraph_vector.py"}
CANDIDATES = {"sizes": [(16, 64)], "bits": [128], "real": [12]}


def runs() -> list[Any]:
    """Words predicted beside the words around them."""
    run = smoke()
    return [replace(run, model=replace(run.model, words="dm"))]
