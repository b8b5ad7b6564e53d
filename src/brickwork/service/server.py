"""The process: its socket, its workers, its signals."""

import asyncio
import errno
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import BrickworkError, ConfigError, Interrupted, ResourceError
from brickwork.service.config import ServiceConfig

if TYPE_CHECKING:
    from brickwork.service.state import Service

# A client that keeps connections for less than this never meets one that closes under its hands.
_KEEP_ALIVE_SECONDS = 75
_STOPS = (signal.SIGTERM, signal.SIGINT)
_MOST_RESTARTS, _RESTARTS_SECONDS = 5, 60.0


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
            _Parent(config, listener, on_ready).run()
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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is loaded now is new enough
    if config.threads is not None:  # before torch comes
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
    import uvicorn

    from brickwork.service import logs
    from brickwork.service.app import make_app
    from brickwork.service.state import Service

    _allow_many_connections()
    logs.configure(quiet=config.quiet)
    service = Service(config)
    stopped: list[int] = []
    # uvicorn takes the signals over, drains, gives them back and raises them again: then they arrive here.
    before = {number: signal.signal(number, lambda given, _: stopped.append(given)) for number in _STOPS}
    settings = uvicorn.Config(
        make_app(service, lambda service: _ready(service, listener, on_ready)),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        http=_watched_protocol(config.limits.head_seconds),
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(config.limits.drain_seconds),
    )
    try:
        asyncio.run(_run(uvicorn.Server(settings), service, listener))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        name = signal.Signals(stopped[0]).name
        raise Interrupted(f"stopped by {name}; what was accepted was answered", 128 + stopped[0])


def _watched_protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which would wait for ever, with an end to that: connections are closed on which a request
    has begun but its head is not complete, or an answer is not taken, for ``seconds`` to twice that long."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class WatchedProtocol(AutoHTTPProtocol):  # type: ignore[misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._stuck = False
            self._check = self.loop.call_later(seconds, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._check.cancel()
            super().connection_lost(exc)

        def _look(self) -> None:
            between = self.cycle is None or self.cycle.response_complete
            # Between two requests the keep-alive timer runs, until the first byte of the next one.
            stuck = self.transport.is_closing() or (between and self.timeout_keep_alive_task is None)
            if stuck and self._stuck:
                self.transport.abort()
                return
            self._stuck = stuck
            self._check = self.loop.call_later(seconds, self._look)

    return WatchedProtocol


async def _run(server: Any, service: "Service", listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks = set()

    def reload() -> None:
        tasks.add(asyncio.ensure_future(service.reload_quietly()))

    loop.add_signal_handler(signal.SIGHUP, reload)
    await server.serve(sockets=[listener])


def _ready(service: "Service", listener: socket.socket, on_ready: OnReady) -> None:
    axes = service.served.representation.axes
    on_ready(
        Started(
            url=url_of(listener),
            model=service.served.id,
            dims=axes.dims,
            layers=axes.layers,
            documents=service.documents,
            keys=len(service.config.keys),
            workers=service.config.workers,
        )
    )


def _allow_many_connections() -> None:
    """As many open files as this user may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _work(config: ServiceConfig, listener: socket.socket, pipe: Connection) -> None:
    """One of several workers: reports that it is ready, or why it failed, through ``pipe``."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        _serve_here(config, listener, pipe.send)
    except Interrupted:
        pass
    except BrickworkError as error:
        pipe.send((str(error), error.exit_code))


class _Parent:
    """Starts the workers, which share the listening socket, restarts one that died, hands signals on."""

    def __init__(self, config: ServiceConfig, listener: socket.socket, on_ready: OnReady):
        self.listener = listener
        self.on_ready = on_ready
        threads = config.threads or max(1, (os.cpu_count() or 1) // config.workers)
        self.config = replace(config, threads=threads)
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: dict[BaseProcess, Connection] = {}
        self._restarts: list[float] = []
        self._stopped: int | None = None

    def run(self) -> None:
        from brickwork.service import logs

        logs.configure(quiet=self.config.quiet)
        shared = tempfile.mkdtemp(prefix="brickwork-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # the workers count into files there
        before = {number: signal.signal(number, self._stop) for number in _STOPS}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._tell(signal.SIGHUP))
        try:
            for _ in range(self.config.workers):
                self._start()
            self._wait_until_ready()
            self._watch()
        finally:
            self._tell(signal.SIGTERM)
            for worker in self._workers:
                worker.join(self.config.limits.drain_seconds + 5)
                if worker.is_alive():
                    worker.kill()
            for number, handler in before.items():
                signal.signal(number, handler)
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]
            shutil.rmtree(shared, ignore_errors=True)
        if self._stopped is not None:
            name = signal.Signals(self._stopped).name
            raise Interrupted(f"stopped by {name}; what was accepted was answered", 128 + self._stopped)

    def _start(self) -> BaseProcess:
        here, there = self._spawn.Pipe()
        worker = self._spawn.Process(target=_work, args=(self.config, self.listener, there), daemon=True)
        worker.start()
        there.close()
        self._workers[worker] = here
        return worker

    def _wait_until_ready(self) -> None:
        """Returns when all workers answer; raises what one of them failed with."""
        started: Started | None = None
        for worker, pipe in self._workers.items():
            while self._stopped is None and not pipe.poll(0.2):
                if not worker.is_alive() and not pipe.poll():
                    break
            if self._stopped is not None:
                return
            try:
                message = pipe.recv()
            except EOFError:
                raise ResourceError(
                    f"a worker ended with status {worker.exitcode} before it was ready; see its lines above"
                ) from None
            if not isinstance(message, Started):
                failure = BrickworkError(message[0])
                failure.exit_code = message[1]
                raise failure
            started = message
        if started is not None:
            self.on_ready(started)

    def _watch(self) -> None:
        """Until told to stop: a worker that died is replaced, unless that happens all the time."""
        from brickwork.service.logs import log

        while self._stopped is None:
            wait([worker.sentinel for worker in self._workers], timeout=0.5)
            for worker in [each for each in self._workers if not each.is_alive()]:
                if self._stopped is not None:
                    return
                del self._workers[worker]
                now = time.monotonic()
                self._restarts = [then for then in self._restarts if now - then < _RESTARTS_SECONDS] + [now]
                if len(self._restarts) > _MOST_RESTARTS:
                    raise ResourceError(
                        f"workers died {len(self._restarts)} times within {_RESTARTS_SECONDS:g} s, the last with "
                        f"status {worker.exitcode}; see the lines above"
                    )
                log("worker_restarted", level=30, status=worker.exitcode)
                self._forget(worker)
                self._start()

    @staticmethod
    def _forget(worker: BaseProcess) -> None:
        """Takes a dead worker's gauges out of the metrics."""
        from prometheus_client.multiprocess import mark_process_dead

        if worker.pid is not None:
            mark_process_dead(worker.pid)

    def _stop(self, number: int, _: Any) -> None:
        self._stopped = number

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            if worker.is_alive() and worker.pid is not None:
                os.kill(worker.pid, number)
