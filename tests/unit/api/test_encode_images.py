"""Vectors of a folder of images on disk, with a model of images: against the model called on the arrays."""

import numpy as np
import pytest
from PIL import Image

from brickwork.api.index import encode_file
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.seeding import seed_everything
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.representation import export_parquet
from brickwork.representation.export_parquet import read_vectors
from brickwork.representation.model import Representation


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    seed_everything(0)
    encoder = ImageEncoder(ImageEncoderConfig(width=4, depth=1, embedding_dim=6), (8, 8, 1)).eval()
    folder = tmp_path_factory.mktemp("model")
    Representation(encoder, ElasticAxes(dims=(3, 6), layers=(encoder.num_layers,))).save(folder / "m")
    return folder / "m", encoder


@pytest.fixture
def photos(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8), dtype=np.uint8)
    for number, image in enumerate(images):
        place = tmp_path / "photos" / f"sub{number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return tmp_path / "photos", images[..., None]


@pytest.mark.parametrize("dim", [None, 3])
def test_vectors_are_those_of_the_images(model, photos, tmp_path, monkeypatch, dim):
    monkeypatch.setattr(export_parquet, "SHARD_CHARACTERS", 200)  # three images of 64 bytes
    made = encode_file(model[0], photos[0], tmp_path / "v", dim=dim)
    assert (made["documents"], made["shards"]) == (7, 3)
    found = {name: row for ids, rows in read_vectors(tmp_path / "v") for name, row in zip(ids, rows)}
    axes = ElasticAxes(dims=(3, 6), layers=(model[1].num_layers,))
    expected = Representation(model[1], axes).encode(photos[1], dim=dim)
    assert sorted(found) == sorted(f"sub{n % 2}/{n}.png" for n in range(7))
    for number in range(7):
        np.testing.assert_allclose(found[f"sub{number % 2}/{number}.png"], expected[number], atol=1e-6)
    assert encode_file(model[0], photos[0], tmp_path / "v", dim=dim)["reused"] == 7


def test_an_image_that_changed_is_noticed(model, photos, tmp_path):
    encode_file(model[0], photos[0], tmp_path / "v")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(photos[0] / "sub0" / "0.png")
    with pytest.raises(DataError, match="the documents of shard 0 differ"):
        encode_file(model[0], photos[0], tmp_path / "v")


def test_ray_reads_tables_of_texts(model, photos, tmp_path):
    with pytest.raises(ConfigError, match="this model reads images"):
        encode_file(model[0], photos[0], tmp_path / "v", ray="local", gpus=0.0)
