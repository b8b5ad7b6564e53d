"""How many texts were longer than the model reads, told once for a whole job and not for each of its batches."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from brickwork.core.errors import warn

KIND = "texts that were cut"


@contextlib.contextmanager
def counting_cuts(representation: Any) -> Iterator[Callable[[int], None]]:
    """Warns at the end of how many texts, encoded meanwhile, the model read the beginning only.

    Yields what to call with the number of texts of each part. Within, ``encode`` does not warn by itself; and once told,
    a representation is silent about it.
    """
    encoder = representation.encoder
    given: set[str] = getattr(representation, "notes_given", set())
    before, texts, is_first = getattr(encoder, "truncated", 0), 0, KIND not in given

    def count(more: int) -> None:
        nonlocal texts
        texts += more

    given.add(KIND)
    cut = 0
    try:
        yield count
        cut = getattr(encoder, "truncated", 0) - before
    finally:
        if is_first and not cut:
            given.discard(KIND)
    if is_first and cut:
        tell(
            f"{cut:,} of {texts:,} texts are longer than {encoder.max_tokens} tokens and were cut there; "
            "split long texts into passages to keep all of them"
        )


def tell(message: str) -> None:
    """A warning, at the line that asked for the encoding."""
    warn(message)
