"""Nested prefixes and compatible successors from pretrained encoders of images."""

import numpy as np
import pytest
from PIL import Image

import brickwork
from brickwork.api import train as api
from brickwork.api.backbones import backbone_settings
from brickwork.core.config import override
from brickwork.core.errors import ConfigError, DataError
from brickwork.evaluation.compatibility import measure_compatibility
from brickwork.training.run import load_data
from vision_checkpoints import image_checkpoint, pictures


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for kind in ("dinov2", "resnet"):
        image_checkpoint(kind, place / kind)
    for number, image in enumerate(pictures(24)):
        folder = place / "photos" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    return place


def run_of(models, slug, backbone, *settings):
    run = api.recipe(slug, "vision")
    run = override(run, backbone_settings(run, [str(models / backbone)]))
    short = [
        "train.steps=4",
        "train.batch_size=8",
        "train.precision=fp32",
        f"data.source={models / 'photos'}",
    ]
    return override(run, [*short, *settings])


def test_prefixes_of_a_pretrained_encoder_are_trained_and_measured(models, tmp_path):
    summary = api.train(run_of(models, "matryoshka", "dinov2"), tmp_path / "run")
    model = brickwork.load(tmp_path / "run")
    assert model.axes.dims == (8, 16)
    assert model.encoder.image_shape == (32, 32, 3)
    assert summary.measurement is not None
    image = pictures(1)
    assert model.encode(np.stack(image), dim=8).shape == (1, 8)
    before = brickwork.load(models / "dinov2").encode(np.stack(image))
    assert not np.allclose(model.encode(np.stack(image)), before, atol=1e-4)


def test_a_part_of_the_layers(models):
    run = run_of(
        models, "matryoshka", "dinov2", "model.encoder.num_layers=2", "model.encoder.embedding_dim=8"
    )
    system, data = api.build(run)
    assert (system.encoder.num_layers, system.encoder.embedding_dim) == (2, 8)
    assert data.train.columns["input"].shape[1:] == (32, 32, 3)


def test_a_successor_searches_what_its_ancestor_indexed(models, tmp_path):
    first = run_of(models, "stationary-compat", "resnet", "model.encoder.embedding_dim=7")
    api.train(first, tmp_path / "v1", measure=False)
    second = override(first, [f"model.previous={tmp_path / 'v1'}"])
    summary = api.train(second, tmp_path / "v2", measure=False)
    assert (
        api.read_run(tmp_path / "v2").data.framing == api.read_run(tmp_path / "v1").data.framing is not None
    )
    old, new = brickwork.load(tmp_path / "v1"), summary.representation
    assert new.axes.full_dim == old.axes.full_dim == 7
    task = load_data("stationary-compat", api.read_run(tmp_path / "v2").data, 0)
    assert measure_compatibility([old, new], task)


def test_texts_are_refused_by_name(models, tmp_path):
    (tmp_path / "rows.csv").write_text("input,label\n" + "\n".join(f"text {n},{n % 2}" for n in range(20)))
    run = override(run_of(models, "matryoshka", "dinov2"), [f"data.source={tmp_path / 'rows.csv'}"])
    with pytest.raises(DataError, match=r"is for images; take a recipe for texts \(.*--recipe"):
        api.build(run)
    with pytest.raises(ConfigError, match=r"starts from one of texts; take --recipe vision"):
        backbone_settings(api.recipe("matryoshka"), [str(models / "resnet")])
