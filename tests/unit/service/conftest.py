import json
import logging

import numpy as np
import pytest
from fastapi.testclient import TestClient

from brickwork.service import logs
from brickwork.service.app import make_app
from brickwork.service.config import ServiceConfig
from brickwork.service.state import Service
from running_server import tiny_index, tiny_model


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, model):
    return model.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory, model):
    return tiny_index(tmp_path_factory.mktemp("indexes") / "tiny-index", model)


class Api(TestClient):
    """A client of the application in this process; ``service`` is what the application runs on."""

    def __init__(self, service: Service):
        super().__init__(make_app(service), base_url="http://127.0.0.1:8000")
        self.service = service

    def embed(self, **body):
        return self.post("/v1/embeddings", json={"model": "default", **body})

    def vectors(self, **body) -> np.ndarray:
        answer = self.embed(**body)
        assert answer.status_code == 200, answer.text
        return np.array([entry["embedding"] for entry in answer.json()["data"]])

    def search(self, **body):
        return self.post("/v1/search", json=body)

    def error(self, answer, status: int) -> dict:
        """The error object of an answer of this status, in OpenAI's form."""
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert list(answer.json()) == ["error"]
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        return answer.json()["error"]


@pytest.fixture
def serve():
    """``serve(target, **config)``: a client of a service over it; stopped at the end."""
    yield from _serving()


@pytest.fixture(scope="module")
def serve_long():
    """The same; stopped at the end of the module."""
    yield from _serving()


def _serving():
    clients = []

    def start(target, **config):
        client = Api(Service(ServiceConfig(target=str(target), **config)))
        clients.append(client)
        return client.__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def _clients(model_folder, index_folder):
    with (
        Api(Service(ServiceConfig(target=str(model_folder)))) as of_model,
        Api(Service(ServiceConfig(target=str(index_folder)))) as of_index,
    ):
        yield of_model, of_index


@pytest.fixture
def api(_clients):
    """A service over the model."""
    return _clients[0]


@pytest.fixture
def search_api(_clients):
    """A service over the index."""
    return _clients[1]


@pytest.fixture
def logged():
    """The lines logged during the test, as they would be written."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(logs.JsonLines().format(record)))

    handler = Lines()
    before = logs.LOGGER.level
    logs.LOGGER.addHandler(handler)
    logs.LOGGER.setLevel(logging.INFO)
    yield lines
    logs.LOGGER.removeHandler(handler)
    logs.LOGGER.setLevel(before)
