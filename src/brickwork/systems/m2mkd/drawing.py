"""The pictures of a run: teacher and student in each slot of the meta network, and what each phase has cost."""

from typing import Any

from brickwork.data.types import Examples
from brickwork.evaluation.significance import wilson
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.plots import both
from brickwork.inspection.svg import element, figure, label, nice_ticks, short, tip
from brickwork.systems.m2mkd.hybrids import misfits

_STYLE = """\
.m2m-teacher { fill: var(--shallow); }
.m2m-student { fill: var(--deep); }
.m2m-range { stroke: var(--ink); stroke-width: 1.3; opacity: .55; }
.m2m-level { stroke: var(--muted); stroke-width: 1.4; stroke-dasharray: 5 4; }
.m2m-name { fill: var(--ink); font-size: 13px; }
.m2m-value { fill: var(--surface); font-size: 13px; font-weight: 600; }
.m2m-meta { fill: var(--muted); }
.m2m-whole { fill: var(--middle); }"""
_KINDS = {"meta": "m2m-meta", "teacher": "m2m-teacher", "whole": "m2m-whole", "control": "m2m-meta"}
_NAMES = {
    "meta": "meta network",
    "teacher": "teacher",
    "whole": "assembled student",
    "control": "student from end to end",
}


def drawings(system: Any, examples: Examples) -> list[Drawing]:
    """What there is to see of what was trained."""
    if not len(examples):
        return []
    right = system.accuracies(examples, list(system.networks()))
    spent = system.ledger.spent()
    result = []
    if any("_slot_" in name for name in right):
        result.append(slots_drawing(right, system.config.slots, len(examples)))
    if spent:
        result.append(ledger_drawing(spent))
    if {"student", "end_to_end"} <= set(right):
        result.append(control_drawing(right, spent, len(examples)))
    return result


def slots_drawing(right: dict[str, float], slots: int, examples: int) -> Drawing:
    """Accuracy with one slot of the teacher, or of the student, in the meta network."""
    below = misfits(right, examples)
    lead = (
        f"Accuracy on {examples:,} held-out images of the meta network with one slot replaced: by the teacher's, and by the "
        "student's, which learnt there to answer as the teacher's. The dashed line is the meta network by itself"
        + (f" ({100 * right['meta']:.1f} %)" if "meta" in right else "")
        + "; bars: 95 % intervals over images. "
    )
    if "student" in right:
        lead += f"The assembled student, trained on as a whole: {100 * right['student']:.1f} %. "
    if below:
        which = f"slot {below[0]}" if len(below) == 1 else f"slots {', '.join(below)}"
        lead += (
            f"In {which} the teacher's part is worse than the meta network's own layer, beyond chance: it does not fit into "
            "that network, and there is little to learn from it there."
        )
    return Drawing(
        "The slots in a row", lead, both(lambda width: _slots(right, slots, examples, width)), _STYLE
    )


def _slots(right: dict[str, float], slots: int, examples: int, width: int) -> str:
    height, left, bottom, top = 320, 46.0, 44.0, 18.0
    ends = [wilson(round(value * examples), examples) for value in right.values()]
    ticks = nice_ticks(0, 100 * max(high for _, high in ends), 5)

    def y(value: float) -> float:
        return height - bottom - (height - bottom - top) * 100 * value / ticks[-1]

    parts = []
    for tick in ticks:
        parts.append(
            element("line", x1=left, x2=width - 8, y1=y(tick / 100), y2=y(tick / 100), class_="grid")
        )
        parts.append(label(left - 8, y(tick / 100) + 4, f"{tick:g}", "tick", "end"))
    each = (width - left - 8) / slots
    bar = min(64.0, each * 0.32)
    for slot in range(1, slots + 1):
        middle = left + (slot - 0.5) * each
        parts.append(label(middle, height - bottom + 18, f"slot {slot}", "m2m-name"))
        for side, who in ((-1, "teacher"), (1, "student")):
            value = right.get(f"{who}_slot_{slot}")
            if value is None:
                continue
            x = middle + side * (bar / 2 + 2)
            words = tip(f"{who}'s part in slot {slot}: {100 * value:.1f} % right")
            parts.append(
                element(
                    "rect",
                    words,
                    x=x - bar / 2,
                    y=y(value),
                    width=bar,
                    height=height - bottom - y(value),
                    rx=3,
                    class_=f"m2m-{who}",
                )
            )
            low, high = wilson(round(value * examples), examples)
            parts.append(element("line", x1=x, x2=x, y1=y(low), y2=y(high), class_="m2m-range"))
            inside = height - bottom - y(value) > 22
            foot = height - bottom - 8 if inside else y(high) - 5
            parts.append(label(x, foot, f"{100 * value:.0f}", "m2m-value" if inside else "tick"))
    if "meta" in right:
        parts.append(
            element(
                "line",
                tip(f"the meta network: {100 * right['meta']:.1f} %"),
                x1=left,
                x2=width - 8,
                y1=y(right["meta"]),
                y2=y(right["meta"]),
                class_="m2m-level",
            )
        )
    x = left
    for who, words in (("teacher", "teacher's part"), ("student", "student's part")):
        parts.append(element("rect", x=x, y=height - 16, width=11, height=11, rx=2, class_=f"m2m-{who}"))
        parts.append(label(x + 17, height - 6, words, "tick", "start"))
        x += 118
    return figure(
        width, height, "right answers of the meta network with one slot replaced, in percent", *parts
    )


