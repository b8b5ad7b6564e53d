"""multimodn with texts and images through pretrained encoders: frozen, each input once, named in what is kept."""

import copy
import csv
import pickle
import shutil

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

import brickwork
from brickwork.api import train as api
from brickwork.api.backbones import backbone_settings
from brickwork.core.config import override
from brickwork.core.errors import AbsentModelError, ConfigError
from brickwork.representation.contract import build_system
from brickwork.systems.multimodn import MultiModNClassifier
from brickwork.systems.multimodn.config import FrozenText
from brickwork.systems.multimodn.frozen import FrozenBackbone, FrozenImages, FrozenTexts
from brickwork.systems.multimodn.system import load_data
from interop import pretrained_text as shapes
from vision_checkpoints import image_checkpoint, pictures

ROWS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A text encoder, an image encoder, and a table with a number, a category, a text and an image."""
    place = tmp_path_factory.mktemp("place")
    shapes.write(shapes.Shape("bert", {**shapes.ENCODER, "type_vocab_size": 2}), place / "bert")
    image_checkpoint("vit", place / "vit")
    for number, image in enumerate(pictures(6)):
        Image.fromarray(image).save(place / f"{number}.png")
    rng = np.random.default_rng(0)
    words = rng.permutation(["what", "of", "is", "a", "number"] * ROWS).reshape(ROWS, 5)
    with (place / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "colour", "note", "photo", "outcome"])
        for row in range(ROWS):
            note = "" if row % 7 == 3 else f"{' '.join(words[row])} {row // 2}"
            photo = "" if row % 5 == 2 else f"{row % 6}.png"
            writer.writerow([row / 3, "red" if row % 3 else "blue", note, photo, "yes" if row % 2 else "no"])
    return place


def run_of(place, *settings, backbones=("bert", "vit")):
    run = override(api.recipe("multimodn", "small"), [f"data.source={place / 'table.csv'}"])
    chosen = backbone_settings(run, [str(place / name) for name in backbones])
    short = ["train.steps=6", "train.save_every=3", "train.validate_every=0", "data.table.targets=outcome"]
    short.append("data.table.modalities=facts=size|colour|note,photo=photo")
    return api.with_sizes(override(run, [*chosen, *short, *settings]))


@pytest.fixture(scope="module")
def system(place):
    run = run_of(place)
    return build_system("multimodn", run.model, load_data(run.data, 0), seed=0).eval()


def columns_of(place, rows=8):
    with (place / "table.csv").open() as file:
        table = list(csv.DictReader(file))[:rows]
    columns = {name: [row[name] or None for row in table] for name in table[0]}
    columns["photo"] = [name and place / name for name in columns["photo"]]
    return columns


def test_features_are_the_vectors_of_the_pretrained_encoder(place, system):
    """Those of transformers' own output, at length 1, standardised by the training rows; zeros where a cell is missing."""
    facts, photo = (reader.encoder for reader in system.readers)
    assert isinstance(facts, FrozenTexts)
    assert isinstance(photo, FrozenImages)
    texts = np.array([["what is 3"], [None], ["a number of 12"]], dtype=object)
    features, present = facts.prepare(np.full((3, 1), np.nan), np.full((3, 1), None, dtype=object), texts)
    assert present.tolist() == [True, False, True]
    model, tokenizer = (
        hf.AutoModel.from_pretrained(place / "bert").eval(),
        facts.vectors.backbone.encoder.tokenizer,
    )
    for row in (0, 2):
        ids = torch.tensor([tokenizer.encode(texts[row, 0]).ids])
        with torch.no_grad():
            vector = torch.nn.functional.normalize(model(ids).last_hidden_state.mean(1), dim=1)[0]
        wanted = (vector - facts.vectors.mean) / facts.vectors.scale
        torch.testing.assert_close(
            torch.from_numpy(features[row, -len(wanted) :]), wanted, rtol=1e-4, atol=1e-4
        )
    assert not features[1].any()
    rows, there = photo.prepare([pictures(1)[0], None])
    assert there.tolist() == [True, False]
    assert rows.shape == (2, 16)
    assert rows.any(1).tolist() == [True, False]


