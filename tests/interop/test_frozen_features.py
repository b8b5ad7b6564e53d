"""Vectors of a frozen encoder are computed once, by content, and the losses are those of computing them every time."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork
from brickwork.api.train import build
from brickwork.core.errors import BrickworkWarning
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.feature_cache import FeatureCache, keys_of
from interop import pretrained_text as shapes
from vision_checkpoints import image_checkpoint, pictures


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    shapes.write(shapes.Shape("bert", {**shapes.ENCODER, "type_vocab_size": 2}), place / "bert")
    image_checkpoint("vit", place / "vit")
    rows = [{"question": f"what is {n} of {n + 1}", "answer": f"{n} is a number"} for n in range(30)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (place / "photos").mkdir()
    for number, image in enumerate(pictures(12)):
        Image.fromarray(image).save(place / "photos" / f"{number}.png")
        (place / "photos" / f"{number}.txt").write_text(f"a photo of {'abcdefghijkl'[number]} ring")
    return place


def texts_run(models, *settings):
    return brickwork.override(
        brickwork.recipe("matryoshka-2d", "small"),
        [
            f"data.source={models / 'pairs.jsonl'}",
            f"model.encoder.backbone={models / 'bert'}",
            *("model.encoder.max_tokens=40", "model.encoder.projection=8", "model.dims=[4,8]"),
            *(
                "model.encoder.adapt=frozen",
                "model.variant=2dmse",
                "train.steps=12",
                "train.batch_size=8",
                "train.validate_every=0",
            ),
            *("train.learning_rate=0.01", "train.precision=fp32"),
            *settings,
        ],
    )


def photos_run(models, *settings):
    return brickwork.override(
        brickwork.recipe("align", "locked"),
        [
            f"data.source={models / 'photos'}",
            f"model.image.backbone={models / 'vit'}",
            *("model.text.backbone=static", "model.text.max_tokens=16", "train.precision=fp32"),
            *("train.steps=8", "train.batch_size=4", "train.validate_every=0", "train.learning_rate=0.01"),
            *settings,
        ],
    )


class Forgets(FeatureCache):
    """Computes everything every time."""

    def rows(self, keys, compute, like):
        return compute(list(range(len(keys))))


@pytest.mark.parametrize(("run_of", "side"), [(texts_run, "encoder"), (photos_run, "encoder.image")])
def test_equal_losses_with_and_without(run_of, side, models, tmp_path):
    run = run_of(models)
    losses = []
    for name, cache in (("with", None), ("without", Forgets())):
        system, data = build(run)
        encoder = system.get_submodule(side)
        if cache is not None:
            encoder.cache = cache
        remembered = encoder.cache
        result = brickwork.train(run, tmp_path / name, prepared=(system, data), measure=False).result
        losses.append(result.losses)
        if cache is None:
            assert remembered.misses <= 4 * 2 * len(data.train), "each input once at each depth"
            assert remembered.hits > 0
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_kept_for_the_next_run(models, tmp_path, monkeypatch):
    option = f"model.feature_folder={tmp_path / 'features'}"
    first = brickwork.train(photos_run(models, option), tmp_path / "first", measure=False)
    written = list((tmp_path / "features").rglob("*.safetensors"))
    assert len(written) == 1
    system, data = build(photos_run(models, option))
    cache = system.encoder.image.cache
    assert len(cache) == len(data.train)
    again = brickwork.train(
        photos_run(models, option), tmp_path / "again", prepared=(system, data), measure=False
    )
    assert cache.misses == 0
    assert again.result.losses == first.result.losses
    assert list((tmp_path / "features").rglob("*.safetensors")) == written, "nothing new, nothing written"


def test_a_damaged_file_is_told_and_computed_again(tmp_path):
    keys, vectors = [bytes([n]) * 16 for n in range(3)], torch.arange(6.0).view(3, 2)
    cache = FeatureCache(tmp_path)
    cache.rows(keys, lambda places: vectors[places], vectors)
    cache.flush()
    (path,) = tmp_path.glob("*.safetensors")
    assert torch.equal(FeatureCache(tmp_path).rows(keys, lambda places: 1 / 0, vectors), vectors)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(BrickworkWarning, match="computed again"):
        again = FeatureCache(tmp_path)
    assert len(again) == 0
    assert torch.equal(again.rows(keys, lambda places: vectors[places], vectors), vectors)


def test_processes_that_write_the_same_vectors_do_not_disturb_each_other(tmp_path, monkeypatch):
    from brickwork.encoders import feature_cache

    keys, vectors = [bytes([n]) * 16 for n in range(3)], torch.arange(6.0).view(3, 2)
    mine, other = FeatureCache(tmp_path), FeatureCache(tmp_path)
    for cache in (mine, other):
        cache.rows(keys, lambda places: vectors[places], vectors)
    save = feature_cache.save_tensors

    def after_the_other(path, tensors):
        save(path, tensors)
        monkeypatch.setattr(feature_cache, "save_tensors", save)
        other.flush()  # between this one's writing and its renaming

    monkeypatch.setattr(feature_cache, "save_tensors", after_the_other)
    mine.flush()
    assert len(list(tmp_path.iterdir())) == 1
    assert torch.equal(FeatureCache(tmp_path).rows(keys, lambda places: 1 / 0, vectors), vectors)


def test_bounded(tmp_path):
    cache = FeatureCache(max_bytes=4 * 8)  # four vectors of two numbers
    vectors = torch.arange(20.0).view(10, 2)
    keys = [bytes([n]) * 16 for n in range(10)]
    for start in (0, 2, 4, 6, 8):
        part = slice(start, start + 2)
        found = cache.rows(keys[part], lambda places, part=part: vectors[part][places], vectors)
        assert torch.equal(found, vectors[part])
    assert len(cache) == 4
    everything = cache.rows(keys, lambda places: vectors[places], vectors)
    assert torch.equal(everything, vectors), "more than fit at once"
    twice = cache.rows([keys[0], keys[0]], lambda places: vectors[places], vectors)
    assert torch.equal(twice, vectors[[0, 0]])


def test_keys_know_content_layer_and_precision():
    rows = [torch.tensor([1, 2]), torch.tensor([1, 2]), torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0])]
    same, too, longer, floats = keys_of(rows, 1)
    assert same == too
    assert len({same, longer, floats, *keys_of(rows[:1], 2)}) == 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert keys_of(rows[:1], 1) != [same]


def test_a_folder_without_a_frozen_model_is_refused():
    assert TextEncoderConfig(feature_folder="x").validate()
