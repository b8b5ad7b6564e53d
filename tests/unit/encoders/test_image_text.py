"""Two encoders in one: each side is what it was alone; it is saved and restored as one model."""

import json

import numpy as np
import pytest
import torch

import brickwork
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.data.generators.scenes import scene_pairs
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from image_model import WIDTH, tiny_image_model

TEXTS = ["a small red circle", "image of a box on sand ground", "ring"]


@pytest.fixture(scope="module")
def images():
    return scene_pairs(5, 1)[0]


@pytest.fixture
def model():
    return tiny_image_model()


def test_both_sides_are_what_they_are_alone(model, images):
    encoder = model.encoder
    with torch.no_grad():
        shown = encoder.image(encoder.image.prepare(images))[1].numpy()
    wanted = shown / np.linalg.norm(shown, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(images, precision="fp32"), wanted, atol=1e-5)
    said = model.encode(TEXTS)
    assert said.shape == (3, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(said, axis=1), 1, atol=1e-5)
    batch = encoder.collate({"image": images[:3], "text": TEXTS, "image_group": [0, 1, 2]})
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["image_group"].tolist() == [0, 1, 2]


def test_saved_and_restored(model, images, tmp_path):
    folder = model.save(tmp_path / "model")
    assert json.loads((folder / "brickwork.json").read_text())["kind"] == "image-text"
    again = brickwork.load(folder)
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(again.encode(images), model.encode(images))
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    card = (folder / "README.md").read_text()
    for part in (
        "zero-shot-image-classification",
        "texts and images",
        "N × 32 × 32 × 3",
        "--image like-this.png",
    ):
        assert part in card, part


def test_a_damaged_description_is_refused(model, tmp_path):
    folder = model.save(tmp_path / "model")
    path = folder / "brickwork.json"
    manifest = json.loads(path.read_text())
    del manifest["architecture"]["image"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        brickwork.load(folder)
    with pytest.raises(ArtifactError, match="its image encoder is missing"):
        ImageTextEncoder.from_architecture(manifest["architecture"], model.encoder.tokenizer.to_str())


def test_widths_must_agree(model):
    wide = ImageEncoder(
        ImageEncoderConfig(architecture="mlp", embedding_dim=WIDTH + 1, width=4, depth=1), (8, 8, 3)
    )
    with pytest.raises(ConfigError, match=f"gives {WIDTH + 1} dimensions and the text encoder {WIDTH}"):
        ImageTextEncoder.of(wide, model.encoder)


def test_exports_for_texts_refuse_it(model, tmp_path):
    with pytest.raises((ArtifactError, ConfigError), match="image-text"):
        export_sentence_transformers(model, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing half-written"
