"""The passages before and after a passage of the same source, in reading order.

The readers of documents count the passages of a file in their ids: ``guide.md#0``, ``guide.md#1`` …, whatever the order in
which an index came to know them. So do the rows of a table, and many ids of users (``page-012``). The neighbour of a
document is the one whose id has the next number and whose source is the same; a number that is missing ends the text.
"""

import re
from collections.abc import Sequence

from brickwork.core.values import whole_number
from brickwork.data.types import Document
from brickwork.index.contract import Backend

_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)


def neighbours(
    backend: Backend, documents: Sequence[tuple[str, str]], count: int = 1
) -> list[tuple[tuple[Document, ...], tuple[Document, ...]]]:
    """For each (id, source): up to ``count`` passages before it and after it, each in reading order.

    Raises:
        ConfigError: ``count`` is no whole number from 1 on.
    """
    whole_number("neighbours", count, least=1)
    count = min(count, len(backend))  # there cannot be more
    steps = [step for step in range(-count, count + 1) if step]
    wanted = {one for name, _ in documents for step in steps for one in _numbered(name, step)}
    there = backend.known(sorted(wanted))
    return [
        (
            tuple(reversed(_run(there, name, source, range(-1, -count - 1, -1)))),
            tuple(_run(there, name, source, range(1, count + 1))),
        )
        for name, source in documents
    ]


def _run(there: dict[str, Document], name: str, source: str, steps: range) -> list[Document]:
    """The documents at ``steps`` from one, as far as they go without a gap."""
    found: list[Document] = []
    for step in steps:
        named = [there[one] for one in _numbered(name, step) if one in there and there[one].source == source]
        if not named or not source:
            break
        found.append(named[0])
    return found


def _numbered(name: str, step: int) -> list[str]:
    """The ids that may be ``step`` numbers after another: with leading zeros, and without."""
    match = _NUMBERED.fullmatch(name)
    if match is None or (number := int(match[2]) + step) < 0:
        return []
    return list(dict.fromkeys((f"{match[1]}{number:0{len(match[2])}d}", f"{match[1]}{number}")))
