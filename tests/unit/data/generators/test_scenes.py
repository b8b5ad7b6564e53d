"""Made-up scenes: the same everywhere, what is drawn is what is said, and noise in exact shares."""

from collections import Counter

import numpy as np
import pytest

from brickwork.core.config import override
from brickwork.core.errors import ConfigError
from brickwork.data.config import DataConfig
from brickwork.data.generators.scenes import COLOURS, GROUNDS, Noise, Scene, draw, make_scenes, scene_pairs
from brickwork.data.image_text import image_text_task


def test_the_same_seed_gives_the_same_scenes():
    noise = Noise(mismatched=0.2, boilerplate=0.1, rare=0.1, length=0.1)
    one, two, other = (scene_pairs(50, seed, noise) for seed in (3, 3, 4))
    assert np.array_equal(one[0], two[0])
    assert one[1:] == two[1:]
    assert one[1] != other[1]
    assert make_scenes(20, 3) == make_scenes(50, 3)[:20], "more of a seed begins as fewer"


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "diamond", "cross", "star", "bar"])
def test_what_is_drawn_is_what_is_said(shape):
    for place, (x, y) in {"middle": (16, 16), "top left": (10, 10), "bottom right": (22, 22)}.items():
        image = draw(Scene(shape, "red", "large", place, "sky")).astype(int)
        red = np.abs(image - COLOURS["red"]).sum(-1) < 30
        assert tuple(image[31, 0]) == GROUNDS["sky"] or place != "middle"
        rows, columns = np.nonzero(red)
        assert abs(rows.mean() - y) < 2
        assert abs(columns.mean() - x) < 2
        small = (
            np.abs(draw(Scene(shape, "red", "small", place, "sky")).astype(int) - COLOURS["red"]).sum(-1) < 30
        )
        assert 0 < small.sum() < red.sum()


def test_noise_has_exact_shares_and_does_what_it_says():
    noise = Noise(mismatched=0.2, boilerplate=0.3, rare=0.1, length=0.15)
    _, texts, scenes, fate = scene_pairs(400, 1, noise, missing=0.0)
    assert Counter(fate) == {"mismatched": 80, "boilerplate": 120, "rare": 40, "length": 60, "good": 100}

    def says(text: str, scene: Scene) -> bool:
        names = {"square": ("square", "box"), "circle": ("circle", "disc")}.get(scene.shape, (scene.shape,))
        colours = ("purple", "violet") if scene.colour == "purple" else (scene.colour,)
        return any(n in text.split() for n in names) and any(c in text.split() for c in colours)

    share = {kind: [says(t, s) for t, s, f in zip(texts, scenes, fate) if f == kind] for kind in set(fate)}
    assert all(share["good"])
    assert not any(share["rare"]), "a filter of rare words would lose good captions"
    rare = [word for t, f in zip(texts, fate) if f == "rare" for word in t.split() if word.startswith("img")]
    assert len(set(rare)) == len(rare) > 200
    assert not any(share["boilerplate"])
    assert np.mean(share["mismatched"]) < 0.1, "by chance one of 64 fits"
    assert len({t for t, f in zip(texts, fate) if f == "boilerplate"}) == 5
    lengths = [len(t.split()) for t, f in zip(texts, fate) if f == "length"]
    assert all(length == 1 or length > 20 for length in lengths)


def test_scenes_as_a_task():
    config = DataConfig(source="scenes", limit=60)
    task = image_text_task(config, 0, noise=Noise(mismatched=0.5))
    assert (len(task.train), len(task.validation), len(task.test)) == (60, 500, 500)
    assert task.modality == "image-text"
    clean = image_text_task(config, 0)
    same = [a == b for a, b in zip(task.train.columns["text"], clean.train.columns["text"])]
    assert same.count(False) == pytest.approx(30, abs=3)
    assert task.test.columns["text"] == clean.test.columns["text"]
    with pytest.raises(ConfigError, match="at most 1"):
        override(Noise(), ["mismatched=0.7", "rare=0.7"])
    with pytest.raises(ConfigError, match="must not be negative"):
        override(Noise(), ["mismatched=-0.1"])
    with pytest.raises(ConfigError, match="did you mean 'mismatched'"):
        override(Noise(), ["mismached=0.5"])
    with pytest.raises(ConfigError, match="no effect with 'emoji'"):
        image_text_task(DataConfig(source="emoji"), 0, noise=Noise(rare=0.1))
    with pytest.raises(ConfigError, match=r"data\.image_size=8 has no effect with scenes"):
        image_text_task(config, 0, image_size=8)
