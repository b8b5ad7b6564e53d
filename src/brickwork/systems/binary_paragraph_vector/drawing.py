"""The pictures of a run: the codes of held-out documents, and how well they find against their bytes."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from brickwork.data.types import Examples
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both, plural
from brickwork.inspection.svg import Frame, Scale, element, figure, label, nice_ticks, polyline, spread, tip
from brickwork.systems.binary_paragraph_vector.data import LABEL
from brickwork.systems.binary_paragraph_vector.measures import (
    by_chance,
    hamming,
    hyperplanes,
    levels_of,
    quality,
    tf_idf,
)

_SHOWN, _MEASURED = 400, 1000  # documents at most
_HALVINGS = 3
_CLASSES = 20  # with more the names would stand over each other
_STYLE = """\
.bpv-frame { fill: none; stroke: var(--line); }
.bpv-edge { stroke: var(--loss); stroke-width: 1.2; }
.bpv-share { fill: var(--deep); }
.bpv-half { stroke: var(--loss); stroke-width: 1.2; stroke-dasharray: 4 3; }
.bpv-code { stroke: var(--deep); }
.bpv-other { stroke: var(--muted); stroke-dasharray: 5 4; }
.bpv-exact { stroke: var(--loss); stroke-width: 1.6; stroke-dasharray: 2 3; }
.bpv-dot { fill: var(--deep); }
image.bpv-bits { image-rendering: pixelated; }"""


def drawings(system: Any, examples: Examples) -> list[Drawing]:
    """The codes, and where documents have labels what they find; of no documents with known words, none."""
    texts = list(examples.columns["input"][:_MEASURED])
    labels = examples.columns.get(LABEL)
    counts = system.encoder.counts(texts)
    known = np.flatnonzero(counts.any(1))
    if len(known) < 2:
        return []
    bits = system.bits([texts[row] for row in known])
    own = None if labels is None else np.asarray(labels)[known]
    names = tuple(system.class_names)
    pictures = [_codes(bits[:_SHOWN], None if own is None else own[:_SHOWN], names)]
    if own is not None and len(np.unique(own)) > 1:
        pictures.append(_found(system, bits, tf_idf(counts[known], system.encoder.vocabulary), own))
    return pictures


# ---- codes -----------------------------------------------------------------------------------------------------------


def _codes(
    bits: Bool[np.ndarray, "documents bits"],
    labels: Int[np.ndarray, " documents"] | None,
    names: Sequence[str],
) -> Drawing:
    groups = halved(bits, _HALVINGS) if labels is None else labels
    order = np.argsort(groups, kind="stable")
    share = bits.mean(0)
    by = (
        "in groups: halved three times, each time by where the codes of a group differ most"
        if labels is None
        else "by their labels, which nothing was learnt from"
    )
    lead = (
        f"The codes of {plural(len(bits), 'held-out document')}, a column each, {by}; a row is a bit, black where it is 1. "
        "What a group shares shows as stripes. Beside each bit the share of documents in which it is 1: near a half "
        f"(dashed) it tells most, at 0 or 1 nothing. On average it is {abs(share - 0.5).mean():.2f} away from a half; "
        f"{len(np.unique(bits, axis=0)):,} of {len(bits):,} codes differ."
    )
    own = [names[g] if labels is not None and g < len(names) else str(g + 1) for g in np.unique(groups)]
    return Drawing(
        "The codes", lead, both(lambda width: _grid(bits[order], groups[order], own, share, width)), _STYLE
    )


def halved(bits: Bool[np.ndarray, "documents bits"], times: int) -> Int[np.ndarray, " documents"]:
    """A group of each document, of about equal sizes: each is halved ``times`` times along the first principal direction of
    its codes."""
    groups = np.zeros(len(bits), np.int64)
    for _ in range(times):
        for group in range(int(groups.max()), -1, -1):
            own = np.flatnonzero(groups == group)
            groups[own] = 2 * group
            if len(own) < 2:
                continue
            centred = bits[own] - bits[own].mean(0)
            along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
            groups[own[np.argsort(along, kind="stable")[len(own) // 2 :]]] = 2 * group + 1
    return groups


def _grid(bits: np.ndarray, groups: np.ndarray, names: Sequence[str], share: np.ndarray, width: int) -> str:
    narrow = width < 480
    left, bars, top = 40.0, 44.0 if narrow else 110.0, 8.0
    side = width - left - bars - 14
    high = max(160.0, min(520.0, 3.2 * bits.shape[1]))
    pixels = np.where(bits.T, 0, 255).astype(np.uint8)
    parts = [
        element(
            "image", href=_png(pixels), x=left, y=top, width=side, height=high,
            preserveAspectRatio="none", class_="bpv-bits",
        ),
        element("rect", x=left, y=top, width=side, height=high, class_="bpv-frame"),
    ]  # fmt: skip
    each = high / len(share)
    x = Scale(0.0, 1.0, left + side + 10, float(width - 4))
    for bit, value in enumerate(share):
        long = max(x(float(value)) - x(0), 0.5)
        bar = {"x": x(0), "y": top + bit * each, "width": long, "height": 0.8 * each}
        words = tip(f"bit {bit + 1}: 1 in {100 * value:.0f} %")
        parts.append(element("rect", words, **bar, class_="bpv-share"))
    parts.append(element("line", x1=x(0.5), x2=x(0.5), y1=top, y2=top + high, class_="bpv-half"))
    for bit in (1, *(size for size in (32, 64, 128, 256, 512) if size <= len(share))):
        parts.append(label(left - 6, top + (bit - 0.5) * each + 4, str(bit), "tick", "end"))
    bottom = top + high
    parts += [label(x(end), bottom + 16, f"{end:g}", "tick") for end in (0.0, 0.5, 1.0)]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ends = np.append(starts[1:], len(groups))
    for start in starts[1:]:
        at = left + side * start / len(groups)
        parts.append(element("line", x1=at, x2=at, y1=top, y2=bottom, class_="bpv-edge"))
    foot = 24.0
    if not narrow and len(names) <= _CLASSES:
        slanted = max(len(name) for name in names) > 3
        foot = 24.0 + (5.2 * min(26, max(len(name) for name in names)) if slanted else 0.0)
        for name, start, end in zip(names, starts, ends):
            at = left + side * (start + end) / 2 / len(groups)
            how = {"anchor": "end", "transform": f"rotate(-60 {at:.1f} {bottom + 14:.1f})"} if slanted else {}
            parts.append(label(at, bottom + 14, name[:26], "tick", **how))
    return figure(width, round(bottom + foot + 8), "bits of held-out documents", *parts)


def _png(pixels: UInt8[np.ndarray, "height width"]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# ---- what they find --------------------------------------------------------------------------------------------------


def _found(system: Any, bits: np.ndarray, words: np.ndarray, labels: np.ndarray) -> Drawing:
    sizes = system.config.nested
    codes = {size: _map(hamming(bits[:, :size], bits[:, :size]), labels) for size in sizes}
    lsh = {
        size: _map(hamming(planes, planes), labels)
        for size in sizes
        for planes in [hyperplanes(words, size, seed=0)]
    }
    exact = _map(levels_of(words @ words.T), labels)
    bytes_of = 8 * (words > 0).sum(1).mean()  # a place and a weight, of 4 bytes each
    chance = by_chance(labels)
    best = max(codes.values())
    lead = (
        f"For each of {len(labels):,} held-out documents the others by how many bits differ, those of its own label right: "
        "mean average precision, equally near ones in random order. Solid: codes; dashed: the signs of as many random "
        "projections of TF-IDF (LSH); dotted: an exact scan by the cosine of TF-IDF, at about "
        f"{bytes_of:,.0f} bytes a document. Random order has {chance:.3f}; codes of {max(sizes)} bits "
        f"{codes[max(sizes)]:.3f}, {100 * best / exact:.0f} % of the exact scan at best."
    )
    return Drawing(
        "What they find, against bytes",
        lead,
        both(lambda width: _curve(codes, lsh, exact, chance, width)),
        _STYLE,
    )


def _map(levels: np.ndarray, labels: np.ndarray) -> float:
    return float(quality(levels, labels)["map"].mean())


def _curve(codes: dict[int, float], lsh: dict[int, float], exact: float, chance: float, width: int) -> str:
    narrow = width < 480
    height, right = (280, 92) if narrow else (380, 150)
    at = {size: size / 8 for size in codes}
    ticks = nice_ticks(0.0, max(exact, *codes.values(), *lsh.values()), 5)
    span = (min(at.values()), max(at.values()) if len(at) > 1 else 2 * max(at.values()))
    frame = Frame.fit(span, (0.0, ticks[-1]), (width, height), right, log=True)
    axes = frame.axes(
        [(byte, f"{byte:g}") for byte in at.values()],
        [(t, f"{t:g}") for t in ticks],
        "bytes a document",
        "mean average precision",
    )
    parts, notes = [axes], []
    for name, value in (("exact scan", exact), ("random order", chance)):
        y = frame.y(value)
        line = element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="bpv-exact")
        parts.append(element("g", line, tip(f"{name}: {value:.3f}")))
        notes.append((y, name))
    for name, values, style in (("codes", codes, "bpv-code"), ("LSH", lsh, "bpv-other")):
        points = [(frame.x(at[size]), frame.y(value)) for size, value in values.items()]
        parts.append(polyline(points, class_=f"line {style}"))
        for (x, y), (size, value) in zip(points, values.items()):
            words = tip(f"{name}, {size} bits: {value:.3f}")
            parts.append(element("circle", words, cx=x, cy=y, r=3.6, class_="bpv-dot"))
        notes.append((points[-1][1], name))
    for (_, name), y in zip(notes, _apart([y for y, _ in notes], height)):
        parts.append(label(frame.right + 8, y + 4, name, "note", "start"))
    return figure(width, height, "mean average precision against bytes a document", *parts)


def _apart(wanted: Sequence[float], height: int) -> list[float]:
    return [float(y) for y in spread(wanted, 14.0, 16.0, float(height - 48))]
