"""Pairs of digits and their sums, on numbers or on images, with parts of the table of pairs held out.

| held out | pairs (a, b) |
|----------|--------------|
| interp   | 30 of 100 at random; every a and every b still occurs |
| corner   | a ≥ 6 and b ≥ 6 |
| sum      | a + b ≥ 13 |
| bigA     | a ≥ 7 |
| bigB     | b ≥ 7 |
"""

import numpy as np
from jaxtyping import Bool, Int64

from brickwork.core.errors import DataError
from brickwork.core.seeding import generator_for
from brickwork.data import splits
from brickwork.data.sets.images import load_images
from brickwork.data.types import Examples, TaskData
from brickwork.systems.global_workspace.data import NUM_VALUES, Addition, Data, HeldOut

_NUM_INTERP = 30
_TRAIN_PAIRS, _TEST_PAIRS = 20_000, 2_000
_TEST_SHARE = 0.3  # of scikit-learn's digits, which have no official parts


def held_out_pairs(held_out: HeldOut, seed: int) -> Bool[np.ndarray, "a b"]:
    """Which of the 10 × 10 pairs (a, b) no training example may show."""
    a, b = np.indices((NUM_VALUES, NUM_VALUES))
    if held_out != "interp":
        return {"corner": (a >= 6) & (b >= 6), "sum": a + b >= 13, "bigA": a >= 7, "bigB": b >= 7}[held_out]
    for attempt in range(1000):
        rng = np.random.default_rng(generator_for(seed, attempt, "interp").initial_seed())
        mask = (rng.permutation(NUM_VALUES**2) < _NUM_INTERP).reshape(NUM_VALUES, NUM_VALUES)
        if not mask.all(0).any() and not mask.all(1).any():
            return mask
    raise AssertionError("no split with every digit left in training")  # of 30 in 100: practically never


def sums(a: np.ndarray, b: np.ndarray, modulo: int) -> Int64[np.ndarray, " n"]:
    """a + b, modulo ``modulo`` if that is not 0."""
    total = a + b
    return (total % modulo if modulo else total).astype(np.int64)


def addition_task(config: Data, seed: int) -> TaskData:
    """The task that ``config.addition`` describes. Training and validation show seen pairs only; test shows all 100.

    Columns: ``a``, ``b``, ``sum``; of images also ``first``, ``second``; ``held_out``: 1 where no training example has this
    pair, ``new_sum``: 1 where none has this sum either. Images of the test part are in no other part.

    Raises:
        DataError: the images are not on this machine, or there are too few.
    """
    task = config.addition
    hidden = held_out_pairs(task.held_out, seed)
    if task.digits is None:
        seen = _numbered(np.argwhere(~hidden), hidden, task.modulo)
        everything = _numbered(np.argwhere(hidden | ~hidden), hidden, task.modulo)
        parts = (Examples(seen), Examples(seen), Examples(everything))
    else:
        parts = _image_parts(task, hidden, config, seed)
    names = tuple(map(str, range(task.modulo or 2 * NUM_VALUES - 1)))
    return TaskData(
        name=task.name(),
        kind="sums",
        modality="numbers" if task.digits is None else "image",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        num_classes=len(names),
        class_names=names,
        notes=(f"{int(hidden.sum())} of 100 pairs are held out ({task.held_out})",),
    )


def _numbered(pairs: np.ndarray, hidden: np.ndarray, modulo: int) -> dict[str, np.ndarray]:
    a, b = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
    seen = np.argwhere(~hidden)
    seen_sums = np.unique(sums(seen[:, 0], seen[:, 1], modulo))
    total = sums(a, b, modulo)
    return {
        "a": a,
        "b": b,
        "sum": total,
        "held_out": hidden[a, b].astype(np.int64),
        "new_sum": (~np.isin(total, seen_sums)).astype(np.int64),
    }


def _image_parts(
    task: Addition, hidden: np.ndarray, config: Data, seed: int
) -> tuple[Examples, Examples, Examples]:
    name = task.digits or ""
    if name == "mnist":
        train, test = load_images(name, "train", config.limit), load_images(name, "test", config.limit)
    else:
        everything = load_images(name, "all", config.limit)
        rows = splits.split(
            [str(row) for row in range(len(everything))],
            validation_share=0.0,
            test_share=_TEST_SHARE,
            max_held_out=len(everything),
            seed=0,
        )
        train, _, test = splits.select(everything, rows)
    seen, all_pairs = np.argwhere(~hidden), np.argwhere(hidden | ~hidden)
    made = []
    for part, images, pairs, count in (
        ("train", train, seen, _TRAIN_PAIRS),
        ("validation", train, seen, _TEST_PAIRS),
        ("test", test, all_pairs, _TEST_PAIRS),
    ):
        rng = np.random.default_rng(generator_for(seed, 0, f"addition {part}").initial_seed())
        chosen = pairs[rng.integers(0, len(pairs), count)]
        columns = _numbered(chosen, hidden, task.modulo)
        by_digit = [
            np.flatnonzero(np.asarray(images.columns["label"]) == digit) for digit in range(NUM_VALUES)
        ]
        if min(map(len, by_digit)) == 0:
            raise DataError(f"{name} with limit={config.limit} lacks some digit; use a larger limit")
        drawn = {
            side: np.asarray(images.columns["input"])[
                [rng.choice(by_digit[digit]) for digit in columns[value]]
            ]
            for side, value in (("first", "a"), ("second", "b"))
        }
        made.append(Examples({**columns, **drawn}))
    return made[0], made[1], made[2]
