"""Jobs for a process of its own, without the shape checks of the tests: one JSON line in, one out.

One for all systems of a worker, as most of the time goes into starting it.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import brickwork.training.loop  # before it is ready: no system pays for what all need  # noqa: F401

if "BRICKWORK_MORE_SYSTEMS" in os.environ:
    import more_systems as more_systems


def encode(model: str, inputs: str, vectors: str) -> dict[str, Any]:
    """Writes the vectors of a saved model to a file: nothing but the folder can have carried the model over."""
    from brickwork.representation.load import load_representation

    rows = np.load(inputs)["inputs"]
    np.save(
        vectors,
        load_representation(Path(model)).encode(
            rows.tolist() if rows.dtype.kind == "U" else rows, precision="fp32"
        ),
    )
    return {}


def compiled_loss(slug: str) -> dict[str, Any]:
    """The loss of a batch, and the same through the compiler's front end: it cannot read through the shape checks.

    Each piece of code is compiled once; where it comes again with other shapes or modules it runs as it is.
    """
    from brickwork.api import train as api

    system, data = api.build(api.recipe(slug, "smoke"))
    batch = {**system.collate(data.train.take(range(16))), "step": 0, "indices": list(range(16))}
    plain = system.loss(batch).total.item()
    torch.compiler.reset()
    try:
        with torch._dynamo.config.patch(recompile_limit=1):
            compiled = torch.compile(system.loss, backend="eager")(batch).total.item()
    except Exception as error:  # whatever the compiler cannot take
        return {"plain": plain, "refused": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"plain": plain, "compiled": compiled}


def function_of(job: str) -> Callable[..., dict[str, Any]]:
    """A function of this module by its name, or ``file.py::name`` of another."""
    path, _, name = job.rpartition("::")
    if not path:
        return globals()[name]
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def main() -> None:
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    torch.compile(torch.sin, backend="eager")(
        torch.zeros(1)
    )  # half of the compiler is imported when it is first used
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job, *arguments = json.loads(line)
        try:
            answer = function_of(job)(*arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
