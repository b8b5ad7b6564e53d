"""What stands before everything else: keys, hosts, sizes, request ids, and the log."""

import asyncio
import json
import re

import pytest

from brickwork.service.config import Limits
from brickwork.service.keys import digest
from brickwork.service.metrics import Metrics
from brickwork.service.middleware import Gate
from running_server import TEXTS

KEY, OTHER = "a-first-key-of-some-length", "the_second_key_0123456789"


@pytest.fixture
def locked(serve, index_folder):
    return serve(index_folder, keys=(digest(KEY), digest(OTHER)))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/default", "/metrics", "/nothing/here"])
def test_without_a_key_nothing_is_told(locked, path):
    error = locked.error(locked.get(path), 401)
    assert error["code"] == "invalid_api_key"
    assert locked.get(path).headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/search", "/admin/reload"])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-key-0123456789",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        "Bearer é",
    ],
)
def test_wrong_keys_are_refused(locked, path, header):
    headers = {"Authorization": header.encode("latin-1")} if header else {}
    locked.error(locked.post(path, json={"query": "a"}, headers=headers), 401)


def test_every_key_works(locked):
    for key in (KEY, OTHER):
        assert locked.get("/v1/models", headers=bearer(key)).status_code == 200
        answer = locked.post("/v1/search", json={"query": "river"}, headers=bearer(key))
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/", "/docs", "/openapi.json"])
def test_health_and_pages_are_open(locked, path):
    assert locked.get(path).status_code == 200


def test_the_description_tells_of_keys_only_where_there_are_some(locked, api):
    operation = locked.get("/openapi.json").json()["paths"]["/v1/embeddings"]["post"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert "security" not in api.get("/openapi.json").json()["paths"]["/v1/embeddings"]["post"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.0.0.1:9", "[::1]:8000"])
def test_names_of_this_machine(api, host):
    assert api.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "192.168.0.7"]
)
def test_other_names_are_refused_without_keys(api, locked, host):
    assert api.error(api.get("/v1/models", headers={"Host": host}), 403)["code"] == "wrong_host"
    assert locked.get("/v1/models", headers={"Host": host, **bearer(KEY)}).status_code == 200


def test_a_large_body_is_refused(serve, model_folder):
    client = serve(model_folder, limits=Limits(body_bytes=1000))
    body = json.dumps({"model": "default", "input": "a" * 2000}).encode()
    headers = {"Content-Type": "application/json"}
    assert (
        client.error(client.post("/v1/embeddings", content=body, headers=headers), 413)["code"]
        == "request_too_large"
    )

    def chunks():
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    client.error(client.post("/v1/embeddings", content=chunks(), headers=headers), 413)
    assert client.embed(input="a").status_code == 200


def test_all_bodies_together_are_bounded(serve, model_folder):
    client = serve(model_folder, limits=Limits(body_bytes=1000, all_bodies_bytes=500))
    answer = client.embed(input="a " * 300)
    client.error(answer, 429)
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.embed(input="a").status_code == 200


def test_unknown_addresses_and_methods(api):
    assert api.error(api.get("/v2/embeddings"), 404)["code"] == "unknown_url"
    answer = api.get("/v1/embeddings")
    assert api.error(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"


def test_request_ids(api):
    assert api.get("/health", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("x" * 65, "a b", 'a"b'):
        results = api.get("/health", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", results)


def test_every_answer_says_what_a_browser_may_do(search_api):
    for path in ("/page/x.js", "/v1/models", "/nothing"):
        headers = search_api.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_log_has_one_line_a_request_and_nothing_of_its_contents(search_api, logged):
    secret = "quokka"
    search_api.search(query=f"{secret} river", where={"source": secret})
    search_api.embed(input=[f"{secret} garden", "lamp"], user=secret)
    search_api.embed(input="a", **{secret: 1})
    search_api.embed(input="a", model=secret)
    search_api.get(f"/{secret}?{secret}={secret}")
    search_api.post(
        "/v1/search", content=secret, headers={"Authorization": f"Bearer {secret}", "X-Request-ID": "mine"}
    )
    lines = [line for line in logged if line["event"] == "request"]
    assert [line["status"] for line in lines] == [200, 200, 400, 404, 404, 400]
    assert secret not in json.dumps(logged)
    first = lines[0]
    assert (first["method"], first["path"], first["texts"]) == ("POST", "/v1/search", 1)
    assert first["tokens"] >= 4
    assert first["ms"] > 0
    assert lines[-1]["id"] == "mine"


def test_probes_are_not_logged(api, logged):
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert api.get(path).status_code == 200
    assert not logged


def test_unusual_characters_in_paths_and_headers(api):
    for path in (
        "/%00",
        "/%ff%fe",
        "/../../etc/passwd",
        "/page/../service/app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
    ):
        assert api.get(path).status_code == 404
    assert api.embed(input=TEXTS[0]).status_code == 200


def test_connections_are_closed_with_their_answer_once_the_server_ends(serve, model_folder):
    """uvicorn tells only those to close that it knows of when the signal comes; a busy client on one that was taken
    a moment later kept the server for as long as it waits, 30 s."""
    client = serve(model_folder)
    assert "connection" not in client.embed(input="a").headers
    client.service.ending = True
    assert client.embed(input="a").headers["connection"] == "close"
    assert client.get("/health").headers["connection"] == "close"


def test_others_are_answered_between_requests_that_arrive_together():
    """A hundred searches in one round of the event loop, each with some milliseconds of its own, and /health after them."""
    order = []

    async def application(scope, receive, send):
        order.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        pass

    async def ask():
        gate = Gate(application, keys=(), limits=Limits(), metrics=Metrics(), is_full=lambda: None)
        headers = [(b"host", b"localhost"), (b"content-length", b"2")]
        paths = 100 * ["/v1/search"] + ["/health"]
        scopes = [{"type": "http", "path": path, "method": "POST", "headers": headers} for path in paths]
        await asyncio.gather(*(gate(scope, receive, send) for scope in scopes))

    asyncio.run(ask())
    assert order.count("/v1/search") == 100
    assert order.index("/health") < 5
