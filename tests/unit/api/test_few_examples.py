"""``classify --examples``: images and texts, by command and from Python, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import brickwork
from brickwork.cli.main import app
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.model import Representation

WORDS = {"cold": "snow ice frost winter", "hot": "sun heat summer fire"}


def image(colour, seed):
    noise = np.random.default_rng(seed).integers(0, 40, (8, 8, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few")
    encoder = ImageEncoder(ImageEncoderConfig(width=8, depth=1, embedding_dim=16), (8, 8, 3))
    Representation(encoder, ElasticAxes(dims=(16,), layers=(1,))).save(folder / "images")
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (folder / "shots" / name).mkdir(parents=True)
        (folder / "new").mkdir(exist_ok=True)
        for number in range(6):
            image(colour, number).save(folder / "shots" / name / f"{number}.png")
            image(colour, 50 + number).save(folder / "new" / f"{name}{number}.png")
    texts = list(WORDS.values())
    config = TextEncoderConfig(backbone="static", width=32, vocab_size=400)
    encoder = build_text_encoder(config, [*texts, *" ".join(texts).split()])
    Representation(encoder, ElasticAxes(dims=(32,), layers=(1,))).save(folder / "texts")
    with (folder / "shots.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows((word, label) for label, words in WORDS.items() for word in words.split()[:3])
    (folder / "new.csv").write_text("text\nsnow ice snow\nsun heat sun\n")
    return folder


def test_images_by_examples_in_folders(place):
    answers = brickwork.classify(place / "images", place / "new", examples=place / "shots")
    assert [id.startswith(name) for id, name in zip(answers["id"], answers["class"])] == [True] * 12
    assert (answers["score"] > 0.5).all()  # probabilities: there are six examples of each


def test_what_is_left_out_or_alike_is_told(place, tmp_path):
    shutil.copytree(place / "shots", tmp_path / "shots")
    image((0, 200, 0), 1).save(tmp_path / "shots" / "stray.png")
    (tmp_path / "shots" / "Red").mkdir()
    image((200, 0, 0), 90).save(tmp_path / "shots" / "Red" / "1.png")
    with pytest.warns(BrickworkWarning) as told:
        brickwork.classify(place / "images", place / "new", examples=tmp_path / "shots")
    said = [str(one.message) for one in told]
    assert any("1 images beside the folders of the classes are left out" in one for one in said)
    assert any("'Red', 'red' are 2 classes" in one for one in said)


def test_texts_by_a_table(place, tmp_path):
    answers = brickwork.classify(
        place / "texts", place / "new.csv", examples=place / "shots.csv", out=tmp_path / "a.csv"
    )
    assert answers["class"] == ["cold", "hot"]
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "id,class,score,margin"


def test_by_command(place):
    done = CliRunner().invoke(
        app,
        ["classify", str(place / "images"), str(place / "new"), "--examples", str(place / "shots"), "--json"],
    )
    assert done.exit_code == 0, done.output
    assert {row["class"] for row in json.loads(done.stdout)} == {"red", "blue"}


def test_what_does_not_fit_is_refused(place, tmp_path):
    with pytest.raises(ConfigError, match="--names has no effect with --examples"):
        brickwork.classify(place / "images", place / "new", ["a", "b"], examples=place / "shots")
    with pytest.raises(ConfigError, match="--prompt has no effect with --examples"):
        brickwork.classify(place / "images", place / "new", examples=place / "shots", prompts=["{}"])
    with pytest.raises(DataError, match="has no folder with images in it"):
        brickwork.classify(place / "images", place / "new", examples=place / "new")
    with pytest.raises(DataError, match="is a file; give a folder"):
        brickwork.classify(place / "images", place / "new", examples=place / "shots.csv")
    with pytest.raises(DataError, match="has examples of 1 class"):
        only = tmp_path / "only"
        (only / "red").mkdir(parents=True)
        image((200, 0, 0), 0).save(only / "red" / "0.png")
        brickwork.classify(place / "images", place / "new", examples=only)
    with pytest.raises(DataError, match=r"new\.csv has the columns text; examples of classes need a text"):
        brickwork.classify(place / "texts", place / "new.csv", examples=place / "new.csv")
