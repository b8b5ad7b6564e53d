"""The service under more than it can take, with clients that misbehave, and while it stops or changes (R11, R19).

The model is made slow to a known speed, so what a queue may cost in time is arithmetic.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest

from brickwork.data.types import Document
from brickwork.index.index import open_index
from brickwork.service.config import Limits, ServiceConfig
from brickwork.service.keys import digest
from running_server import TEXTS, running, tiny_index, tiny_model

KEY = "a-first-key-of-some-length"


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return model.save(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def body(texts):
    return {"model": "default", "input": texts}


async def flood(url, clients, each, texts_of, on_answer):
    """``clients`` at a time, each asking ``each`` times without a pause: the answer or error of all."""
    results = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def one(number):
            for turn in range(each):
                try:
                    answer = await client.post("/v1/embeddings", json=body(texts_of(number)))
                except httpx.TransportError as error:
                    results.append(error)
                    return
                results.append(answer)
                on_answer(turn)

        await asyncio.gather(*(one(number) for number in range(clients)))
    return results


async def offer(url, per_second, seconds, texts_of):
    """So many requests a second, whether or not the ones before are answered: the answers, in order."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:

        async def one(number):
            await asyncio.sleep(number / per_second)
            return await client.post("/v1/embeddings", json=body(texts_of(number)))

        return await asyncio.gather(*(one(number) for number in range(int(per_second * seconds))))


def test_ten_times_too_much_loses_nothing_that_was_accepted(folder, model, log, tally, long):
    """A model of 100 tokens a second is offered 1,000: each request is answered by 200 or 429, and soon.

    200 tokens wait at most and batches have up to 50, so an accepted request waits for 250 tokens at most and may be
    cut over one batch more: three seconds at this speed, or what they take at the speed that was measured; and two
    more for a machine that is busy with other things.
    """
    speed, queue, batch = 100.0, 200, 50
    limits = Limits(queue_tokens=queue, batch_tokens=batch)

    def texts_of(number):
        return TEXTS[number % 90 : number % 90 + (1 if number % 2 else 8)]

    tokens = np.mean([len(model.encoder.tokenize(texts_of(number)).ids) for number in range(180)])
    seconds = 30.0 if long else 4.0
    with running(ServiceConfig(target=str(folder), limits=limits), log, tokens_per_second=speed) as server:
        results = asyncio.run(offer(server.url, 10 * speed / tokens, seconds, texts_of))
        statuses = Counter((len(texts_of(n)), answer.status_code) for n, answer in enumerate(results))
        # One text and eight: both are taken and both are refused, and nothing else happens.
        assert set(statuses) == {(1, 200), (1, 429), (8, 200), (8, 429)}
        assert statuses[1, 429] + statuses[8, 429] > 0.5 * len(results), "this was no overload"
        for number, answer in enumerate(results):
            if answer.status_code == 200:
                assert len(answer.json()["data"]) == len(texts_of(number))
            else:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        taken = statuses[1, 200] + statuses[8, 200]

        def logged():
            return [line["ms"] / 1000 for line in server.lines("request") if line["status"] == 200]

        until(lambda: len(logged()) >= taken)  # a line is written once its answer is sent
        accepted = logged()
        assert len(accepted) == taken
        done = server.metrics()
        measured = done["brickwork_tokens_total"] / done["brickwork_busy_seconds_total"]
        tally("R11", "requests at ten times the capacity, each answered by 200 or 429", len(results))
        tally(
            "R11",
            "seconds until 99 % of accepted requests were answered under overload",
            round(float(np.quantile(accepted, 0.99)), 2),
            limit=(queue + 2 * batch) / measured + 2.0,
        )
        assert done["brickwork_queue_tokens"] == 0
        assert server.stop() == 143


