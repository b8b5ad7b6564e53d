"""Which objective goes with which data; AnglE as the sum of its two terms."""

import pytest
import torch

from brickwork.core.errors import DataError
from brickwork.objectives.contrastive import angle, cosent, info_nce
from brickwork.objectives.pairwise import choose_objective, pair_loss

ALL = ("info_nce", "cosent", "angle", "cross_entropy")


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [("pairs", "info_nce"), ("triplets", "info_nce"), ("scored", "cosent"), ("labelled", "cross_entropy")],
)
def test_the_data_chooses(kind, chosen):
    assert choose_objective("auto", kind, ALL, "x") == chosen


def test_a_choice_that_does_not_fit_is_told_with_what_is_needed():
    assert choose_objective("angle", "scored", ALL, "x") == "angle"
    with pytest.raises(
        DataError, match=r"x with objective 'angle' needs scored pairs.*this data is pairs.*info_nce"
    ):
        choose_objective("angle", "pairs", ALL, "x")
    with pytest.raises(DataError, match=r"needs pairs.*this data is labelled"):
        choose_objective("auto", "labelled", ALL[:3], "x")


def test_losses_are_those_of_the_objectives():
    generator = torch.Generator().manual_seed(0)
    a, p = torch.randn(2, 6, 8, generator=generator)
    batch = {"score": torch.rand(6, generator=generator), "group": torch.tensor([0, 0, 1, 2, 3, 4])}
    expected = info_nce(a, p, temperature=0.1, group=batch["group"])
    torch.testing.assert_close(pair_loss("info_nce", batch, 0.1)(a, p), expected)
    one, other = cosent(a, p, batch["score"], scale=10.0), angle(a, p, batch["score"], scale=10.0)
    torch.testing.assert_close(pair_loss("cosent", batch, 0.1)(a, p), one)
    torch.testing.assert_close(pair_loss("angle", batch, 0.1)(a, p), one + other)
