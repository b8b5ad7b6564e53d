"""What the server counts, in Prometheus' form; with several workers, the sum over them."""

import os
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from brickwork.service.batching import Batcher, Piece

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536)


class Metrics:
    """The counters of one worker process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "brickwork_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "brickwork_request_seconds",
            "From the first byte to the answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter("brickwork_refused", "Requests not taken on.", ["reason"], registry=registry)
        self.dropped = Counter(
            "brickwork_dropped", "Requests whose client left before the answer.", registry=registry
        )
        self.texts = Counter("brickwork_texts", "Texts and queries done.", ["kind"], registry=registry)
        self.tokens = Counter("brickwork_tokens", "Tokens done.", ["kind"], registry=registry)
        self.batches = Counter("brickwork_batches", "Batches done.", ["kind"], registry=registry)
        self.busy = Counter("brickwork_busy_seconds", "Time spent in batches.", ["kind"], registry=registry)
        self.batch_tokens = Histogram(
            "brickwork_batch_tokens", "Tokens of a batch.", buckets=_TOKENS, registry=registry
        )
        self.reloads = Counter("brickwork_reloads", "Newer states taken up.", ["result"], registry=registry)
        self.queue_requests = Gauge(
            "brickwork_queue_requests", "Requests that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self.queue_tokens = Gauge(
            "brickwork_queue_tokens", "Tokens that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self.documents = Gauge(
            "brickwork_index_documents",
            "Documents of the index.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    def on_batch(self, pieces: "list[Piece]", seconds: float) -> None:
        kind = pieces[0].work.key[0]  # type: ignore[index]
        tokens = sum(piece.tokens for piece in pieces)
        self.batches.labels(kind).inc()
        self.busy.labels(kind).inc(seconds)
        self.batch_tokens.observe(tokens)
        self.tokens.labels(kind).inc(tokens)
        self.texts.labels(kind).inc(sum(piece.stop - piece.start for piece in pieces))

    def page(self, batcher: "Batcher") -> tuple[bytes, str]:
        """The text of /metrics and its media type."""
        requests, tokens = batcher.waiting
        self.queue_requests.set(requests)
        self.queue_tokens.set(tokens)
        registry = self._registry
        if os.environ.get(SHARED_FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        else:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            return generate_latest(self._registry) + generate_latest(registry), CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_LATEST