def test_work_of_clients_that_left_is_not_done(folder, log, tally):
    """50 requests wait behind a slow one, and their clients leave: none of their texts is computed."""
    limits = Limits(batch_tokens=50)
    with running(ServiceConfig(target=str(folder), limits=limits), log, tokens_per_second=40.0) as server:
        with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, timeout=60) as patient:
            first = pool.submit(patient.post, "/v1/embeddings", json=body(TEXTS[:8]))
            time.sleep(0.2)
            sockets = [send(server.url, body([text])) for text in TEXTS[:50]]
            until(lambda: server.metrics()["brickwork_queue_requests"] == 50)
            for each in sockets:
                each.close()
            until(lambda: server.metrics()["brickwork_queue_requests"] == 0)
            assert first.result(30).status_code == 200
        until(lambda: server.metrics().get("brickwork_dropped_total", 0) == 50)
        assert server.metrics()["brickwork_texts_total"] == 8, "texts of those who stayed"
        tally("R11", "clients that left while their work waited, none of it done", 50)


def send(url, value):
    """A request whose answer nobody reads."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    content = json.dumps(value).encode()
    fields = {"Host": host, "Content-Type": "application/json", "Content-Length": len(content)}
    head = "".join(f"{name}: {field}\r\n" for name, field in fields.items())
    connection.sendall(f"POST /v1/embeddings HTTP/1.1\r\n{head}\r\n".encode() + content)
    return connection


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_stopping_under_load_loses_nothing_that_was_accepted(folder, log, tally, long):
    """SIGTERM while 40 clients ask: whoever got an answer got a whole one, and the server logs no other end."""
    rounds = 10 if long else 1
    answered = 0
    for _ in range(rounds):
        limits = Limits(queue_tokens=4000, batch_tokens=200)
        with running(
            ServiceConfig(target=str(folder), limits=limits), log, tokens_per_second=3000.0
        ) as server:
            stopping = {}

            def stop(asked, server=server, stopping=stopping):
                if asked == 2 and not stopping:
                    stopping["at"] = time.perf_counter()
                    os.kill(server.process.pid, signal.SIGTERM)

            results = asyncio.run(flood(server.url, 40, 30, lambda number: TEXTS[number : number + 5], stop))
            assert server.wait() == 143
            good = [answer for answer in results if isinstance(answer, httpx.Response)]
            assert {answer.status_code for answer in good} <= {200, 429}
            assert all(len(answer.json()["data"]) == 5 for answer in good if answer.status_code == 200)
            assert len(good) < len(results), "it stopped in the middle"
            ends = Counter(line["status"] for line in server.lines("request"))
            # Every request that the server took up was answered to a client that got the answer.
            assert ends[200] == sum(answer.status_code == 200 for answer in good)
            assert set(ends) <= {200, 429}
            answered += ends[200]
    tally("R11", "accepted requests answered, with SIGTERM in the middle of the load", answered)


def test_changing_model_and_index_under_load_loses_nothing(tmp_path, log, model, tally, long):
    """The index gets documents, and the folder is loaded again, while six clients ask."""
    folder = tiny_index(tmp_path / "index", model, count=50)
    config = ServiceConfig(target=str(folder), keys=(digest(KEY),), reload_seconds=0.05, quiet=True)
    headers = {"Authorization": f"Bearer {KEY}"}
    changes = 40 if long else 3
    with running(config, log) as server:
        server.client.headers.update(headers)
        stop = False

        def ask(number):
            statuses = Counter()
            with httpx.Client(base_url=server.url, timeout=60, headers=headers) as client:
                while not stop:
                    if number % 2:
                        answer = client.post("/v1/search", json={"query": TEXTS[number], "top": 3})
                        statuses[answer.status_code, len(answer.json()["results"][0])] += 1
                    else:
                        answer = client.post("/v1/embeddings", json=body(TEXTS[number : number + 3]))
                        results = [entry["embedding"] for entry in answer.json()["data"]]
                        np.testing.assert_allclose(results, wanted[number], atol=1e-6)
                        statuses[answer.status_code, 3] += 1
            return statuses

        wanted = {number: model.encode(TEXTS[number : number + 3]) for number in range(6)}
        with ThreadPoolExecutor(6) as pool:
            asking = [pool.submit(ask, number) for number in range(6)]
            for change in range(changes):
                with open_index(folder) as index:
                    index.add(
                        [Document(id=f"new{change}", title="", text=f"zebra {change}", source="new.md")]
                    )
                assert server.client.post("/admin/reload").json()["documents"] == 51 + change
            stop = True
            total = sum((each.result(60) for each in asking), Counter())
        assert set(total) == {(200, 3)}
        assert server.metrics()["brickwork_reloads_total"] >= changes
        tally("R11", "changes of the served index and model under load", changes)
        tally("R11", "requests answered while the index and model changed, none lost", sum(total.values()))


def test_memory_and_descriptors_stay_flat(folder, log, tally, long):
    """Requests of all kinds, good and bad; compared after the first fifth, when everything has been seen once."""
    count = 10_000 if long else 400
    with running(ServiceConfig(target=str(folder), quiet=True), log) as server:

        def kind(n):
            return [
                body(TEXTS[n % 90 : n % 90 + 1 + n % 9]),
                {**body("one text"), "dimensions": 8, "encoding_format": "base64"},
                {**body("one text"), "layers": 1 + n % 3},
                body([]),
                {"model": "nothing", "input": "a"},
                {**body("a"), f"unknown{n}": n},
            ][n % 6]

        measured = []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            for n in range(count):
                client.post("/v1/embeddings", json=kind(n))
                if n % 50 == 0:  # a new connection, and an address that nobody has asked for
                    httpx.get(f"{server.url}/{n}")
                if n in (count // 5, count - 1):
                    measured.append((server.process.memory_info().rss / 2**20, server.process.num_fds()))
        (before, descriptors), (after, descriptors_after) = measured
        tally(
            "R19",
            f"MB that the server grew by over {count:,} requests",
            round(max(0.0, after - before), 1),
            limit=25,
        )
        more = max(0, descriptors_after - descriptors)
        tally("R19", f"file descriptors that the server has more after {count:,} requests", more, limit=2)


def test_clients_that_misbehave(folder, log, tally):
    """Nothing, half a head, half a body, 100 MB, no HTTP at all; another client is served all the while."""
    limits = Limits(head_seconds=0.5, body_seconds=0.5, body_bytes=2**20)
    with running(ServiceConfig(target=str(folder), limits=limits), log) as server:
        host, port = server.url.removeprefix("http://").split(":")

        def connect(*parts):
            connection = socket.create_connection((host, int(port)), timeout=20)
            for part in parts:
                connection.sendall(part)
            return connection

        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        nothing, half_head = connect(), connect(head)
        kept = connect(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while b"}" not in kept.recv(65536):
            pass
        kept.sendall(b"GET /hea")  # an answered request, and half of another one
        half_body = connect(head + b"Content-Length: 100\r\n\r\n{")
        chunked = connect(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        no_http = connect(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        before = server.process.memory_info().rss
        large = connect(head + b"Content-Length: 104857600\r\n\r\n")
        sent, refused = 0, b""
        try:
            for _ in range(100):
                sent += large.send(bytes(2**20))
        except OSError:
            pass
        refused = large.recv(65536)
        assert b" 413 " in refused.split(b"\r\n")[0]
        assert b"request_too_large" in refused
        assert server.process.memory_info().rss - before < 30 * 2**20
        assert b" 408 " in read_all(half_body).split(b"\r\n")[0]
        assert b" 408 " in read_all(chunked).split(b"\r\n")[0]
        assert b" 400 " in read_all(no_http).split(b"\r\n")[0]
        assert server.client.post("/v1/embeddings", json=body("a text")).status_code == 200
        for connection in (nothing, half_head, kept):
            assert read_all(connection) == b"", "closed by the server"
        until(lambda: len(server.process.net_connections()) <= 2)
        assert not server.lines("error")
        tally("R11", "clients with half a request, 100 MB, nothing or no HTTP: answered or closed", 7)


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_bodies_that_are_mutated(tmp_path, log, model, tally, long):
    """Bytes of good bodies changed at random: answered by 2xx or 4xx, never by a fault, and soon."""
    folder = tiny_index(tmp_path / "index", model)
    count = 20_000 if long else 300
    rng = np.random.default_rng(0)
    seeds = {
        "/v1/embeddings": {**body(TEXTS[:3]), "dimensions": 8, "layers": 2, "encoding_format": "float", "user": "x"},
        "/v1/search": {"query": TEXTS[:2], "top": 3, "dim": 8, "layers": 1, "shortlist": 20, "where": {"row": {"gte": 3}}},
    }  # fmt: skip
    alphabet = np.frombuffer(b'{}[]",:.-+eE0123456789\x00\x80\xff\\u nullNaN', dtype=np.uint8)
    slowest, statuses = 0.0, Counter()
    with running(ServiceConfig(target=str(folder), quiet=True), log) as server:
        for number in range(count):
            path = ("/v1/embeddings", "/v1/search")[number % 2]
            data = np.frombuffer(json.dumps(seeds[path]).encode(), dtype=np.uint8).copy()
            for place in rng.integers(len(data), size=rng.integers(1, 5)):
                data[place] = rng.choice(alphabet)
            content = data.tobytes()
            if number % 7 == 0:
                content = content[: rng.integers(len(content))]
            started = time.perf_counter()
            answer = server.client.post(path, content=content, headers={"Content-Type": "application/json"})
            slowest = max(slowest, time.perf_counter() - started)
            statuses[answer.status_code] += 1
            assert answer.status_code in (200, 400, 404), (content, answer.text)
            answer.json()
        assert not server.lines("error")
    assert statuses[200]
    assert statuses[400]
    tally("R14", "HTTP bodies mutated, each answered without a fault", count)
    tally("R14", "seconds for the slowest answer to a mutated HTTP body", round(slowest, 2), limit=5.0)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(folder, tally, long):
    """SIGKILL to one of two workers; the other serves meanwhile, and afterwards there are two again."""
    if not long:
        pytest.skip("starts six processes that import torch: part of make reliability (BRICKWORK_LONG=1)")
    command = [sys.executable, "-m", "brickwork", "serve", str(folder), "--port", "0", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        here = psutil.Process(process.pid)
        # A connection each, so that either worker may take it; any of them tells the counts of both.
        for _ in range(20):
            assert httpx.post(f"{url}/v1/embeddings", json=body("a")).status_code == 200
        counted = 'brickwork_requests_total{path="/v1/embeddings",status="200"} 20.0'
        assert counted in httpx.get(f"{url}/metrics").text

        def workers():
            return [child for child in here.children() if "spawn_main" in " ".join(child.cmdline())]

        killed = 0
        for _ in range(3):
            victim = workers()[0]
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            killed += 1
            assert httpx.post(f"{url}/v1/embeddings", json=body("a"), timeout=60).status_code == 200
            until(lambda: len(workers()) == 2, 60.0)
            # The new one answers, too: enough connections that both are met.
            for _ in range(20):
                assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 143
        tally("R11", "workers killed and replaced while others served", killed)
    finally:
        process.kill()


@pytest.mark.slow
def test_workers_end_soon_under_load_and_with_their_parent(folder, long):
    if not long:
        pytest.skip("starts six processes that import torch: part of make reliability (BRICKWORK_LONG=1)")
    command = [sys.executable, "-m", "brickwork", "serve", str(folder), "--port", "0", "--workers", "2", "-q"]

    def ask(url):
        with httpx.Client(base_url=url, timeout=60) as client:
            while True:
                with contextlib.suppress(httpx.ReadError, httpx.RemoteProtocolError):
                    client.post("/v1/embeddings", json=body("a"))

    def ask_until_refused(url):
        with contextlib.suppress(httpx.ConnectError):
            ask(url)

    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            url = process.stdout.readline().strip()
            workers = psutil.Process(process.pid).children()
            clients = [threading.Thread(target=ask_until_refused, args=(url,)) for _ in range(8)]
            for client in clients:
                client.start()
            time.sleep(2)
            process.send_signal(number)
            assert process.wait(20) == status
            assert not psutil.wait_procs(workers, timeout=20)[1]
            for client in clients:
                client.join(20)
        finally:
            process.kill()


@pytest.mark.slow
def test_workers_that_cannot_start_say_why(tmp_path, long):
    if not long:
        pytest.skip("starts three processes that import torch: part of make reliability (BRICKWORK_LONG=1)")
    command = [sys.executable, "-m", "brickwork", "serve", str(tmp_path), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4
    assert f"error: {tmp_path} holds no model" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
