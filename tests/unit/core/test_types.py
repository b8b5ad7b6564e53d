"""Packed tokens, losses, seeds, elastic sizes: against brute force."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for, rng_state, seed_everything, set_rng_state
from brickwork.core.types import LossOutput, TokenBatch, batch_size, slice_batch

rows = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=6), min_size=1, max_size=6)


@settings(deadline=None)
@given(rows, st.data())
def test_token_batch_packs_slices_and_pads_like_lists(texts, data):
    batch = TokenBatch.from_lists(texts)
    assert batch.sequence.tolist() == [i for i, text in enumerate(texts) for _ in text]
    assert batch.position.tolist() == [j for text in texts for j in range(len(text))]
    ids, mask = batch.padded(0)
    longest = max(map(len, texts))
    assert ids.tolist() == [text + [0] * (longest - len(text)) for text in texts]
    assert mask.tolist() == [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
    start = data.draw(st.integers(0, len(texts) - 1))
    stop = data.draw(st.integers(start + 1, len(texts)))
    part, wanted = batch.slice(start, stop), TokenBatch.from_lists(texts[start:stop])
    assert part.ids.tolist() == wanted.ids.tolist()
    assert part.lengths.tolist() == wanted.lengths.tolist()
    assert part.max_length == wanted.max_length


def test_slice_batch_cuts_every_column_and_keeps_numbers():
    batch = {
        "tokens": TokenBatch.from_lists([[1], [2, 3], [4]]),
        "label": torch.arange(3),
        "id": ["a", "b", "c"],
        "step": 7,
    }
    part = slice_batch(batch, 1, 3)
    assert batch_size(batch) == 3
    assert batch_size(part) == 2
    assert (part["tokens"].ids.tolist(), part["label"].tolist(), part["id"], part["step"]) == (
        [2, 3, 4],
        [1, 2],
        ["b", "c"],
        7,
    )


def test_loss_output_is_the_weighted_sum_and_keeps_names_apart():
    loss = LossOutput.of({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"b": 0.5}, {"norm": 1.0})
    assert loss.total.item() == 3.5
    with pytest.raises(ValueError, match="term and a statistic"):
        LossOutput.of({"a": torch.tensor(1.0)}, stats={"a": 1.0})


def test_generators_depend_on_their_arguments_and_nothing_else():
    def draw(*key):
        return torch.rand(3, generator=generator_for(*key)).tolist()

    first = draw(1, 2, "layer")
    torch.rand(5)
    assert draw(1, 2, "layer") == first
    assert (
        len({tuple(draw(*key)) for key in [(1, 2, "layer"), (2, 2, "layer"), (1, 3, "layer"), (1, 2, "dim")]})
        == 4
    )


def test_rng_state_round_trips_through_json_values():
    def draw():
        return (
            random.random(),
            np.random.rand(),
            np.random.randn(),
            torch.randn(2).tolist(),
            random.gauss(0, 1),
        )

    seed_everything(5)
    draw()
    values, tensors = rng_state()
    expected = [draw() for _ in range(3)]
    set_rng_state(values, tensors)
    assert [draw() for _ in range(3)] == expected


def test_elastic_axes_allow_in_between_with_a_note_and_refuse_outside():
    axes = ElasticAxes(dims=(8, 16, 32), layers=(1, 2, 3))
    assert axes.resolve(None, None) == (32, 3, [])
    assert axes.resolve(16, 1) == (16, 1, [])
    dim, layers, notes = axes.resolve(20, None)
    assert (dim, layers) == (20, 3)
    assert "dim=20 was not trained" in notes[0]
    assert notes[0].endswith("its quality lies between those beside it")
    (below,) = ElasticAxes(dims=(64,), layers=(3,)).resolve(None, 2)[
        2
    ]  # a pretrained model, cut: nothing is beside it
    assert below == "layers=2 was not trained (trained: [3]); expect it to be worse"
    for wrong in ({"dim": 33, "layers": None}, {"dim": 0, "layers": None}, {"dim": None, "layers": 4}):
        with pytest.raises(ConfigError, match="outside 1"):
            axes.resolve(**wrong)
    with pytest.raises(ConfigError, match="ascending"):
        ElasticAxes(dims=(16, 8), layers=(1,))


def test_depth_0_is_one_where_it_was_trained():
    axes = ElasticAxes(dims=(8, 16), layers=(0, 3))
    assert axes.resolve(None, 0) == (16, 0, [])
    with pytest.raises(ConfigError, match="layers=-1 is outside 0 … 3"):
        axes.resolve(None, -1)
    with pytest.raises(ConfigError, match="layers=0 is outside 1 … 3"):
        ElasticAxes(dims=(8,), layers=(1, 3)).resolve(None, 0)
    for wrong in ({"dims": (0, 8), "layers": (1,)}, {"dims": (8,), "layers": (0,)}):
        with pytest.raises(ConfigError, match="ascending"):
            ElasticAxes(**wrong)
