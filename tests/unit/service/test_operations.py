"""Health, metrics, time limits, and the exchange of model and index under the feet of requests."""

import copy
import shutil
import threading
import time
from urllib.parse import quote

import numpy as np
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.model import Representation
from brickwork.service.config import Limits
from brickwork.service.keys import digest
from brickwork.service.serving import Served
from running_server import TEXTS, documents, tiny_index, tiny_model

KEY = "a-first-key-of-some-length"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def slow(monkeypatch):
    """Each batch takes as long as ``slow.held`` is not set."""

    class Slow:
        held = threading.Event()
        begun = threading.Event()

    fast = Served.vectors

    def vectors(self, tokens, layers):
        Slow.begun.set()
        Slow.held.wait(20)
        return fast(self, tokens, layers)

    Slow.held.clear()
    Slow.begun.clear()
    # After the service has started: its first passes are made while it loads.
    Slow.on = staticmethod(lambda: monkeypatch.setattr(Served, "vectors", vectors))
    yield Slow
    Slow.held.set()


def in_thread(function):
    """Runs ``function`` in a thread; ``join()`` gives what it gave."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()

    def join():
        thread.join(30)
        return results[0]

    return join


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def samples(api, **headers):
    """(name, labels) -> value, read by Prometheus' own parser."""
    families = text_string_to_metric_families(api.get("/metrics", **headers).text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_health(serve, model_folder):
    client = serve(model_folder)
    for path in ("/health", "/health/live", "/health/ready"):
        assert client.get(path).json() == {"status": "ok"}
    client.service.batcher.stop(5.0)
    for path in ("/health", "/health/live", "/health/ready"):
        assert client.get(path).status_code == 503
        assert client.get(path).json() == {"status": "failed"}


def test_metrics_count_what_was_done(serve, index_folder):
    client = serve(index_folder)
    tokens = client.embed(input=TEXTS[:3]).json()["usage"]["prompt_tokens"]
    client.embed(input="a", dimensions=999)
    client.search(query=["river", "lamp"])
    client.get("/some/where")
    got = samples(client)
    for path, status, count in (
        ("/v1/embeddings", "200", 1),
        ("/v1/embeddings", "400", 1),
        ("/v1/search", "200", 1),
        ("other", "404", 1),
    ):
        assert got["brickwork_requests_total", (("path", path), ("status", status))] == count
    assert got["brickwork_texts_total", (("kind", "embed"),)] == 3
    assert got["brickwork_texts_total", (("kind", "search"),)] == 2
    assert got["brickwork_tokens_total", (("kind", "embed"),)] == tokens
    assert got["brickwork_index_documents", ()] == 100
    assert got["brickwork_queue_tokens", ()] == 0
    assert ("process_resident_memory_bytes", ()) in got


def test_a_full_queue_refuses_one_text_and_a_list_alike(serve, model_folder, slow):
    client = serve(model_folder, limits=Limits(queue_tokens=60, batch_tokens=30))
    slow.on()
    running = in_thread(lambda: client.embed(input=TEXTS[:5]))
    assert slow.begun.wait(10)
    per_text = client.service.served.representation.encoder.tokenize(TEXTS[:1]).lengths.tolist()[0]
    count = 60 // per_text
    waiting = in_thread(lambda: client.embed(input=[TEXTS[0]] * count))
    until(lambda: client.service.batcher.waiting[1] == count * per_text)
    for given in (TEXTS[:10], [TEXTS[0]] * count):
        answer = client.embed(input=given)
        assert client.error(answer, 429)["type"] == "rate_limit_error"
        assert int(answer.headers["retry-after"]) >= 1
    got = samples(client)
    assert got["brickwork_queue_tokens", ()] == count * per_text
    assert got["brickwork_refused_total", (("reason", "queue"),)] == 2
    slow.held.set()
    assert running().status_code == waiting().status_code == 200


def test_work_that_is_refused_for_a_full_queue_is_not_even_read(serve, model_folder, slow):
    client = serve(model_folder, limits=Limits(queue_requests=1))
    slow.on()
    running = in_thread(lambda: client.embed(input="a"))
    assert slow.begun.wait(10)
    waiting = in_thread(lambda: client.embed(input="b"))
    until(lambda: client.service.batcher.full)
    headers = {"Content-Type": "application/json"}
    client.error(client.post("/v1/embeddings", content=b"no json at all", headers=headers), 429)
    slow.held.set()
    assert running().status_code == waiting().status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(serve, model_folder, slow):
    client = serve(model_folder, limits=Limits(request_seconds=0.2))
    slow.on()
    first = in_thread(lambda: client.embed(input="a"))
    assert slow.begun.wait(10)
    answer = client.embed(input="b")
    assert client.error(answer, 503)["code"] == "timeout"
    assert int(answer.headers["retry-after"]) >= 1
    assert client.service.batcher.waiting == (0, 0), "the work was dropped"
    slow.held.set()
    assert first().status_code == 503


@pytest.fixture
def own_index(tmp_path, model):
    return tiny_index(tmp_path / "own", model, count=40)


def new_document(name):
    return Document(id=name, title="", text="a heavy zebra", source="new.md")


def test_documents_that_are_added_are_found_without_a_restart(serve, own_index):
    client = serve(own_index, reload_seconds=0.05)
    assert client.search(query="a heavy zebra", top=1).json()["results"][0][0]["id"] != "new"
    with open_index(own_index) as index:
        index.add([new_document("new")])
    until(lambda: client.service.documents == 41)
    answer = client.search(query="a heavy zebra", top=1).json()
    assert answer["results"][0][0]["id"] == "new"
    assert answer["documents"] == 41
    got = samples(client)
    assert got["brickwork_index_documents", ()] == 41
    assert got["brickwork_reloads_total", (("result", "ok"),)] == 1


def test_an_index_built_anew_with_another_model_brings_its_model(serve, own_index):
    client = serve(own_index, reload_seconds=0.05)
    other = tiny_model(seed=1)
    assert client.get("/v1/models/default").json()["fingerprint"] != other.fingerprint
    tiny_index(own_index, other, count=60)
    until(lambda: client.service.served.fingerprint == other.fingerprint)
    np.testing.assert_allclose(client.vectors(input=TEXTS[:3]), other.encode(TEXTS[:3]), atol=1e-6)
    assert client.search(query="river").json()["documents"] == 60


def test_a_successor_takes_over_without_a_pause_and_without_encoding_anything(serve, tmp_path, model):
    """Requests go on all the while; afterwards queries are encoded by the successor, and no vector has changed."""
    folder = tmp_path / "own"
    build_index(model, documents(60), folder, kind="flat").close()
    stored = {path: path.read_bytes() for path in folder.rglob("vectors-*")}
    encoder = copy.deepcopy(model.encoder)
    with torch.no_grad():
        encoder.body.token_embedding.weight.add_(0.01)
    successor = Representation(encoder, model.axes, lineage={"replaces": [model.fingerprint]})
    client = serve(folder, reload_seconds=0.05)
    statuses, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            statuses.append(client.search(query="red river", top=3).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    with open_index(folder, successor) as index:
        assert index.replace_model()
    until(lambda: client.service.served.fingerprint == successor.fingerprint)
    asked = len(statuses)
    until(lambda: len(statuses) > asked + 3)
    stop.set()
    asking.join()
    assert set(statuses) == {200}
    np.testing.assert_allclose(client.vectors(input=TEXTS[:3]), successor.encode(TEXTS[:3]), atol=1e-6)
    (hits,) = client.search(query="red river", top=60, mode="dense").json()["results"]
    texts = [f"{hit['title']}\n{hit['text']}" for hit in hits]  # as they were encoded
    expected = model.encode(texts) @ successor.encode("red river")
    np.testing.assert_allclose([hit["score"] for hit in hits], expected, atol=1e-5)
    assert {path: path.read_bytes() for path in folder.rglob("vectors-*")} == stored
    with open_index(folder) as index:
        index.add([new_document("new")])
    until(lambda: client.service.documents == 61)
    assert client.search(query="a heavy zebra", top=1).json()["results"][0][0]["id"] == "new"


def test_a_damaged_index_leaves_what_was_served(serve, own_index, logged):
    client = serve(own_index, reload_seconds=0.05)
    (own_index / "manifest.json").write_text("{")
    until(lambda: any(line["event"] == "reload_failed" for line in logged))
    time.sleep(0.3)
    failed = [line for line in logged if line["event"] == "reload_failed"]
    assert len(failed) == 1, "once, not every time it looks"
    assert "manifest.json" in failed[0]["reason"]
    assert client.search(query="river").status_code == 200
    assert samples(client)["brickwork_reloads_total", (("result", "failed"),)] == 1


@pytest.fixture
def own_model(tmp_path):
    return tiny_model().save(tmp_path / "own-model")


def replace_model(folder, seed):
    tiny_model(seed).save(folder.with_name("next"))
    shutil.rmtree(folder)
    folder.with_name("next").rename(folder)


def test_a_model_is_exchanged_on_request_and_requests_under_way_keep_theirs(serve, own_model, slow):
    client = serve(own_model, keys=(digest(KEY),))
    client.headers.update(HEADERS)
    old, new = tiny_model(0), tiny_model(1)
    slow.on()
    before = in_thread(lambda: client.vectors(input=TEXTS[:3]))
    assert slow.begun.wait(10)
    waiting = in_thread(lambda: client.vectors(input=TEXTS[:3]))
    until(lambda: client.service.batcher.waiting[0] == 1)
    replace_model(own_model, 1)
    reloading = in_thread(lambda: client.post("/admin/reload"))
    slow.held.set()
    assert reloading().json() == {"object": "reload", "model": "own-model", "documents": None}
    for given in (before(), waiting()):
        np.testing.assert_allclose(given, old.encode(TEXTS[:3]), atol=1e-6)
    np.testing.assert_allclose(client.vectors(input=TEXTS[:3]), new.encode(TEXTS[:3]), atol=1e-6)


def test_a_reload_that_fails_leaves_what_was_served(serve, own_model):
    client = serve(own_model, keys=(digest(KEY),))
    client.headers.update(HEADERS)
    (own_model / "model.safetensors").write_bytes(b"damaged")
    error = client.error(client.post("/admin/reload"), 409)
    assert "model.safetensors" in error["message"]
    np.testing.assert_allclose(client.vectors(input="a"), tiny_model().encode(["a"]), atol=1e-6)


def test_what_is_no_longer_served_is_closed_once_nobody_uses_it(serve, own_index, monkeypatch, slow):
    closed = []
    monkeypatch.setattr(Served, "close", lambda self: closed.append(self))
    client = serve(own_index, keys=(digest(KEY),), reload_seconds=60.0)
    client.headers.update(HEADERS)
    first = client.service.served
    slow.on()
    using = in_thread(lambda: client.embed(input="a"))
    assert slow.begun.wait(10)
    reloading = in_thread(lambda: client.post("/admin/reload"))
    time.sleep(0.1)
    assert not closed
    slow.held.set()
    assert reloading().status_code == using().status_code == 200
    until(lambda: closed == [first])


def test_without_keys_nobody_can_ask_for_a_reload(api):
    assert api.error(api.post("/admin/reload"), 403)["code"] == "no_keys"


def test_the_description_is_a_page_without_anything_from_elsewhere(search_api):
    answer = search_api.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for words in ("/v1/embeddings", "/v1/search", "encoding_format", "budget_ms"):
        assert words in answer.text
    assert "://" not in answer.text
    assert "<script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["acme/small", "a b", "100%", "ü/ä/x"])
def test_models_are_found_under_any_name_as_it_is_and_encoded(serve, model_folder, name):
    api = serve(model_folder, name=name)
    assert [each["id"] for each in api.get("/v1/models").json()["data"]] == [name]
    for written in (quote(name, safe=""), quote(name)):
        answer = api.get(f"/v1/models/{written}")
        assert (answer.status_code, answer.json().get("id")) == (200, name)
    assert api.embed(model=name, input="a").status_code == 200
    assert api.get("/v1/models/other/small").status_code == 404


@pytest.mark.parametrize("path", ["/health", "/health/live", "/v1/models", "/metrics", "/", "/openapi.json"])
def test_head_answers_as_get_without_a_body(api, path):
    got, head = api.get(path), api.head(path)
    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert api.head("/v1/embeddings").status_code == api.get("/v1/embeddings").status_code == 405
