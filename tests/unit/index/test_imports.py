"""An index is opened and searched by vectors without torch, whose import takes seconds."""

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
from pathlib import Path
import brickwork.index

for module in pkgutil.walk_packages(brickwork.index.__path__, "brickwork.index."):
    if module.name.partition("brickwork.index.")[2].partition("_")[0] not in ("postgres", "qdrant"):  # extras
        importlib.import_module(module.name)
assert "torch" not in sys.modules, "an import brings torch"

import numpy as np
from brickwork.data.types import Document
from brickwork.index.filters import parse_filter
from brickwork.index.local import LocalBackend
from brickwork.index.types import Contents, Plan

contents = Contents(model="m", dims=(4, 8), layers=(1,), depths=(1,))
backend = LocalBackend.create(Path(sys.argv[1]) / "index", contents)
documents = [Document(id=str(n), title="", text="t", source="s", meta={"n": n}) for n in range(8)]
backend.add(documents, {1: np.eye(8, dtype=np.float32)})
plan = Plan(stages=((8, 3),))
backend = LocalBackend.open(backend.folder)
(hits,) = backend.search(np.eye(8, dtype=np.float32)[:1], plan, layers=1, where=parse_filter("n<4"))
assert hits[0].document.id == "0"
assert "torch" not in sys.modules, "a search brings torch"
"""


def test_an_index_works_without_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