def ledger_drawing(spent: dict[str, float]) -> Drawing:
    """Floating-point operations of each phase."""
    total = sum(flops for name, flops in spent.items() if name != "control")
    student = sum(flops for name, flops in spent.items() if name == "whole" or name.startswith("slot "))
    slots = [flops for name, flops in spent.items() if name.startswith("slot ")]
    lead = (
        f"{short(total)} floating-point operations in all, forward and backward, of which {short(student)} for the student"
        + (
            f"; with its {len(slots)} slots side by side, the longest of them takes {short(max(slots))}"
            if len(slots) > 1
            else ""
        )
        + ". Operations in which the meta network runs, or the teacher answers, count in the phase that needs them. A "
        "teacher that you had before has cost nothing here."
    )
    return Drawing("What each phase has cost", lead, both(lambda width: _bars(spent, width)), _STYLE)


def _bars(spent: dict[str, float], width: int) -> str:
    left, right, row = 168.0, 66.0, 30.0
    most, parts = max(spent.values()), []
    for place, (name, flops) in enumerate(spent.items()):
        y = 6 + place * row
        long = max(1.0, (width - left - right) * flops / most)
        words = tip(f"{_NAMES.get(name, name)}: {flops:.4g} operations")
        kind = _KINDS.get(name, "m2m-student")
        parts.append(label(left - 10, y + 16, _NAMES.get(name, name), "m2m-name", "end"))
        parts.append(element("rect", words, x=left, y=y, width=long, height=row - 8, rx=3, class_=kind))
        parts.append(label(left + long + 8, y + 16, short(flops), "tick", "start"))
    return figure(width, round(12 + len(spent) * row), "floating-point operations by phase", *parts)


def control_drawing(right: dict[str, float], spent: dict[str, float], examples: int) -> Drawing:
    """The assembled student against one that learnt from end to end, and what both have cost."""
    whole = sum(flops for name, flops in spent.items() if name != "control")
    own = sum(flops for name, flops in spent.items() if name == "whole" or name.startswith("slot "))
    rows = [
        ("assembled", right["student"], own, "m2m-whole"),
        ("end to end", right["end_to_end"], spent["control"], "m2m-meta"),
    ]
    gap = 100 * (right["student"] - right["end_to_end"])
    lead = (
        f"Accuracy on {examples:,} held-out images of the assembled student and of one of the same kind that learnt from "
        f"end to end, for as many steps as slots and assembled student had: {gap:+.1f} points. Operations: {short(own)} for "
        f"the student ({short(whole)} with teacher and meta network), {short(spent['control'])} from end to end. Bars: 95 % "
        "intervals over images; one training of each says little, and brickwork compare trains several."
    )
    return Drawing(
        "Assembled against end to end, at equal steps",
        lead,
        both(lambda width: _control(rows, examples, width)),
        _STYLE,
    )


def _control(rows: list[tuple[str, float, float, str]], examples: int, width: int) -> str:
    left, right, row = 110.0, 150.0, 40.0
    parts = []
    for place, (name, value, flops, kind) in enumerate(rows):
        y = 6 + place * row
        long = (width - left - right) * value
        low, high = ((width - left - right) * end for end in wilson(round(value * examples), examples))
        parts.append(label(left - 10, y + 19, name, "m2m-name", "end"))
        parts.append(element("rect", x=left, y=y, width=long, height=row - 12, rx=3, class_=kind))
        middle = y + (row - 12) / 2
        parts.append(element("line", x1=left + low, x2=left + high, y1=middle, y2=middle, class_="m2m-range"))
        words = f"{100 * value:.1f} %, {short(flops)}"
        parts.append(label(left + high + 10, y + 19, words, "tick", "start"))
    return figure(width, round(12 + len(rows) * row), "accuracy of both students", *parts)
