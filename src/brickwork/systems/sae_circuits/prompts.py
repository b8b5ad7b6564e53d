"""A prompt, and made-up sets of them in which it is known what follows: the tasks of the paper, and the wired one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from brickwork.systems.sae_circuits.wired import LENGTH, TOKENS


@dataclass(frozen=True)
class Prompt:
    """``group`` joins a prompt with the behaviour and the one without that is as like it as can be. ``row``: of the file."""

    text: str
    behaves: bool
    group: int
    answer: str = ""
    wrong: str = ""
    row: int = 0


def _wired(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """16 different tokens, then one of the first 13 again: its successor follows. Without: it was another token before."""
    order = rng.permutation(TOKENS)
    sequence, unused = order[: LENGTH - 2].tolist(), int(order[LENGTH - 2])
    at = int(rng.integers(0, LENGTH - 5))
    answer = f" t{sequence[at + 1]}"
    for behaves in (True, False):
        shown = list(sequence)
        if not behaves:
            shown[at] = unused
        words = " ".join(f"t{token}" for token in [*shown, sequence[at]])
        yield Prompt(f"<start> {words}", behaves, group, answer)


_NAMES = (
    "Mary",
    "John",
    "Tom",
    "Anna",
    "Sarah",
    "James",
    "Alice",
    "David",
    "Emma",
    "Peter",
    "Laura",
    "Mark",
    "Susan",
)
_PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station")
_THINGS = ("ring", "kiss", "bone", "basketball", "computer", "necklace", "drink", "snack")
_FRAMES = (
    "Then, {0} and {1} went to the {place}. {2} gave a {thing} to",
    "When {0} and {1} got a {thing} at the {place}, {2} decided to give it to",
    "After {0} and {1} went to the {place}, {2} gave a {thing} to",
    "While {0} and {1} were working at the {place}, {2} gave a {thing} to",
)


def _ioi(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """Indirect object identification (Wang et al. 2022): the name that comes once. Without: three different names."""
    a, b, c = rng.choice(_NAMES, 3, replace=False).tolist()
    frame, place, thing = (str(rng.choice(words)) for words in (_FRAMES, _PLACES, _THINGS))
    first, second = (a, b) if rng.random() < 0.5 else (b, a)  # ABBA or BABA
    for subject in (b, c):
        text = frame.format(first, second, subject, place=place, thing=thing)
        yield Prompt(text, subject == b, group, f" {a}", f" {b}")


_NOUNS = ("war", "trip", "study", "project", "reign", "strike", "voyage", "siege", "exhibition", "tour")


def _greater_than(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """Greater-than (Hanna et al. 2023), a digit at a time: the year that follows is later. Without: it starts with 01."""
    noun, century, decade = str(rng.choice(_NOUNS)), int(rng.integers(11, 18)), int(rng.integers(3, 8))
    for behaves in (True, False):
        start = f"{century}{decade}{rng.integers(2, 9)}" if behaves else f"{century}01"
        text = f"The {noun} lasted from the year {start} to the year {century}"
        yield Prompt(text, behaves, group, str(decade + 1), str(decade - 2))


_ARGUMENTS = (
    "load",
    "size",
    "files",
    "last",
    "node",
    "first",
    "table",
    "image",
    "group",
    "index",
    "field",
    "model",
    "path",
    "line",
    "style",
    "range",
)
_WORDS = (
    "oil",
    "column",
    "piece",
    "crime",
    "population",
    "unit",
    "dark",
    "sun",
    "method",
    "street",
    "power",
    "plan",
)


def _docstring(rng: np.random.Generator, group: int) -> Iterator[Prompt]:
    """Arguments of a function in the order of its first line (Heimersheim, Janiak 2023): the third one follows. Without:
    both lists are of other arguments ("random_random" of Conmy et al. 2023)."""
    names = rng.choice(_ARGUMENTS, 10, replace=False).tolist()
    name, *words = rng.choice(_WORDS, 6, replace=False).tolist()
    for behaves in (True, False):
        given = names[:4] if behaves else names[4:8]
        described = names[:2] if behaves else names[8:]
        text = (
            f'def {name}(self, {", ".join(given)}):\n    """{words[0]} {words[1]}\n\n'
            f"    :param {described[0]}: {words[2]} {words[3]}\n    :param {described[1]}: {words[4]}\n    :param"
        )
        yield Prompt(text, behaves, group, f" {names[2]}", f" {names[3]}")


MADE_UP: dict[str, Callable[[np.random.Generator, int], Iterator[Prompt]]] = {
    "wired": _wired,
    "ioi": _ioi,
    "greater-than": _greater_than,
    "docstring": _docstring,
}
