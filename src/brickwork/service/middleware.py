"""What every request passes before anything else: who asks, how large it is, and the one line that is logged.

A plain ASGI middleware. It reads the body itself, so that a body that is too large or too slow is answered by
413 or 408 without being taken in.
"""

import asyncio
import contextlib
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brickwork.service.config import Limits, is_loopback
from brickwork.service.errors import ApiError, error_body, overloaded
from brickwork.service.keys import is_known
from brickwork.service.logs import log
from brickwork.service.metrics import Metrics

# What anyone may see: that the server lives, and its pages, which hold no data of their own.
_OPEN = re.compile(r"/(health(/live|/ready)?|docs|openapi\.json|page/.*)?")
_KNOWN = re.compile(
    r"/v1/(embeddings|search|models(/.+)?|thumbnail)|/health(/live|/ready)?|/metrics|/admin/reload|/docs|/openapi\.json|/"
)
_WORK = ("/v1/embeddings", "/v1/search")
# Looked at every few seconds by machines: not worth a line while all is well.
_PROBED = re.compile(r"/health(/live|/ready)?|/metrics")
_REQUEST_ID = re.compile(r"[\w.\-]{1,64}")
# How long a client that is refused may go on sending, so that it comes to read why.
_LINGER_SECONDS = 1.0
_SMALL_BYTES = 65_536
# Pages take nothing from other places and cannot be put into a frame; no answer is taken for another type.
_SAFETY = (
    (
        b"content-security-policy",
        # blob: thumbnails, which the page asks for with its key.
        b"default-src 'self'; img-src 'self' blob:; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Gate:
    """Checks host, key and size of a request; counts and logs its answer.

    ``is_full`` tells whether the queue takes nothing any more: then work is refused before it is read. ``is_ending``
    tells whether the server ends: then each connection is closed with its answer, also one that was taken after
    uvicorn told all others to close, on which a busy client would go on for as long as the server waits.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: tuple[bytes, ...],
        limits: Limits,
        metrics: Metrics,
        is_full: Callable[[], int | None],
        is_ending: Callable[[], bool] = lambda: False,
    ):
        self.app = app
        self.keys = keys
        self.limits = limits
        self.metrics = metrics
        self.is_full = is_full
        self.is_ending = is_ending
        self._bytes = 0
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        started = time.perf_counter()
        facts: dict[str, Any] = {}
        scope["facts"] = facts
        status = 499  # nobody read the answer

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                fields = list(message.get("headers", ()))
                present = {name for name, _ in fields}
                extra = [(b"x-request-id", request_id.encode()), *_SAFETY]
                if self.is_ending():
                    extra.append((b"connection", b"close"))
                message["headers"] = [
                    *fields,
                    *((name, value) for name, value in extra if name not in present),
                ]
            await send(message)

        num_held = 0
        try:
            self._check(scope, headers)
            num_held, inner = await self._body(headers, receive)
            if scope["path"] in _WORK:
                await self._take_turn()
            # What GET answers, without its body, which uvicorn leaves out: it looks at the scope that it made itself.
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self.app(asked, inner, answer)
        except ApiError as error:
            await _refuse(error, headers, receive, answer)
        except _Left:
            pass
        except Exception as error:
            log("error", level=logging.ERROR, error=error, id=request_id, path=scope["path"][:100])
            if status != 499:  # the answer had begun: all that is left is to end the connection
                raise
            body = error_body(
                "The server failed on this request; it is in its log.",
                type="server_error",
                code="server_error",
            )
            await _send_json(answer, 500, body)
        finally:
            self._bytes -= num_held
            self._record(scope, status, time.perf_counter() - started, request_id, facts)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises ApiError for who may not ask."""
        path = scope["path"]
        if not self.keys and not is_loopback(_host(headers.get("host", ""))):
            # A page of another site can make a browser ask here under its own name (DNS rebinding).
            raise ApiError(
                403,
                "Without API keys this server answers to localhost and 127.0.0.1 only.",
                code="wrong_host",
            )
        if self.keys and not _OPEN.fullmatch(path):
            scheme, _, key = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not is_known(key.strip(), self.keys):
                self.metrics.refused.labels("key").inc()
                what = "Incorrect API key provided." if key else "You didn't provide an API key."
                raise ApiError(
                    401,
                    f"{what} Send it as a header: Authorization: Bearer YOUR_KEY.",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        if path in _WORK and scope["method"] == "POST":
            retry_after = self.is_full()
            if retry_after is not None:
                self.metrics.refused.labels("queue").inc()
                raise overloaded(retry_after)

    async def _take_turn(self) -> None:
        """One request at a time begins its work, with a round of the event loop for everybody else before it: a hundred
        that arrive together would hold up ``/health`` for as long as all of them take to begin, a fifth of a second."""
        async with self._turn:
            await asyncio.sleep(0)

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> tuple[int, Receive]:
        """Reads the body; how many bytes are held for it, and what gives it to the application.

        Raises:
            ApiError: too large, too slow, or too many at a time.
        """
        length = headers.get("content-length", "0" if "transfer-encoding" not in headers else "")
        if length.isdecimal() and int(length) > self.limits.body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    chunk = message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) + len(chunk) > self.limits.body_bytes:
                        raise self._too_large()
                    if self._bytes + len(chunk) > self.limits.all_bodies_bytes:
                        self.metrics.refused.labels("bytes").inc()
                        raise overloaded(1)
                    self._bytes += len(chunk)
                    body += chunk
        except TimeoutError:
            self._bytes -= len(body)
            raise ApiError(
                408, f"The body did not arrive within {self.limits.body_seconds:g} s.", code="request_timeout"
            ) from None
        except BaseException:
            self._bytes -= len(body)
            raise
        return len(body), _replay(bytes(body), receive)

    def _too_large(self) -> ApiError:
        self.metrics.refused.labels("size").inc()
        return ApiError(
            413,
            f"The body is larger than the {self.limits.body_bytes:,} bytes that are taken; send fewer texts at a time.",
            code="request_too_large",
        )

    def _record(
        self, scope: Scope, status: int, seconds: float, request_id: str, facts: dict[str, Any]
    ) -> None:
        path = (
            scope["path"]
            if _KNOWN.fullmatch(scope["path"])
            else "/page"
            if scope["path"].startswith("/page/")
            else "other"
        )
        path = "/v1/models" if path.startswith("/v1/models/") else path
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if status == 499:
            self.metrics.dropped.inc()
        if status < 400 and _PROBED.fullmatch(path):
            return
        log(
            "request",
            id=request_id,
            method=scope["method"],
            path=path,
            status=status,
            ms=round(1000 * seconds, 2),
            **facts,
        )


class _Left(Exception):
    """The client went away while it was still sending."""


def _host(header: str) -> str:
    """The host in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, then whatever comes: that the client left."""
    given = False

    async def inner() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return inner


async def _refuse(error: ApiError, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
    """Sends the refusal. If more than a little of the body is unread, reads on for a moment, then closes: closing
    on a client that still sends would lose it the answer."""
    length = headers.get("content-length", "")
    unread = error.status_code == 408 or "transfer-encoding" in headers or int(length or 0) > _SMALL_BYTES
    fields = {**(error.headers or {}), **({"Connection": "close"} if unread else {})}
    await _send_json(send, error.status_code, error.body, fields, more=unread)
    if unread:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_json(
    send: Send, status: int, value: Any, headers: Mapping[str, str] | None = None, *, more: bool = False
) -> None:
    body = json.dumps(value).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    encoded = [(name.lower().encode(), text.encode("latin-1")) for name, text in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": more})
