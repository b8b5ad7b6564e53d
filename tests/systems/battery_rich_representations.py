"""What the battery has to know of rich-representations: its members may be finished runs."""

from dataclasses import replace
from typing import Any

from brickwork.systems.rich_representations.recipes import smoke

CANDIDATES = {"members": [1, 2], "data.new_classes": [2]}
UNTESTED = {
    "learn": "of a run with stages, or of finished runs; tests/systems/test_rich_representations.py",
    "episodes": "of stages; tests/systems/test_rich_representations.py",
}


def runs() -> list[Any]:
    """Distilled."""
    run = smoke()
    return [replace(run, model=replace(run.model, distil=True))]


def earlier(case, folder):
    """Run folders of two encoders."""
    made = []
    for seed in (1, 2):
        case.fresh(seed=seed, members=1).representation().save(folder / f"v{seed}")
        made.append(str(folder / f"v{seed}"))
    return {"runs": [tuple(made)]}


def starts(case, made):
    """Members that are finished runs."""
    yield replace(case.run.model, members=None, runs=made["runs"][0][:1]), case.data
