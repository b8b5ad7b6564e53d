"""Pretrained models of images from their folders: loaded, encoded with, kept, searched, and used for classes by name."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import brickwork
from brickwork.api.evaluate import evaluate
from brickwork.api.index import build_index
from brickwork.api.predict import classify
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.index.encoding import Query
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from image_model import tiny_image_model
from vision_checkpoints import dual_checkpoint, image_checkpoint, pictures

TEXTS = ["a red circle", "blue ring"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for kind in ("clip", "siglip"):
        dual_checkpoint(kind, place / kind)
    for kind in ("dinov2", "resnet"):
        image_checkpoint(kind, place / kind)
    for number, image in enumerate(pictures(6)):
        (place / "photos" / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / "photos" / f"c{number % 2}" / f"{number}.png")
    return place


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "resnet"])
def test_kept_and_loaded_again(kind, folders, tmp_path):
    model = brickwork.load(folders / kind)
    images = np.stack([pictures(1)[0]] * 3)
    vectors = model.encode(images, precision="fp32")
    assert vectors.shape == (3, model.axes.full_dim)
    model.save(tmp_path / "kept")
    assert str(folders) not in (tmp_path / "kept" / "brickwork.json").read_text()
    again = brickwork.load(tmp_path / "kept")
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(again.encode(images, precision="fp32"), vectors)
    assert "N × 32 × 32 × 3, or of any size: " in (tmp_path / "kept" / "README.md").read_text()
    np.testing.assert_allclose(model.encode(images, precision="bf16"), vectors, atol=0.05)
    if kind in ("clip", "siglip"):
        assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
        assert again.encoder.scale == model.encoder.scale


def test_a_sentence_transformer_of_clip_is_the_clip_in_it(folders, tmp_path):
    shutil.copytree(folders / "clip", tmp_path / "0_CLIPModel")
    parts = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
    (tmp_path / "modules.json").write_text(json.dumps(parts))
    assert brickwork.load(tmp_path).fingerprint == brickwork.load(folders / "clip").fingerprint


def test_an_index_of_images_is_searched_by_text_and_by_image_of_any_size(folders, tmp_path):
    build_index(folders / "clip", folders / "photos", tmp_path / "index")
    with brickwork.open_index(tmp_path / "index") as opened:
        model = opened.representation
        hits = opened.search(["a red circle"], top=6)[0]
        images = [np.asarray(Image.open(folders / "photos" / hit.source)) for hit in hits]
        cosines = [float(model.similarity(TEXTS[0], model.encode(image[None]))[0, 0]) for image in images]
        np.testing.assert_allclose([hit.score for hit in hits], cosines, atol=2e-2)
        best = opened.search([Query(image=images[3])], top=1)[0][0]
        assert best.source == hits[3].source


def test_exits_of_an_image_encoder_can_be_indexed(folders, tmp_path):
    build_index(folders / "dinov2", folders / "photos", tmp_path / "index", layers=[1, 3])
    model = brickwork.load(folders / "dinov2")
    image = np.asarray(Image.open(folders / "photos" / "c1" / "1.png"))
    with brickwork.open_index(tmp_path / "index") as opened:
        with pytest.warns(match="was not trained"):
            hit = opened.search([Query(image=image)], top=1, layers=1)[0][0]
        assert hit.source == "c1/1.png"
        assert hit.score > 0.99
    with pytest.warns(match="was not trained"):
        early = model.encode(image[None], layers=1)
    assert not np.allclose(early, model.encode(image[None]))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_classes_by_name_with_the_probability_that_was_trained(kind, folders):
    answers = classify(folders / kind, folders / "photos", TEXTS, prompts=["{}"])
    model = brickwork.load(folders / kind)
    score, share = answers["score"], answers["probability"]
    if kind == "siglip":
        wanted = 1 / (1 + np.exp(-(model.encoder.scale * score + model.encoder.bias)))
    else:
        wanted = 1 / (1 + np.exp(-model.encoder.scale * answers["margin"]))
    np.testing.assert_allclose(share, wanted, rtol=1e-4)


def test_untrained_models_are_measured_on_the_users_images(folders, tmp_path):
    for number, image in enumerate(pictures(6)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"a photo of {'abcdef'[number]}")
    assert evaluate(folders / "clip", tmp_path, baselines=False)["data"]["modality"] == "image-text"


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_exported_it_is_a_sentence_transformer_with_the_same_vectors(kind, folders, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    model = brickwork.load(folders / kind)
    image = pictures(1)[0]
    dim = 4 if kind == "clip" else None
    with pytest.warns(match="was not trained") if dim else contextlib.nullcontext():
        export_sentence_transformers(model, tmp_path / "out", dim=dim)
    theirs = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ours = [model.encode(given, dim=dim, precision="fp32") for given in (TEXTS, image[None])]
    for mine, other in zip(ours, (theirs.encode(TEXTS), theirs.encode([Image.fromarray(image)]))):
        np.testing.assert_allclose(other, mine, atol=1e-5)
    again = brickwork.load(tmp_path / "out")
    np.testing.assert_allclose(again.encode(TEXTS, precision="fp32"), ours[0], atol=1e-6)
    assert again.encoder.scale == pytest.approx(model.encoder.scale)
    assert again.encoder.bias == pytest.approx(model.encoder.bias)
    with pytest.raises(ConfigError, match="not empty"):
        export_sentence_transformers(model, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:.*was not trained")
def test_what_other_libraries_have_no_form_for_is_refused(folders, tmp_path):
    model = brickwork.load(folders / "siglip")
    with pytest.raises(ArtifactError, match="a siglip cannot be cut to 4 dimensions"):
        export_sentence_transformers(model, tmp_path / "out", dim=4)
    with pytest.raises(ArtifactError, match="only a CLIP or a SigLIP has an equal in sentence-transformers"):
        export_sentence_transformers(tiny_image_model(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
