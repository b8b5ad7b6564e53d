"""``doctor``: what this machine and this installation can do, measured."""

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import typer

from brickwork.cli import output
from brickwork.cli.options import AsJson, Quiet, add
from brickwork.core.console import styled

_VERSIONED = ("torch", "lightning-fabric", "transformers", "tokenizers", "safetensors", "huggingface-hub",
              "numpy", "scikit-learn", "faiss-cpu", "pyarrow")  # fmt: skip
_BUDGET_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add(app, doctor, "Look", "brickwork doctor", "brickwork doctor --json > machine.json")


def doctor(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Check the installation and measure the machine: matrix products and memory, about 8 seconds."""
    with output.results_only(as_json):
        output.hint("measuring, about 8 seconds …", quiet)
        report = examine()
    output.emit_json(report) if as_json else _show(report)


def examine(budget_seconds: float = _BUDGET_SECONDS) -> dict[str, Any]:
    """Everything ``doctor`` shows, as JSON values. Each measurement takes ``budget_seconds`` at most, and a
    little for its first call."""
    import torch

    import brickwork
    from brickwork.core import hardware
    from brickwork.data.sets.sources import catalogue

    sets = {source.name: source.is_present() for source in catalogue()}
    return {
        "brickwork": brickwork.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {name: version(name) for name in _VERSIONED},
        "cpu": {
            "name": hardware.cpu_name(),
            "cores": os.cpu_count(),
            "features": list(hardware.cpu_features()),
            "bf16": hardware.bf16_reason(),
        },
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gemm_gflops": gemm_rates(budget_seconds),
        "memory_gb_per_second": memory_rate(budget_seconds),
        "data": {"BRICKWORK_DATA": os.environ.get("BRICKWORK_DATA"), "present": sets},
        "extras": extras(),
    }


def version(package: str) -> str | None:
    """The installed version of a package, or ``None``."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def extras() -> dict[str, dict[str, Any]]:
    """The optional parts of the installation: which packages each lacks, and the line that installs it."""
    from packaging.requirements import Requirement

    packages: dict[str, dict[str, Any]] = {}
    for text in importlib.metadata.requires("brickwork") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.name == "brickwork":
            continue
        for extra in importlib.metadata.metadata("brickwork").get_all("Provides-Extra") or []:
            if not requirement.marker.evaluate({"extra": ""}) and requirement.marker.evaluate(
                {"extra": extra}
            ):
                entry = packages.setdefault(
                    extra, {"missing": [], "install": f"pip install 'brickwork[{extra}]'"}
                )
                if version(requirement.name) is None:
                    entry["missing"].append(requirement.name)
    return packages


def gemm_rates(budget_seconds: float) -> dict[str, float | str]:
    """Billions of operations a second of square matrix products on all threads: fp32, bf16 and int8.

    Best of the repetitions that fit the budget. Where a type cannot be measured the value says why.
    """
    import torch

    generator = torch.Generator().manual_seed(0)

    def floats(size: int, dtype: torch.dtype) -> Callable[[], Any]:
        left = torch.randn(size, size, generator=generator).to(dtype)
        right = torch.randn(size, size, generator=generator).to(dtype)
        return lambda: left @ right

    def integers(size: int) -> Callable[[], Any]:
        left = torch.randint(-127, 128, (size, size), dtype=torch.int8, generator=generator)
        right = torch.randint(-127, 128, (size, size), dtype=torch.int8, generator=generator)
        return lambda: torch._int_mm(left, right)

    kinds: dict[str, Callable[[int], Callable[[], Any]]] = {
        "fp32": lambda size: floats(size, torch.float32),
        "bf16": lambda size: floats(size, torch.bfloat16),
        "int8": integers,
    }
    rates: dict[str, float | str] = {}
    for name, make in kinds.items():
        try:
            rates[name] = round(_gemm_rate(make, budget_seconds), 1)
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            rates[name] = f"not measured: {str(error).splitlines()[0]}"
    return rates


def _gemm_rate(make: Callable[[int], Callable[[], Any]], budget_seconds: float) -> float:
    """The rate at the largest of a few sizes of which one product takes less than a tenth of the budget.

    Emulated types can be a hundred times slower, so small sizes are tried first.
    """
    rate = 0.0
    started = time.perf_counter()
    for size in (128, 512, 1024, 2048):
        product = make(size)
        product()  # the first call prepares the kernel
        operations = 2 * size**3
        seconds = best_seconds(
            product, min(budget_seconds / 4, budget_seconds - (time.perf_counter() - started))
        )
        rate = max(rate, operations / seconds / 1e9)
        if seconds * 8 > budget_seconds / 10:
            break
    return rate


def best_seconds(work: Callable[[], Any], budget_seconds: float) -> float:
    """The shortest of the repetitions of ``work`` that fit the budget, at least one."""
    best = float("inf")
    stop = time.perf_counter() + budget_seconds
    while True:
        started = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - started)
        if now >= stop:
            return best


def memory_rate(budget_seconds: float) -> float:
    """Gigabytes (1e9) a second between memory and processor: a sum of two arrays that no cache holds.

    Counts what is read and written (STREAM's add): three arrays of 128 MB.
    """
    import torch

    left, right = torch.ones(32_000_000), torch.ones(32_000_000)
    total = torch.empty_like(left)
    seconds = best_seconds(lambda: torch.add(left, right, out=total), budget_seconds)
    return round(3 * left.nbytes / seconds / 1e9, 1)


def _memory_gib() -> float:
    import psutil

    return round(psutil.virtual_memory().total / 2**30, 1)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    out = output.console()
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    cpu = report["cpu"]
    table.add_row("brickwork", f"{report['brickwork']}, Python {report['python']}, {report['system']}")
    table.add_row(
        "packages", ", ".join(f"{name} {value or 'MISSING'}" for name, value in report["versions"].items())
    )
    table.add_row("processor", f"{cpu['name']}, {cpu['cores']} cores, threads in use: {report['threads']}")
    table.add_row("features", ", ".join(cpu["features"]) or "unknown")
    table.add_row("precision", cpu["bf16"])
    table.add_row("memory", f"{report['memory_gib']} GiB, {report['memory_gb_per_second']} GB/s")
    table.add_row("accelerator", report["gpu"] or "none")
    for name, rate in report["gemm_gflops"].items():
        unit = "GOP/s" if name == "int8" else "GFLOP/s"
        table.add_row(f"{name} product", rate if isinstance(rate, str) else f"{rate:,.0f} {unit}")
    sets = report["data"]["present"]
    where = report["data"]["BRICKWORK_DATA"] or "not set"
    here = ", ".join(name for name, present in sets.items() if present) or "none"
    table.add_row("data sets", f"{here} (BRICKWORK_DATA: {where})")
    for name, extra in report["extras"].items():
        lacks = styled((f"lacks {', '.join(extra['missing'])}", "yellow"), f": {extra['install']}")
        table.add_row(f"extra {name}", lacks if extra["missing"] else styled(("installed", "green")))
    out.print(table)
