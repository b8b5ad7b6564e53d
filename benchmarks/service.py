"""The service against plain servers of FastAPI and sentence-transformers: same weights, threads, texts and requests.

The peers are what one writes in an afternoon (``peer`` below): an endpoint that calls ``encode``. ``threadpool`` is an
ordinary ``def`` endpoint, which FastAPI runs in its pool of threads; ``one at a time`` puts a lock around the
model, so that its threads do not fight over the cores; ``bf16, one at a time`` also loads the weights as bf16,
which is what Brickwork does on a processor that has the instructions. Ours runs once more with ``--engine int8``,
calibrated on the long texts, where OpenVINO is installed. Requests have one text each and are sent
by 1, 8 and 64 clients who wait for each answer; ``short`` texts are summaries of Python functions, ``long`` ones
their documentation. Servers take turns in every round; a ratio compares within a round, and the median counts.
Under overload, ten times as many clients as before ask without a pause; whoever is refused asks again after a second.

    python benchmarks/service.py [--rounds 3] [--seconds 4] [--threads 2]
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import psutil

from common import begin, environment, roofline, save

OWN: dict[str, tuple[str, ...]] = {"brickwork": (), "brickwork int8": ("--engine", "int8")}
PEERS = ("threadpool", "one at a time", "bf16, one at a time")
CASES = ((1, "short"), (8, "short"), (64, "short"), (8, "long"))
CROWD, CROWD_SECONDS = 640, 8.0


# --- the peers ---------------------------------------------------------------------------------------------


def peer(kind: str, port: int, threads: int) -> None:
    """A plain server."""
    import threading

    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    from brickwork.encoders.build import minilm_package_folder

    torch.set_num_threads(threads)
    options: dict[str, Any] = {"model_kwargs": {"dtype": torch.bfloat16}} if kind.startswith("bf16") else {}
    model = SentenceTransformer(str(minilm_package_folder()), device="cpu", local_files_only=True, **options)
    lock = threading.Lock() if kind.endswith("one at a time") else contextlib.nullcontext()
    app = FastAPI()

    class Request(BaseModel):
        model: str
        input: list[str] | str

    @app.post("/v1/embeddings")
    def embeddings(request: Request) -> dict[str, Any]:
        texts = [request.input] if isinstance(request.input, str) else request.input
        with lock:
            vectors = model.encode(
                texts, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
            )
        data = [
            {"object": "embedding", "index": row, "embedding": vector}
            for row, vector in enumerate(vectors.float().tolist())
        ]
        return {"object": "list", "data": data, "model": request.model}

    uvicorn.run(app, port=port, log_level="warning")


@dataclass
class Server:
    """A server in a process of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def megabytes(self) -> float:
        return round(psutil.Process(self.process.pid).memory_info().rss / 2**20)


def start(name: str, threads: int) -> Server:
    """Starts a server and waits until it answers."""
    from brickwork.encoders.build import minilm_package_folder

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if name in OWN:
        command = ["-m", "brickwork", "serve", str(minilm_package_folder()), "--port", str(port)]
        command += ["--threads", str(threads), "--cut-long", "--quiet", *OWN[name]]
    else:
        command = [__file__, "--peer", name, "--port", str(port), "--threads", str(threads)]
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen([sys.executable, *command], env=environ, stdout=subprocess.DEVNULL)
    server = Server(name, port, process)
    for _ in range(600):
        with contextlib.suppress(OSError):
            ((status, _),) = asyncio.run(load(port, ["warm up"], 1, count=1)).answers
            if status == 200:
                return server
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the server '{name}' did not start")


# --- the clients -------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What clients saw: (status, seconds) of every answer; ``seconds`` that it all took."""

    answers: list[tuple[int, float]] = field(default_factory=list)
    broken: int = 0
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        good = [seconds for status, seconds in self.answers if status == 200]
        refused = sum(status == 429 for status, _ in self.answers)
        return {
            "requests_per_second": round(len(good) / self.seconds, 1),
            "p50_ms": round(1000 * float(np.quantile(good, 0.5)), 1) if good else None,
            "p99_ms": round(1000 * float(np.quantile(good, 0.99)), 1) if good else None,
            "refused": refused,
            "failed": len(self.answers) - len(good) - refused + self.broken,
        }


def request(text: str) -> bytes:
    """The bytes of a request: written once, so that the clients cost little of the machine."""
    content = json.dumps({"model": "default", "input": text}).encode()
    fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": len(content)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"POST /v1/embeddings HTTP/1.1\r\n{lines}\r\n"
    return head.encode() + content


