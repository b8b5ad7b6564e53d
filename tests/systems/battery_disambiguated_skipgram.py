"""What the battery has to know of disambiguated-skipgram."""

from dataclasses import replace
from typing import Any

from brickwork.systems.disambiguated_skipgram.recipes import smoke

UNTESTED = {
    "words": "which senses are drawn; tests/systems/test_disambiguated_skipgram.py",
    "data.also": "known sets on this machine; tests/systems/test_disambiguated_skipgram.py",
}
CANDIDATES = {"max_words": [40], "min_count": [150], "prune": [0.4], "subsample": [0.01], "data.pseudowords": [3]}


def runs() -> list[Any]:
    """A sense for each pair of words, as published."""
    run = smoke()
    return [replace(run, model=replace(run.model, draw="pair"))]
