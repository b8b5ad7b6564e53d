"""Depth 0, where no layer runs, in an index and in the service over it."""

import numpy as np
import pytest

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.model import Representation
from running_server import documents, tiny_model


@pytest.fixture(scope="module")
def mapped():
    encoder = tiny_model().encoder
    encoder.add_exits((0, 2, 3))
    return Representation(encoder, ElasticAxes(dims=(8, 32), layers=(0, 2, 3)))


@pytest.fixture(scope="module")
def index_folder(mapped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("depths") / "index"
    build_index(mapped, documents(40), folder, layers=(0, 3), kind="flat").close()
    return folder


def test_an_index_finds_a_document_by_its_own_text_at_depth_0(mapped, index_folder):
    with open_index(index_folder) as index:
        vectors = index.vectors(0)
        texts = [f"{d.title}\n{d.text}" if d.title else d.text for d in documents(40)]
        assert vectors.shape == (40, 32)
        assert not np.allclose(vectors, index.vectors(3))
        asked = documents(40)[7]
        (hits,) = index.search([texts[7]], layers=0, dim=8)
        assert asked.id in [hit.id for hit in hits[:3]]
        with pytest.raises(ConfigError, match=r"layers=2 is not in this index, which holds \[0, 3\]"):
            index.search("a", layers=2)


def test_the_service_takes_depth_0(serve, mapped, index_folder):
    api = serve(index_folder)
    assert api.get("/v1/models").json()["data"][0]["layers"] == [0, 2, 3]
    vectors = api.vectors(input=["a text", "b"], layers=0, dimensions=8)
    np.testing.assert_allclose(vectors, mapped.encode(["a text", "b"], layers=0, dim=8), atol=1e-6)
    answer = api.search(query="a text", layers=0, dim=8)
    assert (answer.status_code, answer.json()["layers"]) == (200, 0)
    error = api.error(api.embed(input="a", layers=-1), 400)
    assert error["param"] == "layers"


def test_a_depth_without_a_map_is_refused_by_the_service(serve, mapped, tmp_path):
    api = serve(mapped.save(tmp_path / "model"))
    error = api.error(api.embed(input="a", layers=1), 400)
    assert "layers=1" in error["message"] or "layers [1]" in error["message"]
