"""An index of images: searched by text, by image, by both, in Python and from the command line; kept up to date."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from brickwork.api import index as indexing
from brickwork.api import predict as predict_api
from brickwork.cli.main import app
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.readers.images import read_images
from brickwork.index.encoding import Query
from brickwork.index.index import open_index
from brickwork.index.lifecycle import repair_index
from image_model import tiny_image_model, write_images
from running_server import tiny_index, tiny_model

IMAGES = 10


@pytest.fixture(scope="module")
def model():
    return tiny_image_model()


@pytest.fixture(scope="module")
def place(tmp_path_factory, model):
    """A folder with the model, images with captions, and their index."""
    folder = tmp_path_factory.mktemp("images")
    model.save(folder / "model")
    write_images(folder / "photos", IMAGES)
    indexing.build_index(model, folder / "photos", folder / "index")
    tiny_index(folder / "texts", tiny_model())
    return folder


@pytest.fixture(scope="module")
def read(place):
    return read_images(place / "photos", (32, 32, 3))


def nearest(names, vectors, query) -> list[str]:
    return [names[row] for row in np.argsort(-(vectors @ query), kind="stable")]


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_found_by_text_image_and_both(place, model, read):
    names, images = read
    vectors = model.encode(images).astype(np.float64)
    said, shown = model.encode(["a red circle", "blue"]), vectors[4]
    queries = {
        "text": ("a red circle", said[0]),
        "image": (Query(image=images[4]), shown),
        "both": (Query("blue", images[4]), shown + said[1]),
        "away from it": (Query("blue", images[4], -2.0), shown - 2 * said[1]),
        "text of no weight": (Query("blue", images[4], 0.0), shown),
    }
    with open_index(place / "index") as index:
        answer = index.answer([query for query, _ in queries.values()], IMAGES)
        for hits, (name, (_, vector)) in zip(answer.hits, queries.items()):
            assert [hit.id for hit in hits] == nearest(names, vectors, vector), name
            scores = np.sort(vectors @ vector / np.linalg.norm(vector))[::-1]
            np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-4)
        assert answer.hits[1][0].id == names[4]
        assert answer.hits[1][0].score == pytest.approx(1, abs=1e-5)


def test_wrong_queries(place, read):
    _, images = read
    with open_index(place / "index") as index:
        for query in ("", Query()):
            with pytest.raises(ConfigError, match="query 1 of 1 is empty"):
                index.answer(query, 3)
        with pytest.raises(ConfigError, match="text_weight must be a finite number"):
            index.answer(Query("a", images[0], float("nan")), 3)
        with pytest.raises(DataError, match=r"shape \(16, 16, 3\); the model takes \(32, 32, 3\)"):
            index.answer(Query(image=images[0][::2, ::2]), 3)
    with open_index(place / "texts") as index, pytest.raises(ConfigError, match="encodes texts only"):
        index.answer(Query(image=images[0]), 3)


def test_update_encodes_what_changed(tmp_path, model):
    write_images(tmp_path / "photos", IMAGES)
    indexing.build_index(model, tmp_path / "photos", tmp_path / "index")
    _, report = indexing.update_index(model, tmp_path / "photos", tmp_path / "index")
    assert (report.added, report.updated, report.removed, report.unchanged) == (0, 0, 0, IMAGES)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "photos" / "scene-2.png")  # its text stays
    lines = (tmp_path / "photos" / "captions.csv").read_text().splitlines()
    lines = [line for line in lines if "scene-3.png" not in line]
    Image.new("RGB", (32, 32), "blue").save(tmp_path / "photos" / "new.png")
    (tmp_path / "photos" / "captions.csv").write_text("\n".join([*lines, "new.png,all blue"]))
    index, report = indexing.update_index(model, tmp_path / "photos", tmp_path / "index")
    assert (report.added, report.updated, report.removed, report.unchanged) == (1, 1, 1, IMAGES - 2)
    red = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    best = index.answer(Query(image=red), 1).hits[0][0]
    assert (best.id, round(best.score, 3)) == ("scene-2.png", 1.0)
    index.close()


def test_search_from_the_command_line(place, read, model):
    names, images = read
    file = place / "photos" / names[6]
    results = command("search", place / "index", "--image", file, "--json", "--top", "3")
    assert results.exit_code == 0, results.output
    assert json.loads(results.stdout)["results"][0]["id"] == names[6]
    both = command("search", place / "index", "blue", "--image", file, "--text-weight", "2", "--json")
    vectors = model.encode(images)
    wanted = nearest(names, vectors, vectors[6] + 2 * model.encode(["blue"])[0])
    assert [hit["id"] for hit in json.loads(both.stdout)["results"]] == wanted
    assert names[6] in command("search", place / "index", "a red circle", "--top", str(IMAGES)).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "--image", "photos"), "is a folder; give one image"),
        (("index", "--image", "no.png"), "no.png does not exist"),
        (("index", "--image", "photos/captions.csv"), "holds no image that can be used"),
        (("texts", "river", "--image", "photos/scene-0.png"), "encodes texts only"),
        (("index", "blue", "--text-weight", "2"), "--text-weight has an effect only with --image"),
        (("index",), "say what to look for, or give an image"),
    ],
)
def test_wrong_searches_say_what_is_wrong(place, monkeypatch, arguments, message):
    monkeypatch.chdir(place)
    results = command("search", *arguments)
    assert results.exit_code in (2, 3)  # usage, data
    assert message in " ".join(results.output.split())
    assert "Traceback" not in results.output


def test_classify(place, model, read, tmp_path):
    names, images = read
    results = predict_api.classify(
        place / "model", place / "photos", ["red", "blue"], prompts=["a {}", "{} thing"]
    )
    vectors = model.encode(images)
    means = [model.encode([f"a {name}", f"{name} thing"]).mean(0) for name in ("red", "blue")]
    scores = vectors @ np.stack([mean / np.linalg.norm(mean) for mean in means]).T
    assert results["id"] == names
    assert results["class"] == [("red", "blue")[column] for column in scores.argmax(1)]
    np.testing.assert_allclose(results["score"], scores.max(1), atol=1e-5)
    np.testing.assert_allclose(results["margin"], np.abs(scores[:, 0] - scores[:, 1]), atol=1e-5)
    out = tmp_path / "classes.csv"
    done = command("classify", place / "model", place / "photos", "--names", "red, blue", "--out", out)
    assert done.exit_code == 0, done.output
    assert len(out.read_text().splitlines()) == IMAGES + 1
    told = command("classify", place / "model", place / "photos" / names[0], "--names", "red,blue", "--json")
    assert names[0] in told.stdout


def test_wrong_classes_say_what_is_wrong(place, tmp_path):
    tiny_model().save(tmp_path / "texts")
    photos = place / "photos"
    for names in (["one"], ["same", "same"], []):
        with pytest.raises(ConfigError, match="two or more different names"):
            predict_api.classify(place / "model", photos, names)
    with pytest.raises(ConfigError, match=r"'a photo' has no \{\} for the name"):
        predict_api.classify(place / "model", photos, ["a", "b"], prompts=["a photo"])
    with pytest.raises(ConfigError, match="encodes texts only; classes by name need"):
        predict_api.classify(tmp_path / "texts", photos, ["a", "b"])
    with pytest.raises(DataError, match="does not exist"):
        predict_api.classify(place / "model", photos / "no", ["a", "b"])
    with pytest.raises(ConfigError):
        predict_api.classify(place / "model", photos, ["a", "b"], tmp_path / "classes.doc")


def test_a_text_index_refuses_a_model_of_images_only_with_a_text(model):
    from brickwork.core.elastic import ElasticAxes
    from brickwork.index.encoding import encode_queries
    from brickwork.representation.model import Representation

    alone = Representation(model.encoder.image, ElasticAxes(dims=(model.axes.full_dim,), layers=(1,)))
    with pytest.raises(ConfigError, match="encodes images only: search with an image"):
        encode_queries(alone, ["a text"], 1)


def small(place, names, folder="photos") -> list[bytes]:
    results: list[bytes] = []
    read, _ = read_images(place / folder, (32, 32, 3), thumbnails=results)
    by_name = dict(zip(read, results))
    return [by_name[name] for name in names]


def test_hits_have_the_thumbnails_of_their_images(place, read):
    names, images = read
    with open_index(place / "index") as index:
        hits = index.search(Query(image=images[4]), IMAGES)[0]
        assert [hit.thumbnail for hit in hits] == small(place, [hit.id for hit in hits])
        assert "thumbnail" not in hits[0].values()
    with open_index(place / "texts") as index:
        assert index.search("river", 1)[0][0].thumbnail == b""
    # The thumbnails are of the images, not of what the model sees of them.
    shown = np.asarray(Image.open(io.BytesIO(hits[0].thumbnail)), dtype=float)
    np.testing.assert_allclose(shown, images[names.index(hits[0].id)], atol=90)
    assert np.abs(shown - images[names.index(hits[0].id)]).mean() < 6


def test_thumbnails_follow_changes_of_the_index(tmp_path, model):
    write_images(tmp_path / "photos", IMAGES)
    indexing.build_index(model, tmp_path / "photos", tmp_path / "index").close()
    Image.new("RGB", (300, 200), "red").save(tmp_path / "photos" / "scene-2.png")
    index, _ = indexing.update_index(model, tmp_path / "photos", tmp_path / "index")
    index.remove("scene-5.png")
    for _ in range(2):
        left = [f"scene-{number}.png" for number in range(IMAGES) if number != 5]
        assert [document.thumbnail for document in index.get(left)] == small(tmp_path, left)
        assert Image.open(io.BytesIO(index.get("scene-2.png")[0].thumbnail)).size == (128, 85)
        index.backend.compact()
    index.close()


def test_a_repair_keeps_thumbnails_and_invents_no_vectors(tmp_path, model):
    write_images(tmp_path / "photos", IMAGES)
    indexing.build_index(model, tmp_path / "photos", tmp_path / "index").close()
    (documents,) = (tmp_path / "index" / "segments").glob("*/documents.arrow")
    content = bytearray(documents.read_bytes())
    place = content.index(small(tmp_path, ["scene-3.png"])[0]) + 200
    content[place] ^= 0xFF
    documents.write_bytes(content)
    report = repair_index(tmp_path / "index")
    assert report.lost == ("the document 'scene-3.png'",)
    with open_index(tmp_path / "index") as index:
        names = list(index.backend.ids())
        assert [document.thumbnail for document in index.get(names)] == small(tmp_path, names)
    (vectors,) = (tmp_path / "index" / "segments").glob("*/vectors-*")
    vectors.write_bytes(vectors.read_bytes()[:-8])
    report = repair_index(tmp_path / "index")
    assert report.documents == 0
    assert report.lost == (
        f"{IMAGES - 1} images, of which an index keeps no more than a thumbnail: bring it up to date with --update",
    )
    index, report = indexing.update_index(model, tmp_path / "photos", tmp_path / "index")
    assert (report.added, len(index)) == (IMAGES, IMAGES)
    index.close()


def test_parts_and_changes_are_of_models_that_have_them(place, read):
    with open_index(place / "index") as index:
        for query in (Query(image=read[1][0], part="invariant"), Query("a circle", change="angle=3")):
            with pytest.raises(ConfigError, match="have no parts, and follow no change"):
                index.search(query)
    result = command("search", place / "index", "a circle", "--part", "invariant")
    assert result.exit_code != 0
    assert "have no parts" in result.output
