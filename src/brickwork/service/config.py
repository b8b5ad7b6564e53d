"""The options of a server: where to listen, what to serve, how much to take on."""

import ipaddress
from dataclasses import dataclass, field

from brickwork.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the server takes on; beyond that it says so at once instead of letting everyone wait.

    ``queue_tokens`` and ``queue_requests`` bound what waits, in tokens and in requests. A request may not have
    more texts than ``texts``, more tokens than ``queue_tokens`` or a body of more than ``body_bytes``; all
    bodies together may not have more than ``all_bodies_bytes``. ``batch_tokens``: ``None`` for what suits the
    device. The seconds are for the head and the body of a request to arrive, an answer to be ready, and accepted work
    to be finished after SIGTERM.
    """

    batch_tokens: int | None = None
    queue_tokens: int = 65_536
    queue_requests: int = 512
    body_bytes: int = 16 * 2**20
    all_bodies_bytes: int = 256 * 2**20
    head_seconds: float = 20.0
    body_seconds: float = 30.0
    request_seconds: float = 60.0
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.batch_tokens is not None and self.batch_tokens > self.queue_tokens:
            raise ConfigError(
                f"--max-batch-tokens {self.batch_tokens} is more than --max-queue-tokens {self.queue_tokens}: "
                "a batch is taken from the queue, so it cannot be larger"
            )


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """A server: ``target`` is the folder of a model or an index, ``keys`` are digests of API keys (keys.py). ``rerank`` is
    the folder or hub id (at ``rerank_revision``) of a cross-encoder that searches may ask for.

    ``engine``: what computes, of a model (representation/engines.py); an index has its own.

    ``cut_long`` cuts texts that are longer than the model reads instead of refusing them. ``reload_seconds``:
    how often the index on disk is looked at for a newer state.
    """

    target: str
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    cut_long: bool = False
    quiet: bool = False
    reload_seconds: float = 2.0
    rerank: str | None = None
    rerank_revision: str | None = None
    engine: str = "auto"
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.rerank is None and self.rerank_revision is not None:
            raise ConfigError("--rerank-revision has an effect only with --rerank ID; leave it out")
        if not self.keys and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} can be reached from other machines, so API keys are needed: write one or "
                "more into a file that only you can read (umask 077; openssl rand -hex 32 > keys.txt) and add "
                "--api-key-file keys.txt, or leave --host out to serve this machine only"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; names other than ``localhost`` are taken for public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
