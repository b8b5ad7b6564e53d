"""The process: its socket, its signals, and what it says once it answers."""

import asyncio
import errno
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ConfigError, Interrupted, ResourceError
from brickwork.service.config import ServiceConfig

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from brickwork.service.state import Service

# A client that keeps connections for less than this never meets one that closes under its hands.
_KEEP_ALIVE_SECONDS = 75
_STOPS = (signal.SIGTERM, signal.SIGINT)


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


def serve(config: ServiceConfig, on_ready: OnReady = lambda started: None) -> None:
    """Serves until a signal asks to stop; then answers what was accepted, and raises :class:`Interrupted`.

    ``on_ready`` is called once, when requests are answered.

    Raises:
        ConfigError: an address that this machine does not have.
        ResourceError: the port is in use, or not for this user.
        ArtifactError: nothing to serve at ``config.target``.
        Interrupted: stopped by SIGTERM or Ctrl-C.
    """
    listener = bind(config.host, config.port)
    try:
        if config.workers == 1:
            _serve_here(config, listener, on_ready)
        else:
            from brickwork.service.workers import serve_with_workers

            serve_with_workers(config, listener, on_ready)
    finally:
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises as :func:`serve`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError) as error:
        raise ConfigError(f"--host {host} --port {port}: {error}; give an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ResourceError(
                f"port {port} on {host} is in use: stop what listens there, or choose another with --port "
                "(--port 0 takes a free one)"
            ) from error
        if error.errno == errno.EACCES:
            raise ResourceError(
                f"port {port} is not for ordinary users; choose one above 1023 with --port"
            ) from error
        raise ConfigError(f"--host {host}: {error.strerror}; give an address of this machine") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address to ask at."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _serve_here(config: ServiceConfig, listener: socket.socket, on_ready: OnReady) -> None:
    """One worker, in this process."""
    import uvicorn

    app = worker_app(config, url_of(listener), on_ready)
    stopped: list[int] = []
    # uvicorn takes the signals over, drains, gives them back and raises them again: then they arrive here.
    before = {number: signal.signal(number, lambda given, _: stopped.append(given)) for number in _STOPS}
    try:
        uvicorn.Server(settings(config, app)).run([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise stopped_by(stopped[0])


def stopped_by(number: int) -> Interrupted:
    """What a server ends with that a signal stopped."""
    name = signal.Signals(number).name
    return Interrupted(f"stopped by {name}; what was accepted was answered", 128 + number)


def worker_app(config: ServiceConfig, url: str, on_ready: OnReady) -> "FastAPI":
    """The application of one worker, with the model loaded; SIGHUP loads it again. Raises as :func:`serve`."""
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
        on_ready(_started(service, url))

    return make_app(Service(config), ready)


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
