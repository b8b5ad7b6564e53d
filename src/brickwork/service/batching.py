"""One thread does the model's work, in batches taken fairly from a bounded queue.

While a batch runs, the next one gathers; an idle server answers at once. Pieces of work that want the same
(their ``key``) share a batch. Work that does not fit is cut: of more than a batch, what remains goes to the end of
the queue, so that a long list of texts does not keep a single one waiting.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from brickwork.service.errors import overloaded


@dataclass(eq=False)
class Work:
    """What one request wants: ``tokens`` by text; ``request`` is for whoever runs it.

    ``future`` gets the list of results of its pieces, in order, and the milliseconds that it waited at first.
    """

    key: Hashable
    tokens: Sequence[int]
    request: Any
    future: "Future[list[Any]]" = field(default_factory=Future)
    done: int = 0
    results: list[Any] = field(default_factory=list)
    submitted: float = field(default_factory=time.perf_counter)
    waited_milliseconds: float | None = None

    def waiting_tokens(self) -> int:
        """Tokens of the texts that are not yet done."""
        return sum(self.tokens[self.done :])


@dataclass(frozen=True)
class Piece:
    """Texts ``start`` to ``stop`` of a piece of work."""

    work: Work
    start: int
    stop: int

    @property
    def tokens(self) -> int:
        return sum(self.work.tokens[self.start : self.stop])


Run = Callable[[list[Piece]], list[Any]]
"""Does the pieces of one batch, which have one key; gives one result a piece."""


class Batcher:
    """The queue and its thread. ``on_batch(pieces, seconds)`` is told of each batch.

    ``prepare`` runs once in the thread, before anything else.
    """

    def __init__(
        self,
        run: Run,
        *,
        batch_tokens: int,
        queue_tokens: int,
        queue_requests: int,
        on_batch: Callable[[list[Piece], float], None] = lambda pieces, seconds: None,
        prepare: Callable[[], None] = lambda: None,
    ):
        self.batch_tokens = batch_tokens
        self.queue_tokens = queue_tokens
        self.queue_requests = queue_requests
        self._run = run
        self._on_batch = on_batch
        self._prepare = prepare
        self._queue: deque[Work] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._tokens = 0
        self._rate = 0.0
        self._stopping = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="batches", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> tuple[int, int]:
        """(requests, tokens) that wait."""
        return len(self._queue), self._tokens

    @property
    def full(self) -> bool:
        """Whether not even the smallest request would be taken."""
        return len(self._queue) >= self.queue_requests or self._tokens >= self.queue_tokens

    def retry_after(self) -> int:
        """Whole seconds until what waits now is done, at the speed of the last batches."""
        seconds = self._tokens / self._rate if self._rate else 1.0
        return max(1, min(60, round(seconds + 0.5)))

    def submit(self, work: Work) -> None:
        """Queues ``work``; one text and a list of them are treated alike.

        Raises:
            ApiError: 429, if the queue does not take that many tokens, or requests, any more.
        """
        wanted = sum(work.tokens)
        with self._condition:
            full = len(self._queue) >= self.queue_requests or self._tokens + wanted > self.queue_tokens
            if self._stopping or full:
                raise overloaded(self.retry_after())
            self._queue.append(work)
            self._tokens += wanted
            self._condition.notify()

    def drop(self, work: Work) -> bool:
        """Takes ``work`` out of the queue; whether anything of it was still waiting."""
        work.future.cancel()
        return self._remove(work)

    def _remove(self, work: Work) -> bool:
        with self._condition:
            if work not in self._queue:
                return False
            self._queue.remove(work)
            self._tokens -= work.waiting_tokens()
            return True

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Runs ``function`` in the thread, between two batches."""
        future: Future[Any] = Future()
        with self._condition:
            self._calls.append((function, future))
            self._condition.notify()
        return future

    def stop(self, timeout: float | None = None) -> bool:
        """Finishes what waits and ends the thread; False if that took longer than ``timeout`` seconds."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        self._prepare()
        while True:
            with self._condition:
                while not (self._queue or self._calls or self._stopping):
                    self._condition.wait()
                call = self._calls.popleft() if self._calls else None
                pieces = self._take() if call is None else []
            if call is not None:
                _settle(call[1], call[0])
            elif pieces:
                self._do(pieces)
            else:  # stopping, and nothing waits any more
                return

    def _take(self) -> list[Piece]:
        """The next batch: the first in the queue, and what may share its batch, in the order of the queue."""
        pieces: list[Piece] = []
        left = self.batch_tokens
        kept: deque[Work] = deque()
        last: list[Work] = []
        now = time.perf_counter()
        while self._queue and left > 0:
            work = self._queue.popleft()
            if pieces and work.key != pieces[0].work.key:
                kept.append(work)
                continue
            start = stop = work.done
            # One text at least, however long, or the queue would never move.
            while stop < len(work.tokens) and (work.tokens[stop] <= left or (not pieces and stop == start)):
                left -= work.tokens[stop]
                stop += 1
            if stop == start:
                kept.append(work)
                break
            if work.waited_milliseconds is None:
                work.waited_milliseconds = 1000 * (now - work.submitted)
            pieces.append(Piece(work, start, stop))
            work.done = stop
            if stop < len(work.tokens):
                (last if work.waiting_tokens() > self.batch_tokens else kept).append(work)
        self._queue = deque((*kept, *self._queue, *last))
        self._tokens -= sum(piece.tokens for piece in pieces)
        return pieces

    def _do(self, pieces: list[Piece]) -> None:
        started = time.perf_counter()
        try:
            results = self._run(pieces)
        except Exception as error:
            if len(pieces) > 1:  # one by one, so that only whoever caused it is told
                for piece in pieces:
                    self._do([piece])
                return
            self._remove(pieces[0].work)
            _fail(pieces[0].work.future, error)
            return
        seconds = time.perf_counter() - started
        rate = sum(piece.tokens for piece in pieces) / max(seconds, 1e-6)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
        self._on_batch(pieces, seconds)
        for piece, result in zip(pieces, results, strict=True):
            work = piece.work
            work.results.append(result)
            if piece.stop == len(work.tokens) and not work.future.cancelled():
                _settle(work.future, lambda work=work: work.results)  # type: ignore[misc]


def _settle(future: "Future[Any]", function: Callable[[], Any]) -> None:
    """Gives the future what ``function`` returns or raises; it may have been cancelled meanwhile."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _fail(future: "Future[Any]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
