"""POST /v1/search with an image: the hits are those of the index in Python; what cannot be used is a clear 400."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from brickwork.api import index as indexing
from brickwork.data.readers import images as image_files
from brickwork.data.readers.images import read_images
from brickwork.index.encoding import Query
from brickwork.index.index import open_index
from image_model import tiny_image_model, write_images


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "photos", 10)
    indexing.build_index(tiny_image_model(), folder / "photos", folder / "index")
    return folder


@pytest.fixture
def image_api(serve, place):
    return serve(place / "index")


def encoded(path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        (None, None),
        ("a red circle", None),
        ("a red circle", 2.0),
        (["a red circle", "blue"], None),
        (["a red circle", "blue"], -1.0),
    ],
)
def test_hits_are_those_of_the_index(image_api, place, text, weight):
    names, images = read_images(place / "photos", (32, 32, 3))
    body = {"image": encoded(place / "photos" / names[3]), "top": 10}
    body |= {} if text is None else {"query": text}
    body |= {} if weight is None else {"text_weight": weight}
    answer = image_api.search(**body)
    assert answer.status_code == 200, answer.text
    texts = text if isinstance(text, list) else [text or ""]
    with open_index(place / "index") as index:
        wanted = index.answer([Query(t, images[3], weight or 1.0) for t in texts], 10).hits
    for results, hits in zip(answer.json()["results"], wanted, strict=True):
        assert [hit["id"] for hit in results] == [hit.id for hit in hits]
        np.testing.assert_allclose([h["score"] for h in results], [h.score for h in hits], atol=1e-5)
    if text is None:
        assert answer.json()["results"][0][0]["id"] == names[3]


def test_texts_alone_still_work_and_mix_with_images(image_api, place):
    assert len(image_api.search(query="a red circle").json()["results"][0]) == 10


def test_the_model_says_that_it_takes_images(image_api, search_api):
    assert image_api.get("/v1/models").json()["data"][0]["image_shape"] == [32, 32, 3]
    assert "image_shape" not in search_api.get("/v1/models").json()["data"][0]


def noise(length: int) -> str:
    return base64.b64encode(np.random.default_rng(0).bytes(length)).decode()


def test_what_cannot_be_used_is_refused(image_api, place, monkeypatch):
    good = encoded(place / "photos" / "scene-0.png")
    cases = {
        "not in base64": {"image": "data:image/png;base64," + good},
        "no image, or of a format that is not read": {"image": noise(200)},
        "damaged or cut off": {"image": base64.b64encode(torn()).decode()},
        "has an effect only with a query and an image": {"image": good, "text_weight": 2.0},
    }
    for message, body in cases.items():
        error = image_api.error(image_api.search(**body), 400)
        assert message in error["message"]
        assert error["param"] == ("text_weight" if "text_weight" in body else "image")
    for body in ({"query": "a", "text_weight": 2.0}, {"query": "", "image": good}, {"image": ""}):
        assert image_api.error(image_api.search(**body), 400)["param"] in body
    error = image_api.error(image_api.search(), 400)
    assert (error["param"], error["code"]) == ("query", "missing_required_parameter")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 100)
    assert "more than 100 pixels" in image_api.error(image_api.search(image=good), 400)["message"]


def torn() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(out, "PNG")
    return out.getvalue()[:1000]


def test_a_model_of_texts_refuses_images(search_api, place):
    error = search_api.error(
        search_api.search(query="river", image=encoded(place / "photos" / "scene-0.png")), 400
    )
    assert "encodes texts only" in error["message"]
    assert error["param"] == "image"


def test_embeddings_of_texts_are_served_beside(image_api):
    vectors = image_api.vectors(input=["a red circle"])
    np.testing.assert_allclose(vectors, tiny_image_model().encode(["a red circle"]), atol=1e-5)


def test_a_body_over_the_limit_is_refused(serve, place):
    from brickwork.service.config import Limits

    small = serve(place / "index", limits=Limits(body_bytes=10_000))
    assert small.error(small.search(image=noise(20_000)), 413)


def test_thumbnails_are_those_of_the_index_and_may_be_kept(image_api, place, search_api):
    hits = image_api.search(query="a red circle").json()["results"][0]
    with open_index(place / "index") as index:
        for hit in hits:
            answer = image_api.get(hit["thumbnail"])
            assert answer.content == index.get(hit["id"])[0].thumbnail
            assert answer.headers["content-type"] == "image/jpeg"
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert Image.open(io.BytesIO(answer.content)).size == (32, 32)
    # One whose version is another, or not given, is asked for again each time.
    for version in ({}, {"v": "0" * 16}):
        again = image_api.get("/v1/thumbnail", params={"id": hits[0]["id"], **version})
        assert again.headers["cache-control"] == "no-cache"
    assert "thumbnail" not in search_api.search(query="river").json()["results"][0][0]
    assert "has no thumbnail" in search_api.error(search_api.get("/v1/thumbnail?id=d0"), 404)["message"]


@pytest.mark.parametrize("id", ["../photos/scene-0.png", "/etc/passwd", "scene-99.png", "a\0b", "%2e%2e/"])
def test_an_id_that_is_not_in_the_index_gives_no_file(image_api, id):
    error = image_api.error(image_api.get("/v1/thumbnail", params={"id": id}), 404)
    assert error["param"] == "id"


def test_an_id_must_be_given(image_api):
    for asked in ("", "?id=", "?id=" + "a" * 5000):
        assert image_api.get("/v1/thumbnail" + asked).status_code == 400


def test_thumbnails_need_the_key(serve, place):
    from brickwork.service.keys import digest

    api = serve(place / "index", keys=(digest("a-key-of-sixteen-characters"),))
    assert api.get("/v1/thumbnail?id=scene-0.png").status_code == 401
    key = {"Authorization": "Bearer a-key-of-sixteen-characters"}
    assert api.get("/v1/thumbnail?id=scene-0.png", headers=key).status_code == 200
