"""One worker process: its application, how uvicorn runs it, and its signals."""

import asyncio
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import Interrupted
from brickwork.service.config import ServiceConfig

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from brickwork.service.state import Service

# A client that keeps connections for less than this never meets one that closes under its hands.
_KEEP_ALIVE_SECONDS = 75
STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, kw_only=True)
class Started:
    """What there is to say once the server answers."""

    url: str
    model: str
    dims: tuple[int, ...]
    layers: tuple[int, ...]
    documents: int | None
    keys: int
    workers: int


OnReady = Callable[[Started], None]


def url_of(listener: socket.socket) -> str:
    """The address to ask at."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def stopped_by(number: int) -> Interrupted:
    """What a server ends with that a signal stopped."""
    name = signal.Signals(number).name
    return Interrupted(f"stopped by {name}; what was accepted was answered", 128 + number)


def worker_app(config: ServiceConfig, url: str, on_ready: OnReady) -> "FastAPI":
    """The application of one worker, with the model loaded; SIGHUP loads it again. Raises as ``server.serve``."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is loaded now is new enough
    if config.threads is not None:  # before torch comes
        os.environ["OMP_NUM_THREADS"] = str(config.threads)

    from brickwork.service import logs
    from brickwork.service.app import make_app
    from brickwork.service.state import Service

    _allow_many_connections()
    logs.configure(quiet=config.quiet)
    tasks: set[asyncio.Task[None]] = set()

    def ready(service: Service) -> None:
        def reload() -> None:
            tasks.add(asyncio.ensure_future(service.reload_quietly()))

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        for number in STOPS:
            _note_signal(number, service)
        # The collector looks at everything now and never again: torch's million objects would hold up all threads for
        # 0.2 s, in the middle of requests.
        gc.collect()
        gc.freeze()
        on_ready(_started(service, url))

    return make_app(Service(config), ready)


def _note_signal(number: int, service: "Service") -> None:
    """Has ``service`` know of a signal that uvicorn handles."""
    handler = signal.getsignal(number)

    def handle(given: int, frame: Any) -> None:
        service.ending = True
        if callable(handler):
            handler(given, frame)

    signal.signal(number, handle)


def settings(config: ServiceConfig, app: Any, **more: Any) -> "uvicorn.Config":
    """How uvicorn is to run ``app``, in one process or in several."""
    import uvicorn

    from brickwork.service.protocol import WatchedProtocol

    return uvicorn.Config(
        app,
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        http=partial(WatchedProtocol, seconds=config.limits.head_seconds),  # type: ignore[arg-type]
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(config.limits.drain_seconds),
        **more,
    )


def _started(service: "Service", url: str) -> Started:
    axes = service.served.representation.axes
    return Started(
        url=url,
        model=service.served.id,
        dims=axes.dims,
        layers=axes.layers,
        documents=service.documents,
        keys=len(service.config.keys),
        workers=service.config.workers,
    )


def _allow_many_connections() -> None:
    """As many open files as this user may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
