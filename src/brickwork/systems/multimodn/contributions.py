"""A picture of how far each modality moved an answer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UP, _DOWN, _INK, _MUTED = "#1b7f79", "#c2543d", "#22262b", "#6b7280"
_MAX_DOTS = 2000


def contribution_figure(
    contributions: Float[np.ndarray, "rows modalities"],
    modalities: Sequence[str],
    *,
    title: str,
    unit: str,
    start: float | None = None,
) -> "Figure":
    """Of one row the steps from ``start`` (default 0) to the answer, of more rows a dot for each row and the mean as a line.

    Modalities stand in reading order from top to bottom.
    """
    from matplotlib.figure import Figure

    rows, count = contributions.shape
    figure = Figure(figsize=(7.2, 1.5 + 0.48 * count), layout="constrained", dpi=110)
    axes = figure.subplots()
    if rows == 1:
        _waterfall(axes, contributions[0], 0.0 if start is None else start)
    else:
        _dots(axes, contributions)
    axes.set_yticks(range(count), modalities)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlabel(unit.removeprefix("change of ") if rows == 1 else unit)
    axes.set_title(
        f"{title}: {'one row' if rows == 1 else f'{rows:,} rows'}", loc="left", color=_INK, fontsize=11
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure


def _waterfall(axes: Any, moved: Float[np.ndarray, " modalities"], start: float) -> None:
    at = start
    ends = np.concatenate([[start], start + np.cumsum(moved)])
    room = 0.16 * max(float(np.ptp(ends)), 1e-9)
    axes.set_xlim(ends.min() - 0.3 * room, ends.max() + room)
    for place, step in enumerate(moved):
        axes.barh(place, step, left=at, height=0.55, color=_UP if step >= 0 else _DOWN)
        at += step
        beside = max(at, at - step)
        axes.annotate(f"{step:+.3g}", (beside, place), (4, 0), textcoords="offset points", va="center",
                      color=_MUTED, fontsize=9)  # fmt: skip
    for value, name in ((start, "start"), (at, "answer")):
        axes.axvline(value, color=_MUTED, linewidth=1, linestyle=":" if name == "start" else "-")
        axes.annotate(f"{name} {value:.3g}", (value, -0.6), (3, -10), textcoords="offset points", color=_MUTED,
                      fontsize=9)  # fmt: skip


def _dots(axes: Any, moved: Float[np.ndarray, "rows modalities"]) -> None:
    rng = np.random.default_rng(0)
    shown = moved[rng.permutation(len(moved))[:_MAX_DOTS]]
    for place, column in enumerate(shown.T):
        spread = rng.uniform(-0.22, 0.22, len(column))
        colours = np.where(column >= 0, _UP, _DOWN)
        axes.scatter(column, place + spread, s=9, c=colours, alpha=0.45, linewidths=0)
        mean = moved[:, place].mean()
        axes.plot([mean, mean], [place - 0.33, place + 0.33], color=_INK, linewidth=2)
    axes.axvline(0, color=_MUTED, linewidth=1)
