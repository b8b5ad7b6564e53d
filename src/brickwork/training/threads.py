"""How many threads compute a training on a CPU: measured, since on a small or busy machine more can be slower."""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from brickwork.core.files import read_json
from brickwork.training.config import TrainConfig

# One thread is taken only where it is clearly faster: the measurement is short.
_CLEARLY = 0.9
_MEASURED_SECONDS = 0.3
_MOST_ROWS, _MOST_PRODUCTS = 256, 2e8
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def choose_threads(config: TrainConfig, system: nn.Module, world: int, run: Path | None) -> tuple[int, str]:
    """The number of threads, and the same in words.

    What is asked for wins: ``train.threads``, ``OMP_NUM_THREADS``, ``MKL_NUM_THREADS``, and what torchrun or Fabric set for
    several processes. ``run``: the folder of a run that goes on; its number is used again, on as many cores, because other
    threads give other bits. Else matrix products of the size of ``system`` are timed on one thread and on all that torch
    would use. Not with ``train.deterministic``, where two runs are to be the same.
    """
    present = torch.get_num_threads()
    if config.threads:
        return config.threads, f"{_named(config.threads)}, as asked for"
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None)
    if variable is not None:
        return present, f"{_named(present)} ({variable})"
    if present == 1 or world > 1 or "LOCAL_WORLD_SIZE" in os.environ or config.deterministic:
        return present, _named(present)
    before = _threads_of(run) if run is not None else None
    if before is not None:
        return before, f"{_named(before)}, as before"
    one, all_of_them = compare(largest_product(system), present)
    if one < _CLEARLY * all_of_them:
        return 1, f"1 thread ({present} were slower here: {all_of_them / one:.1f} times)"
    return present, _named(present)


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """torch computes on ``number`` threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def largest_product(system: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of the largest linear layer that runs often: not of an embedding or a head over words."""
    sizes = [layer.weight.shape for layer in system.modules() if isinstance(layer, nn.Linear)]
    common = [(shape[1], shape[0]) for shape in sizes if max(shape) <= 8 * min(shape)] or [(256, 256)]
    return max(common, key=lambda size: size[0] * size[1])


def compare(size: tuple[int, int], threads: int) -> tuple[float, float]:
    """Mean seconds of products of ``size`` and what follows them, on one thread and on ``threads``.

    The mean, not the median: on a busy machine two threads are slow by the few times that one of them has to wait.
    """
    inputs, outputs = size
    rows = int(min(_MOST_ROWS, max(16, _MOST_PRODUCTS / (inputs * outputs))))
    generator = torch.Generator().manual_seed(0)  # the global one is left alone
    matrix = torch.randn(rows, inputs, generator=generator)
    weight = torch.randn(inputs, outputs, generator=generator)

    def work() -> float:
        mark = time.perf_counter()
        with torch.no_grad():
            for _ in range(
                3
            ):  # many short operations, as a step has: threads wait for each other at each end
                hidden = torch.nn.functional.gelu(matrix @ weight)
                torch.layer_norm(hidden, (outputs,))
                torch.softmax(hidden @ weight.T, dim=-1)
        return time.perf_counter() - mark

    taken: dict[int, list[float]] = {1: [], threads: []}
    for number in taken:  # the first time pays for the start of the threads
        with using_threads(number):
            work()
    end = time.perf_counter() + _MEASURED_SECONDS
    while time.perf_counter() < end or len(taken[1]) < 3:
        for number, times in taken.items():
            with using_threads(number):
                times.append(work())
    return statistics.mean(taken[1]), statistics.mean(taken[threads])


def _threads_of(run: Path) -> int | None:
    """With how many threads the run in a folder was trained; none if it does not say, or was on another machine."""
    path = run / "env.json"
    about = read_json(path) if path.is_file() else {}
    if not isinstance(about, dict) or about.get("cores") != os.cpu_count():
        return None
    threads = about.get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def _named(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
