"""The running service: what is served now, the work under way, and the exchange for a newer state."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request

from brickwork.core.errors import BrickworkError, DataError
from brickwork.core.types import TokenBatch
from brickwork.encoders.prompts import Role
from brickwork.representation.batches import TOKEN_BUDGET
from brickwork.service import errors
from brickwork.service.batching import Batcher, Piece, Work
from brickwork.service.config import ServiceConfig
from brickwork.service.errors import ApiError
from brickwork.service.logs import log
from brickwork.service.metrics import Metrics
from brickwork.service.serving import Served, load_served, model_on_disk, state_on_disk

T = TypeVar("T")
# Texts of so many characters in all are tokenised where they are; for more, the event loop would stand still.
_FEW_CHARACTERS = 4096


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class Service:
    """One worker's state. Everything but the batches runs in the event loop."""

    def __init__(self, config: ServiceConfig):
        self.config = config
        self.metrics = Metrics()
        self.served = load_served(
            config.target, config.name, config.rerank, config.rerank_revision, config.engine
        )
        self.batcher = Batcher(
            _run,
            batch_tokens=config.limits.batch_tokens or self._default_batch(),
            queue_tokens=config.limits.queue_tokens,
            queue_requests=config.limits.queue_requests,
            on_batch=self.metrics.on_batch,
            prepare=self._set_threads,
        )
        self.documents: int | None = None
        self.ending = False  # a signal has come
        self._seen = state_on_disk(config.target)
        self._users: Counter[Served] = Counter()
        self._reloading = asyncio.Lock()
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix="helper")
        self._watch: asyncio.Task[None] | None = None

    def _default_batch(self) -> int:
        kind = self.served.representation.device.type
        return min(TOKEN_BUDGET.get(kind, TOKEN_BUDGET["cpu"]), self.config.limits.queue_tokens)

    def _set_threads(self) -> None:
        if self.config.threads is not None:
            import torch

            torch.set_num_threads(self.config.threads)

    async def start(self) -> None:
        self.batcher.start()
        await self._count_documents()
        if self.served.index is not None:
            self._watch = asyncio.create_task(self._watch_index())

    async def stop(self) -> None:
        """Finishes the accepted work and lets go of everything."""
        if self._watch is not None:
            self._watch.cancel()
        drained = await self.aside(self.batcher.stop, self.config.limits.drain_seconds)
        if not drained:
            log("drain_timeout", level=logging.ERROR, waiting=self.batcher.waiting[0])
        self._helpers.shutdown(wait=False)
        self.served.close()

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs ``function`` in a helper thread."""
        return await asyncio.get_running_loop().run_in_executor(self._helpers, function, *arguments)

    async def between(self, function: Callable[[], T]) -> T:
        """Runs ``function`` in the thread of the batches, between two of them: never while a search reads."""
        return await asyncio.wrap_future(self.batcher.call(function))

    def refusal(self) -> int | None:
        """Seconds after which to try again, while the queue takes nothing; else ``None``."""
        return self.batcher.retry_after() if self.batcher.full else None

    @contextlib.contextmanager
    def using(self, name: str | None) -> Iterator[Served]:
        """What is served now, for one request: it stays whole until the request is done, reload or not.

        Raises:
            ApiError: 404, if ``name`` is not the model's.
        """
        served = self.served
        if name is not None and name not in served.names:
            raise ApiError(
                404,
                f"The model '{name[:100]}' is not served here; this server has '{served.id}'.",
                param="model",
                code="model_not_found",
            )
        self._users[served] += 1
        try:
            yield served
        finally:
            self._users[served] -= 1
            self._retire(served)

    def _retire(self, served: Served) -> None:
        """Closes what is no longer served, once nobody uses it."""
        if served is not self.served and not self._users[served]:
            del self._users[served]
            self.batcher.call(served.close)

    async def tokenize(
        self, served: Served, texts: Sequence[str], param: str, role: Role | None = None
    ) -> TokenBatch:
        """The tokens of ``texts``.

        Raises:
            ApiError: 400, for a text that is too long, or too many tokens in all.
        """
        cut_long = self.config.cut_long

        def tokenize() -> TokenBatch:
            return served.tokenize(texts, cut_long=cut_long, role=role)

        try:
            few = sum(map(len, texts)) <= _FEW_CHARACTERS
            tokens = tokenize() if few else await self.aside(tokenize)
        except DataError as error:
            raise ApiError(400, f"{error}.", param=param, code="context_length_exceeded") from error
        total, most = len(tokens.ids), self.config.limits.queue_tokens
        if total > most:
            raise ApiError(
                400,
                f"The request has {total:,} tokens; at most {most:,} are taken at a time. Send fewer texts.",
                param=param,
                code="max_tokens_per_request",
            )
        return tokens

    async def do(self, work: Work, request: Request) -> list[Any]:
        """Queues ``work`` and gives the results of its pieces; drops it if the client leaves or time runs out.

        Raises:
            ApiError: 429, queue full; 503, not done in time.
            ClientLeft: nobody waits for it any more.
        """
        try:
            self.batcher.submit(work)
        except ApiError:
            self.metrics.refused.labels("queue").inc()
            raise
        future = asyncio.wrap_future(work.future)
        left = asyncio.ensure_future(_client_left(request))
        seconds = self.config.limits.request_seconds
        try:
            both: set[asyncio.Future[Any]] = {future, left}
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if left.done():
                raise ClientLeft
            self.metrics.refused.labels("time").inc()
            raise errors.late(seconds)
        finally:
            left.cancel()
            if not future.done():
                self.batcher.drop(work)

    async def reload(self) -> Served:
        """Loads what is on disk now and serves it from here on; on any failure, what was served stays.

        Raises:
            BrickworkError: what is on disk cannot be served.
        """
        async with self._reloading:
            seen = await self.aside(state_on_disk, self.config.target)
            try:
                config = self.config
                new = await self.aside(
                    load_served,
                    config.target,
                    config.name,
                    config.rerank,
                    config.rerank_revision,
                    config.engine,
                )
            except BrickworkError as error:
                self._seen = seen  # not again until it changes
                self.metrics.reloads.labels("failed").inc()
                log("reload_failed", level=logging.ERROR, reason=str(error))
                raise
            old, self.served, self._seen = self.served, new, seen
            self._retire(old)
            await self._reloaded()
            return new

    async def reload_quietly(self) -> None:
        """The same for a signal, which nobody waits for."""
        with contextlib.suppress(BrickworkError):
            await self.reload()

    async def _watch_index(self) -> None:
        """Takes up each newer state of the index, and the whole folder again where that is not enough."""
        while True:
            await asyncio.sleep(self.config.reload_seconds)
            try:
                await self._look()
            except Exception as error:
                log("watch_failed", level=logging.ERROR, error=error)

    async def _look(self) -> None:
        seen = await self.aside(state_on_disk, self.config.target)
        if seen is None or seen == self._seen:
            return
        served = self.served
        assert served.index is not None
        if await self.aside(model_on_disk, self.config.target) != served.fingerprint:
            # Another model took over: it is loaded beside the old one, which answers until then.
            await self.reload_quietly()
            return
        try:
            await self.between(served.index.refresh)
        except BrickworkError as error:
            log("refresh_failed", level=logging.WARNING, reason=str(error))
            await self.reload_quietly()
            return
        if served.index.model != served.fingerprint:  # replaced just now
            await self.reload_quietly()
            return
        self._seen = seen
        await self._reloaded()

    async def _reloaded(self) -> None:
        self.metrics.reloads.labels("ok").inc()
        await self._count_documents()
        log("reloaded", model=self.served.id, fingerprint=self.served.fingerprint, documents=self.documents)

    async def _count_documents(self) -> None:
        index = self.served.index
        if index is not None:
            self.documents = await self.between(index.__len__)
            self.metrics.documents.set(self.documents)


def _run(pieces: list[Piece]) -> list[Any]:
    return pieces[0].work.request.run(pieces)


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
