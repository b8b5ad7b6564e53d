"""HTTP connections with an end to waiting."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class WatchedProtocol(AutoHTTPProtocol):  # type: ignore[misc]
    """uvicorn's protocol, which would wait for ever, with an end to that: connections are closed on which a request
    has begun but its head is not complete, or an answer is not taken, for ``seconds`` to twice that long."""

    def __init__(self, *arguments: Any, seconds: float, **options: Any):
        super().__init__(*arguments, **options)
        self._seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._stuck = False
        self._check = self.loop.call_later(self._seconds, self._look)

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
        self._check = self.loop.call_later(self._seconds, self._look)