def test_images_are_framed_as_the_encoder_wants(place, system):
    modality = system.layout.modality("photo")
    assert modality.framing == run_of(place).data.framing
    assert modality.shape == (32, 32, 3)


def test_each_input_is_computed_once(place, system):
    backbone = system.readers[0].encoder.vectors.backbone
    before = backbone._cache.misses
    system.predict(columns_of(place))  # six notes, each seen in training or new once
    system.predict(columns_of(place))
    assert backbone._cache.misses - before <= 6
    new = backbone._cache.misses
    system.predict(columns_of(place))
    assert backbone._cache.misses == new


def test_the_encoder_is_no_part_of_what_learns(system):
    names = [name for name, _ in system.named_parameters()]
    assert all(name.startswith(("fusion.", "decoders.")) for name in names)
    assert sum(tensor.numel() for tensor in system.state_dict().values()) < 30_000
    assert copy.deepcopy(system).backbones["text"] is system.backbones["text"]


def test_training_prediction_and_loading(place, tmp_path):
    """A run trains, goes on from its checkpoint, and answers the same when loaded; what is kept has the fingerprint."""
    features = tmp_path / "features"
    run = run_of(place, f"model.frozen_text.feature_folder={features}")
    folder = tmp_path / "run"
    api.train(run, folder)
    trained = brickwork.load(folder)
    answers = trained.predict(columns_of(place))["outcome"]
    assert [about["fingerprint"] for about in trained.architecture()["backbones"]] == [
        one.about["fingerprint"] for one in trained.backbones.values()
    ]
    again = brickwork.load(folder).predict(columns_of(place))["outcome"]
    assert repr(again) == repr(answers)
    assert list(features.glob("*/*.safetensors"))
    config = FrozenText(backbone=str(place / "bert"), feature_folder=str(features))
    other = FrozenBackbone.of_texts(config)
    assert len(other._cache) > 10  # another run finds the vectors


def test_loading_needs_the_encoder(place, system, tmp_path):
    from brickwork.representation.kept import save_system

    moved = tmp_path / "bert"
    shutil.copytree(place / "bert", moved)
    run = run_of(place, f"model.frozen_text.backbone={moved}", backbones=("vit",))
    kept = save_system(
        build_system("multimodn", run.model, load_data(run.data, 0), seed=0), tmp_path / "kept"
    )
    brickwork.load(kept)
    model = hf.AutoModel.from_pretrained(moved)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(moved)
    with pytest.raises(AbsentModelError, match=r"kept: .*of fingerprint \w{16}, and what is there has"):
        brickwork.load(kept)
    shutil.rmtree(moved)
    with pytest.raises(
        AbsentModelError, match=r"reads its texts with the pretrained encoder .*not to be had"
    ):
        brickwork.load(kept)


def test_an_encoder_for_what_the_table_has_not(place):
    run = run_of(place, "data.table.ignore=photo", "data.table.modalities=facts=size|colour|note")
    with pytest.raises(ConfigError, match=r"frozen_image.backbone has no effect"):
        build_system("multimodn", run.model, load_data(run.data, 0), seed=0)
    with pytest.raises(ConfigError, match="max_tokens has no effect without backbone"):
        override(run.model, ["frozen_text.backbone=none", "frozen_text.max_tokens=9"])
    with pytest.raises(ConfigError, match="fresh weights"):
        override(run.model, ["frozen_text.backbone=static"])


def test_the_estimator_takes_them(place):
    """fit, predict_proba, and a pickle that holds the name and not the weights."""
    columns = columns_of(place, ROWS)
    y = columns.pop("outcome")
    X = {"note": columns["note"], "photo": [path and str(path) for path in columns["photo"]]}
    model = MultiModNClassifier(
        text_backbone=str(place / "bert"), image_backbone=str(place / "vit"), max_iter=2, random_state=0
    ).fit(X, y)
    assert model.system_.layout.modality("photo").framing is not None
    probabilities = model.predict_proba(X)
    stored = pickle.dumps(model)
    np.testing.assert_array_equal(pickle.loads(stored).predict_proba(X), probabilities)
    weights = sum(tensor.numel() for tensor in model.system_.state_dict().values())
    assert len(stored) < 4 * weights + 60_000
