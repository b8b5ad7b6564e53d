"""A page that shows modules at work: who is used how much, for which domain, and when.

It draws :class:`brickwork.core.types.Trace`, whatever made it: a router of experts, the gates of a workspace, a chain
of modalities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from brickwork.core.errors import ArtifactError, naming_extras
from brickwork.core.files import write_text
from brickwork.core.types import Trace
from brickwork.inspection.page import fill

MAX_STEPS = 64


@dataclass(frozen=True)
class HeatMap:
    """A table of numbers with names; ``strength`` (−1 … 1) is each number relative to the largest of the table."""

    title: str
    row_word: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Float[np.ndarray, "rows columns"]

    @property
    def strength(self) -> Float[np.ndarray, "rows columns"]:
        return self.values / (np.abs(self.values).max(initial=0.0) or 1.0)


@dataclass(frozen=True)
class TracePart:
    """One trace as the page shows it: the mean over all rows, and the maps that it has data for."""

    name: str
    unit: str
    sentence: str
    load: tuple[tuple[str, float, float], ...]
    maps: tuple[HeatMap, ...]


def trace_part(trace: Trace) -> TracePart:
    """What the page shows of a trace.

    ``load``: (module, mean, share of the largest mean), in the modules' order; of contributions, the mean of their sizes,
    since those of several rows cancel. Times beyond 64 steps are averaged.
    """
    usage = trace.usage if trace.unit == "share" else np.abs(trace.usage)
    mean = usage.mean(0) if len(usage) else np.zeros(len(trace.modules))
    top = float(np.abs(mean).max(initial=0.0)) or 1.0
    maps = []
    if trace.domain is not None and len(set(trace.domain)) > 1:
        maps.append(_by_domain(trace))
    if trace.time is not None and len(trace.time):
        maps.append(_over_time(trace))
    load = tuple((name, float(value), float(value) / top) for name, value in zip(trace.modules, mean))
    return TracePart(trace.name, trace.unit, _sentence(trace, mean), load, tuple(maps))


def _by_domain(trace: Trace) -> HeatMap:
    kinds = np.asarray(trace.domain)
    names = sorted(set(trace.domain or ()))
    values = np.stack([trace.usage[kinds == name].mean(0) for name in names])
    return HeatMap("by domain", "domain", tuple(names), trace.modules, values)


def _over_time(trace: Trace) -> HeatMap:
    assert trace.time is not None
    parts = np.array_split(trace.time, min(MAX_STEPS, len(trace.time)))
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])]) + 1
    values = np.stack([part.mean(0) for part in parts]).T
    return HeatMap("over the steps", "module", trace.modules, tuple(map(str, starts)), values)


def _sentence(trace: Trace, mean: np.ndarray) -> str:
    """How even the use is, in words; the mean alone where values are not shares."""
    if trace.unit != "share" or len(mean) < 2 or mean.sum() <= 0:
        what = f"size of the {trace.unit}" if (trace.usage < 0).any() else trace.unit
        return f"Mean {what} of each module over {len(trace.usage):,} rows."
    share = mean / mean.sum()
    entropy = float(-(share[share > 0] * np.log(share[share > 0])).sum() / np.log(len(share)))
    dead = int((share < 0.1 / len(share)).sum())
    idle = f"{dead} of {len(share)} get less than a tenth of an even share" if dead else "none is idle"
    return (
        f"Over {len(trace.usage):,} rows the load has {100 * entropy:.0f} % of the entropy of an even one; {idle}. "
        f"{trace.modules[int(share.argmax())]} has the most, {100 * share.max():.1f} %."
    )


@naming_extras("the page of traces")
def render_traces(title: str, traces: Sequence[Trace], num_examples: int) -> str:
    """The page as HTML, without any outside file; every text is escaped."""
    return fill(
        "traces.html.j2",
        title=title,
        num_examples=num_examples,
        parts=[trace_part(trace) for trace in traces],
    )


def write_traces(path: Path, title: str, traces: Sequence[Trace], num_examples: int) -> Path:
    """Writes the page atomically and returns its path.

    Raises:
        ArtifactError: there is nothing to show.
    """
    if not traces or not num_examples:
        raise ArtifactError(f"{title}: no example to watch the modules on; give data with a test part")
    write_text(path, render_traces(title, traces, num_examples))
    return path
