"""The real ``openai`` client against a real server in a process of its own."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
import pytest
from openai import OpenAI

from brickwork.representation.truncate import truncate
from brickwork.service.config import Limits, ServiceConfig
from brickwork.service.keys import digest
from running_server import TEXTS, running, tiny_model

KEY = "a-first-key-of-some-length"


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    folder = model.save(tmp_path_factory.mktemp("model") / "tiny")
    config = ServiceConfig(
        target=str(folder), keys=(digest(KEY),), limits=Limits(queue_tokens=4096, queue_requests=8)
    )
    with running(config, folder.with_name("log"), tokens_per_second=4000.0) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("encoding", ["float", "base64", None], ids=["float", "base64", "default"])
@pytest.mark.parametrize("options", [{}, {"dimensions": 8}, {"extra_body": {"layers": 2}}], ids=str)
def test_vectors_are_those_of_the_representation(client, model, encoding, options):
    """``base64`` asked for is handed on as it came; by default the client asks for it and decodes it itself."""
    texts = TEXTS[:12]
    wanted = model.encode(
        texts, dim=options.get("dimensions"), layers=options.get("extra_body", {}).get("layers")
    )
    chosen = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="tiny", input=texts, **options, **chosen)
    if encoding == "base64":
        results = [np.frombuffer(base64.b64decode(entry.embedding), "<f4") for entry in answer.data]
    else:
        results = [entry.embedding for entry in answer.data]
    np.testing.assert_allclose(results, wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(results, axis=1), 1, atol=1e-6)
    assert [entry.index for entry in answer.data] == list(range(12))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == len(model.encoder.tokenize(texts).ids)


def test_cutting_afterwards_is_the_same_as_asking_for_less(client):
    whole = client.embeddings.create(model="tiny", input=TEXTS[:5]).data
    short = client.embeddings.create(model="tiny", input=TEXTS[:5], dimensions=16).data
    cut = truncate(np.array([entry.embedding for entry in whole], np.float32), 16)
    np.testing.assert_allclose([entry.embedding for entry in short], cut, atol=1e-6)


def test_models(client, model):
    (entry,) = client.models.list()
    assert entry.id == "tiny"
    assert entry.dims == list(model.axes.dims)  # ours, kept by the client
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


@pytest.mark.parametrize(
    ("options", "kind", "code", "param"),
    [
        ({"input": ""}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": []}, openai.BadRequestError, "invalid_value", "input"),
        ({"input": [1, 2, 3]}, openai.BadRequestError, "token_ids", "input"),
        ({"input": [[1], [2]]}, openai.BadRequestError, "token_ids", "input"),
        ({"input": "a", "dimensions": 33}, openai.BadRequestError, "invalid_value", "dimensions"),
        ({"input": "a", "extra_body": {"layer": 1}}, openai.BadRequestError, "unknown_parameter", "layer"),
        ({"input": "a", "model": "gpt-4"}, openai.NotFoundError, "model_not_found", "model"),
        ({"input": "river " * 100}, openai.BadRequestError, "context_length_exceeded", "input"),
        ({"input": TEXTS * 12}, openai.BadRequestError, "max_tokens_per_request", "input"),
    ],
)
def test_refusals_are_the_clients_own_errors(client, options, kind, code, param):
    with pytest.raises(kind) as refused:
        client.embeddings.create(**{"model": "tiny", **options})
    assert refused.value.code == code
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("key", ["wrong-key-0123456789", "x"])
def test_a_wrong_key_is_an_authentication_error(server, key):
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.embeddings.create(model="tiny", input="a")
        assert refused.value.code == "invalid_api_key"


def test_the_example_of_the_page_works(server):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "serve.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    # The address goes in last: a port's digits must not be taken for a size.
    for given, here in (
        ("dimensions=96", "dimensions=16"),
        ("unused", KEY),
        ("http://127.0.0.1:8000", server.url),
    ):
        assert given in example
        example = example.replace(given, here)
    names = {}
    exec(example, names)
    assert [len(entry.embedding) for entry in names["answer"].data] == [16, 16]
    names["client"].close()


def test_a_full_server_is_a_rate_limit_error_and_the_clients_own_retries_get_through(server):
    """Forty at once, where eight may wait: without retries some are refused, with them all are answered."""

    def ask(client):
        try:
            return client.embeddings.create(model="tiny", input=TEXTS[:40]).usage.total_tokens
        except openai.RateLimitError as error:
            return error

    with (
        OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as once,
        ThreadPoolExecutor(40) as pool,
    ):
        results = list(pool.map(ask, [once] * 40))
    refused = [error for error in results if isinstance(error, openai.RateLimitError)]
    assert 1 <= len(refused) <= 32
    assert all(error.code == "rate_limit_exceeded" for error in refused)
    assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=10) as patient,
        ThreadPoolExecutor(20) as pool,
    ):
        assert all(isinstance(tokens, int) for tokens in pool.map(ask, [patient] * 20))
