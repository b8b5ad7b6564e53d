"""A real server for tests: a tiny model, an index over it, and uvicorn in a fork of the test's process.

A fork, because importing torch takes seconds and forking none.
"""

import contextlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkError
from brickwork.core.seeding import seed_everything
from brickwork.data.types import Document
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.index.build import build_index
from brickwork.representation.model import Representation
from brickwork.service.config import ServiceConfig

_ADJECTIVES = "red green small quiet wooden heavy bright old cold narrow".split()  # noqa: SIM905
_NOUNS = "river garden lamp engine letter winter bridge apple signal window".split()  # noqa: SIM905
TEXTS = [f"the {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
MAX_TOKENS = 48


def tiny_model(seed: int = 0) -> Representation:
    """An encoder from scratch with random weights: 32 dimensions, 3 layers."""
    seed_everything(seed)
    config = TextEncoderConfig(
        backbone="scratch",
        width=32,
        num_heads=2,
        num_layers=3,
        mlp_width=64,
        vocab_size=400,
        max_tokens=MAX_TOKENS,
    )
    encoder = build_text_encoder(config, texts=TEXTS)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Representation(encoder.eval(), ElasticAxes(dims=(8, 16, 32), layers=(1, 2, 3)))


def documents(count: int = 100) -> list[Document]:
    """One for each of the texts."""
    return [
        Document(
            id=f"d{row}",
            title=text.title(),
            text=text,
            source=f"{row % 4}.md",
            meta={"row": row, "even": row % 2 == 0},
        )
        for row, text in enumerate(TEXTS[:count])
    ]


def tiny_index(folder: Path, model: Representation | None = None, count: int = 100) -> Path:
    """An index of the documents at 1 and 3 layers."""
    build_index(model or tiny_model(), documents(count), folder, layers=(1, 3), kind="flat").close()
    return folder


@dataclass
class Running:
    """A server in a process of its own, and a client for it."""

    url: str
    process: psutil.Process
    client: httpx.Client
    log: Path

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """What was logged so far."""
        results = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in results if event in (None, line["event"])]

    def metrics(self) -> dict[str, float]:
        """Each counter and gauge by its name, labels added up."""
        sums: dict[str, float] = {}
        for line in self.client.get("/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                name = name.partition("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Sends a signal; the exit status."""
        os.kill(self.process.pid, number)
        return self.wait(seconds)

    def wait(self, seconds: float = 30) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.process.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise TimeoutError(f"the server is still there {seconds:g} s after the signal")


@contextlib.contextmanager
def running(config: ServiceConfig, log: Path, tokens_per_second: float | None = None) -> Iterator[Running]:
    """The server of ``config``, on a free port. ``tokens_per_second`` makes its model slow, and its speed known."""
    config = replace(config, port=0)
    receive, send = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: a fork with threads
        pid = os.fork()
    if pid == 0:
        os.close(receive)
        os._exit(_serve(config, log, send, tokens_per_second))
    os.close(send)
    with os.fdopen(receive) as ready:
        url = ready.readline().strip()
    process = psutil.Process(pid)
    assert url, log.read_text()
    with httpx.Client(base_url=url, timeout=60) as client:
        try:
            yield Running(url, process, client, log)
        finally:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _serve(config: ServiceConfig, log: Path, send: int, tokens_per_second: float | None) -> int:
    """What happens in the fork; gives the exit status of the command line."""
    from brickwork.service import server
    from brickwork.service.process import Started
    from brickwork.service.serving import Served

    with open(log, "w") as out:
        os.dup2(out.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115  # not pytest's
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)

    def ready(started: Started) -> None:
        if tokens_per_second is not None:
            _slow_down(Served, tokens_per_second)
        os.write(send, f"{started.url}\n".encode())

    try:
        server.serve(config, ready)
    except BrickworkError as error:
        os.write(2, f"{error}\n".encode())
        return error.exit_code
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        return 1
    return 0


def _slow_down(served: Any, tokens_per_second: float) -> None:
    fast = served.vectors

    def slow(self: Any, tokens: Any, layers: int) -> Any:
        time.sleep(len(tokens.ids) / tokens_per_second)
        return fast(self, tokens, layers)

    served.vectors = slow
