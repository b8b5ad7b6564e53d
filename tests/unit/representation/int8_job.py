"""What test_int8.py has done in another process: OpenVINO encodes."""

from pathlib import Path
from typing import Any

import numpy as np

import brickwork
from brickwork.core.errors import ArtifactError

WORDS = ["river", "stone", "blue", "winter", "song", "glass", "north", "open", "seven", "paper"]


def some_texts(count: int) -> list[str]:
    """Texts of 1 to 12 words."""
    rng = np.random.default_rng(2)
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 13))) for _ in range(count)]


def compared(folder: str, copy: str) -> dict[str, Any]:
    """Engines, cosines to float32 and differences of what was made and what was kept of the model in ``folder``."""
    texts = some_texts(80)
    made = brickwork.load(folder, engine="int8", calibration=texts[:32])
    found: dict[str, Any] = {"made": made.engine, "before": brickwork.load(folder).engine}
    again = brickwork.load(folder, engine="int8")
    cosines, differences = [], []
    for layers in (0, 1, 3):
        near = again.encode(texts, layers=layers)
        exact = again.encode(texts, layers=layers, precision="fp32")
        cosines.append(float((near * exact).sum(1).mean()))
        differences.append(float(np.abs(made.encode(texts, layers=layers) - near).max()))
    third = brickwork.load(again.save(Path(copy)))  # as an index has it
    differences.append(float(np.abs(third.encode(texts[:3]) - again.encode(texts[:3])).max()))
    one = Path(folder) / "int8" / f"{made.engine}.bin"
    one.write_bytes(one.read_bytes()[:-1] + b"?")
    try:
        brickwork.load(folder, engine="int8")
        damaged = ""
    except ArtifactError as error:
        damaged = str(error)
    return {
        **found,
        "again": again.engine,
        "copy": third.engine,
        "cosines": cosines,
        "differences": differences,
        "damaged": damaged,
    }
