"""What every benchmark records: the machine and how busy it was, the versions, the date, the rates that its processor
reaches; and where results go.

Ratios beside a peer are fair on a busy machine only by chance: what waits more for memory or for the other core loses more.
So a benchmark starts with :func:`begin`, which refuses where others are at work; ``BRICKWORK_BUSY=1`` measures all the same,
and the result says ``busy``.
"""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MOST_LOAD = 0.5  # per core, when a benchmark starts


@cache
def load_at_start() -> float:
    """The load (mean of a minute) when it was first asked for: before a benchmark makes any of its own."""
    return round(os.getloadavg()[0], 2)


def busy() -> bool:
    """Whether others were at work on this machine when the benchmark began."""
    return load_at_start() > MOST_LOAD * (os.cpu_count() or 1)


def begin() -> None:
    """The first line of a benchmark: refuses to measure on a busy machine, unless ``BRICKWORK_BUSY`` is set.

    The processes that a benchmark starts are not asked: what keeps the machine busy by then is the benchmark itself.
    """
    if os.environ.get("BRICKWORK_BEGUN"):
        return
    os.environ["BRICKWORK_BEGUN"] = "1"
    if busy() and not os.environ.get("BRICKWORK_BUSY"):
        raise SystemExit(
            f"the load is {load_at_start()} on {os.cpu_count()} cores, above {MOST_LOAD} a core: others are at work, and "
            "ratios would not mean much. Wait a minute or two, or set BRICKWORK_BUSY=1: then the result is marked as busy"
        )


def roofline(flops_per_second: Mapping[str, float]) -> dict[str, Any]:
    """How far each arm is from what this processor can do: its operations a second as a share of the best rate of a large
    matrix product (``brickwork doctor``, on as many threads as torch uses now), in bf16 where that is fast, else in fp32."""
    from brickwork.cli.doctor import gemm_rates
    from brickwork.core.hardware import bf16_is_fast

    rates = gemm_rates(2.0)
    kind = "bf16" if bf16_is_fast() else "fp32"
    best = 1e9 * float(rates[kind])
    shares = {name: round(rate / best, 3) for name, rate in flops_per_second.items()}
    return {"gemm_gflops": rates, f"share of the {kind} rate": shares}


def environment() -> dict[str, Any]:
    """Machine, date and versions, without names of hosts or folders."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    names = (
        "torch",
        "transformers",
        "sentence-transformers",
        "onnxruntime",
        "openvino",
        "faiss-cpu",
        "usearch",
        "numpy",
    )
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "load": load_at_start(),
        **({"busy": True} if busy() else {}),
        "versions": versions,
    }


def save(name: str, result: dict[str, Any]) -> None:
    """Prints the result and writes it to ``benchmarks/results/NAME.json``."""
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