async def load(port: int, texts: list[str], clients: int, *, seconds: float = 0.0, count: int = 0) -> Load:
    """So many clients ask for ``seconds``, or ``count`` times each, over connections that they keep.

    Answers that come after the end still count as late ones do: the time goes on until the last of them.
    """
    found = Load()
    requests = [request(text) for text in texts]
    started = time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = 0
        try:
            while turn < count if count else time.perf_counter() - started < seconds:
                begun = time.perf_counter()
                writer.write(requests[(number * 37 + turn) % len(requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                status = int(head[9:12])
                found.answers.append((status, time.perf_counter() - begun))
                turn += 1
                if status == 429:
                    await asyncio.sleep(1)
        except (OSError, asyncio.IncompleteReadError):
            found.broken += 1
        finally:
            writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    found.seconds = time.perf_counter() - started
    return found


def calibrate() -> None:
    """Makes the int8 network in the cache, if it is not there; or leaves that engine out."""
    import brickwork
    from brickwork.core.errors import MissingExtraError

    try:
        brickwork.load("minilm", engine="int8", calibration=texts()["long"])
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        del OWN["brickwork int8"]


# --- the measurement ---------------------------------------------------------------------------------------


def texts() -> dict[str, list[str]]:
    """Real texts, short and long."""
    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task

    sets = load_task(DataConfig(source="python", limit=2000), seed=0).retrieval
    retrieval = next(iter(sets.values()))
    return {"short": retrieval.queries[:200], "long": retrieval.documents[:200]}


@contextlib.contextmanager
def servers(threads: int) -> Iterator[list[Server]]:
    """All of them, running; the ones whose turn it is not are idle."""
    running: list[Server] = []
    try:
        for name in (*OWN, *PEERS):
            running.append(start(name, threads))
        yield running
    finally:
        for server in running:
            server.process.send_signal(signal.SIGTERM)
        for server in running:
            server.process.wait(60)


def compare(running: list[Server], rounds: int, seconds: float) -> dict[str, Any]:
    """Every case in every round, servers taking turns; then the overload, once each."""
    given = texts()
    found: dict[str, dict[str, Any]] = {}
    for clients, length in CASES:
        case = f"{clients} client{'s' * (clients > 1)}, {length} texts"
        runs: dict[str, list[dict[str, Any]]] = {server.name: [] for server in running}
        for server in running:
            asyncio.run(load(server.port, given[length], clients, count=max(2, 16 // clients)))  # warms up
        for number in range(rounds):
            for server in running:
                seen = asyncio.run(load(server.port, given[length], clients, seconds=seconds)).summary()
                runs[server.name].append(seen)
                print(f"{case}, round {number + 1}: {server.name} {seen}", file=sys.stderr)
        found[case] = _compared(runs)
    overload = {}
    for server in running:
        seen = asyncio.run(load(server.port, given["short"], CROWD, seconds=CROWD_SECONDS)).summary()
        overload[server.name] = {**seen, "megabytes": server.megabytes}
        print(f"{CROWD} clients: {server.name} {overload[server.name]}", file=sys.stderr)
    return {"cases": found, f"overload, {CROWD} clients, short texts": overload}


def operations(cases: dict[str, Any], threads: int) -> dict[str, float]:
    """Floating-point operations a second of Brickwork's answers, by case."""
    import torch

    from brickwork.encoders.build import build_text_encoder
    from brickwork.encoders.config import TextEncoderConfig

    torch.set_num_threads(threads)
    encoder = build_text_encoder(TextEncoderConfig())
    means = {}
    for length, given in texts().items():
        tokens = encoder.tokenize(given).lengths.tolist()
        means[length] = encoder.flops(tokens, encoder.num_layers) / len(given)
    return {
        case: measured["servers"]["brickwork"]["requests_per_second"]
        * means["long" if "long" in case else "short"]
        for case, measured in cases.items()
    }


def _compared(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds, and Brickwork's rate against each peer's and the best peer's of the round."""

    def rate(run: dict[str, Any]) -> float:
        return float(run["requests_per_second"])

    def ratio(name: str, peer: str) -> float:
        return round(statistics.median(rate(a) / rate(b) for a, b in zip(runs[name], runs[peer])), 2)

    own = [rate(run) for run in runs["brickwork"]]
    arms: dict[str, dict[str, Any]] = {}
    for name, each in runs.items():
        arms[name] = {key: statistics.median(run[key] for run in each) for key in each[0]}
        if name in OWN:
            arms[name]["ratio_to_threadpool"] = ratio(name, "threadpool")
        else:
            arms[name]["brickwork_ratio"] = ratio("brickwork", name)
    best = [max(rate(runs[name][turn]) for name in PEERS) for turn in range(len(own))]
    ratios = [round(o / b, 2) for o, b in zip(own, best)]
    return {"servers": arms, "ratio_to_best_peer": statistics.median(ratios), "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options.peer, options.port, options.threads)
        return
    begin()
    calibrate()
    from brickwork.core.hardware import bf16_reason

    about = {"threads": options.threads, "precision of brickwork": bf16_reason(), "seconds": options.seconds}
    with servers(options.threads) as running:
        found = compare(running, options.rounds, options.seconds)
    save(
        "service",
        {**environment(), **about, **found, **roofline(operations(found["cases"], options.threads))},
    )


if __name__ == "__main__":
    main()
