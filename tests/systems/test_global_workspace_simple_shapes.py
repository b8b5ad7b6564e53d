"""Simple shapes: the same byte for byte, and images, attributes and captions agree."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest

from brickwork.systems.global_workspace.data import Data
from brickwork.systems.global_workspace.domains import domain_task
from brickwork.systems.global_workspace.simple_shapes import (
    ATTRIBUTES,
    SHAPES,
    SIDE,
    WORDS,
    Shape,
    attributes,
    caption,
    count_words,
    draw_shape,
    make_shape,
    simple_shapes,
)


def test_a_scene_is_the_same_whatever_else_is_drawn():
    few, many = simple_shapes(3, seed=5), simple_shapes(6, seed=5)
    assert all(np.array_equal(few[name], many[name][:3]) for name in few)
    assert draw_shape(make_shape(5, 2)).tobytes() == draw_shape(make_shape(5, 2)).tobytes()
    assert make_shape(5, 2) != make_shape(6, 2)
    block = draw_shape(make_shape(5, 2))[6:8, 10:12].reshape(4, 3).mean(0) / 255
    np.testing.assert_allclose(few["image"].reshape(-1, 16, 16, 3)[2, 3, 5], block, atol=1e-6)
    assert len({hashlib.sha256(draw_shape(make_shape(5, i)).tobytes()).hexdigest() for i in range(50)}) == 50


@pytest.mark.parametrize("kind", SHAPES)
def test_the_image_shows_the_attributes(kind):
    """Measured in the image: nothing outside the circle of the size, the colour inside, the mean near the place, and the
    far end in the direction of the angle."""
    for angle in (0.0, 1.0, 2.5, 4.0):
        shape = Shape(kind, 14.0, 18.0, 14.0, angle, (200, 40, 90))
        image = draw_shape(shape).astype(int)
        y, x = np.nonzero(image.sum(-1) > 60)
        dx, dy = x + 0.5 - shape.x, y + 0.5 - shape.y
        assert np.hypot(dx, dy).max() <= shape.size / 2 + 1
        assert tuple(image[18, 14]) == shape.colour
        assert abs(dx.mean()) < 2
        assert abs(dy.mean()) < 2
        along = dx * math.cos(angle) + dy * math.sin(angle)
        across = np.abs(dy * math.cos(angle) - dx * math.sin(angle))
        assert across[along > 4].mean() < across[along < -2].mean(), "it is pointed at its front"
        small = draw_shape(replace(shape, size=7.0))
        assert 0 < (small.sum(-1) > 60).sum() < len(x)


def test_every_shape_is_whole_and_visible():
    for index in range(200):
        image = draw_shape(make_shape(0, index)).astype(int).sum(-1)
        assert image[0].max() == image[-1].max() == image[:, 0].max() == image[:, -1].max() == 0
        assert (image > 100).sum() > 10


def test_attributes_and_captions():
    shape = Shape("egg", SIDE / 2, 4.0, 14.0, math.pi, (0, 0, 255))
    expected = [0, 1, 0, 0, -0.75, 1, -1, 0, 0, 0, 1]
    np.testing.assert_allclose(attributes(shape), expected, atol=1e-6)
    assert len(ATTRIBUTES) == len(expected)
    assert caption(shape) == "a large blue egg at the top centre, pointing west"
    counts = count_words(caption(shape))
    assert {w for w, n in zip(WORDS, counts) if n} == {"large", "blue", "egg", "top", "centre", "west"}
    assert len(set(WORDS)) == len(WORDS)


def test_shapes_are_a_task_of_domains():
    task = domain_task(Data(source="simple-shapes", paired=20, limit=100), 0)
    there = np.stack([np.isfinite(values[:, 0]) for values in task.train.columns.values()])
    assert list(task.train.columns) == ["image", "attr", "text"]
    assert (there.sum(0) == 3).sum() == 20
    assert set(there.sum(0).tolist()) == {1, 3}
