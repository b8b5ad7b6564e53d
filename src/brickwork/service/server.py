"""The server: its socket, and one worker in this process or several in their own."""

import errno
import signal
import socket

from brickwork.core.errors import ConfigError, ResourceError, naming_extras
from brickwork.service.config import ServiceConfig
from brickwork.service.process import STOPS, OnReady, settings, stopped_by, url_of, worker_app


@naming_extras("the HTTP service")
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
            from brickwork.service.supervisor import serve_with_workers

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


def _serve_here(config: ServiceConfig, listener: socket.socket, on_ready: OnReady) -> None:
    """One worker, in this process."""
    import uvicorn

    app = worker_app(config, url_of(listener), on_ready)
    stopped: list[int] = []
    # uvicorn takes the signals over, drains, gives them back and raises them again: then they arrive here.
    before = {number: signal.signal(number, lambda given, _: stopped.append(given)) for number in STOPS}
    try:
        uvicorn.Server(settings(config, app)).run([listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise stopped_by(stopped[0])
