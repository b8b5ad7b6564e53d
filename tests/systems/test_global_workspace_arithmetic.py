"""The table of pairs, what is held out of it, and that no training example shows what is held out."""

import numpy as np
import pytest

from brickwork.core.config import override
from brickwork.core.errors import ConfigError
from brickwork.systems.global_workspace.arithmetic import addition_task, held_out_pairs
from brickwork.systems.global_workspace.data import Addition, Data


@pytest.mark.parametrize(
    ("held_out", "count"), [("corner", 16), ("sum", 21), ("bigA", 30), ("bigB", 30), ("interp", 30)]
)
def test_number_of_held_out_pairs(held_out, count):
    """Counted by hand: 4 × 4; 6 + 5 + … + 1; 3 × 10; and 30 by choice."""
    assert held_out_pairs(held_out, 0).sum() == count


def test_interp_leaves_every_digit_on_both_sides_and_follows_the_seed():
    masks = [held_out_pairs("interp", seed) for seed in range(20)]
    for mask in masks:
        assert (~mask).any(0).all()
        assert (~mask).any(1).all()
    assert (masks[0] == held_out_pairs("interp", 0)).all()
    assert not (masks[0] == masks[1]).all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("addition.held_out=cornr", "choose one of 'interp', 'corner'"),
        ("addition.modulo=7", "choose one of 0, 10"),
        ("addition.digit=mnist", r"did you mean 'addition\.digits'"),
        ("source=digit-halves", "addition has no effect with source 'digit-halves'"),
        ("paired=3", "paired has no effect with source 'addition', only with digit-halves and simple-shapes"),
    ],
)
def test_choices_that_mean_nothing_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        override(data_of(modulo=10), [setting])


def data_of(**options):
    return Data(source="addition", addition=Addition(**options))


@pytest.mark.parametrize(
    "options",
    [{}, {"modulo": 10, "held_out": "interp"}, {"digits": "digits", "modulo": 10, "held_out": "bigB"}],
    ids=str,
)
def test_training_never_shows_what_is_held_out(options):
    task = addition_task(data_of(**options), seed=3)
    modulo = options.get("modulo", 100)
    for part in (task.train, task.validation, task.test):
        c = part.columns
        assert (c["sum"] == (c["a"] + c["b"]) % modulo).all()
    seen = set(zip(task.train.columns["a"].tolist(), task.train.columns["b"].tolist()))
    sums = set(task.train.columns["sum"].tolist())
    test = task.test.columns
    hidden = np.array([(a, b) not in seen for a, b in zip(test["a"].tolist(), test["b"].tolist())])
    assert (hidden == (test["held_out"] == 1)).all()
    assert (test["new_sum"] == [s not in sums for s in test["sum"].tolist()]).all()
    assert not task.train.columns["held_out"].any()
    assert not task.validation.columns["held_out"].any()
    assert hidden.any()


def test_images_of_test_are_in_no_other_part():
    task = addition_task(data_of(digits="digits", modulo=10), seed=0)
    parts = {}
    for name, part in (("train", task.train), ("test", task.test)):
        images = np.concatenate([part.columns["first"], part.columns["second"]])
        parts[name] = {image.tobytes() for image in images}
    assert not parts["train"] & parts["test"]


def test_images_show_their_digits():
    """A 1-nearest-neighbour classifier on the drawn images recovers the columns a and b."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    digit_of = {
        np.round(i * (255 / 16)).astype(np.uint8).tobytes(): int(t)
        for i, t in zip(digits.images, digits.target)
    }
    columns = addition_task(data_of(digits="digits", modulo=10), seed=0).test.take(range(100))
    assert [digit_of[image.tobytes()] for image in columns["first"]] == columns["a"].tolist()
    assert [digit_of[image.tobytes()] for image in columns["second"]] == columns["b"].tolist()
