"""The process: the port, the words at the start and the end, several workers."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import psutil
import pytest

from brickwork.core.errors import ConfigError, ResourceError
from brickwork.service import process, server
from brickwork.service.config import Limits, ServiceConfig
from running_server import TEXTS, running


def test_a_port_in_use_is_one_clear_error(tmp_path, model_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} on 127.0.0.1 is in use.*--port"):
            server.serve(ServiceConfig(target=str(model_folder), port=port))


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match="give an address of this machine"):
        server.bind(host, 0)


def test_addresses_are_shown_as_one_can_open_them():
    with server.bind("127.0.0.1", 0) as listener:
        assert process.url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    if socket.has_ipv6:
        with server.bind("::1", 0) as listener:
            assert process.url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def command(*words, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "brickwork", "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def test_the_command_from_start_to_end(index_folder, model):
    """What is printed, a key that nobody sees, SIGTERM. (With several workers: tests/reliability.)"""
    key = "key-that-is-not-to-be-seen-0123"
    command = [sys.executable, "-m", "brickwork", "serve", str(index_folder), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BRICKWORK_API_KEYS": key},
    )
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        assert not any(key in word for word in psutil.Process(process.pid).cmdline())
        headers = {"Authorization": f"Bearer {key}"}
        answer = httpx.post(f"{url}/v1/search", json={"query": TEXTS[0], "top": 1}, headers=headers)
        assert answer.json()["documents"] == 100
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 143
    assert out == ""
    for words in (
        "100 documents",
        "API keys: 1",
        "workers: 1",
        f"curl {url}/v1/search",
        "stopped by SIGTERM",
    ):
        assert words in err
    for secret in (key, TEXTS[0]):
        assert secret not in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopping_answers_what_was_accepted(model_folder, tmp_path, number, status):
    """50 tokens a second: the request is under way when the signal comes."""
    config = ServiceConfig(target=str(model_folder))
    with running(config, tmp_path / "log", tokens_per_second=50.0) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            answers = []
            body = {"model": "default", "input": TEXTS[:8]}
            thread = threading.Thread(target=lambda: answers.append(client.post("/v1/embeddings", json=body)))
            thread.start()
            time.sleep(0.4)
            os.kill(server.process.pid, number)
            thread.join(20)
        assert answers[0].status_code == 200
        assert len(answers[0].json()["data"]) == 8
        assert server.wait() == status
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


def test_waiting_for_the_last_answers_has_an_end(model_folder, tmp_path):
    config = ServiceConfig(target=str(model_folder), limits=Limits(drain_seconds=1.0))
    with running(config, tmp_path / "log", tokens_per_second=2.0) as server:
        with httpx.Client(base_url=server.url, timeout=0.5) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/v1/embeddings", json={"model": "default", "input": TEXTS[:8]})
        started = time.monotonic()
        assert server.stop(seconds=20) == 143
        assert time.monotonic() - started < 8


def test_the_service_knows_of_the_signal_that_uvicorn_handles(monkeypatch):
    class Service:
        ending = False

    given = []
    monkeypatch.setattr(
        server.signal, "getsignal", lambda number: lambda *arguments: given.append(arguments[0])
    )
    installed = {}
    monkeypatch.setattr(process.signal, "signal", installed.__setitem__)
    service = Service()
    process._note_signal(signal.SIGTERM, service)
    installed[signal.SIGTERM](signal.SIGTERM, None)
    assert service.ending
    assert given == [signal.SIGTERM]


def test_sighup_loads_anew(index_folder, tmp_path):
    with running(ServiceConfig(target=str(index_folder), reload_seconds=60.0), tmp_path / "log") as server:
        os.kill(server.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 20
        while not server.lines("reloaded"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.client.post("/v1/search", json={"query": "river"}).status_code == 200


def test_what_is_loaded_is_not_looked_at_again_by_the_collector(model_folder):
    """A full collection over torch's objects held up every request for 0.2 s."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, *process.STOPS)}
    started = []

    async def count():
        app = process.worker_app(ServiceConfig(target=str(model_folder)), "http://here", started.append)
        async with app.router.lifespan_context(app):
            return gc.get_freeze_count()

    try:
        assert asyncio.run(count()) > 10_000
        assert [each.url for each in started] == ["http://here"]
    finally:
        gc.unfreeze()
        for number, handler in before.items():
            signal.signal(number, handler)
