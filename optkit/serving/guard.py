"""What every request passes: the key, the number of requests, the size of the body and the time it takes to arrive.

Plain ASGI: nothing of a request is in memory before it may be, and every answer is counted.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from optkit.serving.api.answers import error_answer
from optkit.serving.errors import Overloaded, RequestError, SlowClient, TooLarge, Unauthorized
from optkit.serving.metrics import Metrics

log = logging.getLogger("optkit.serving")
access = logging.getLogger("optkit.serving.access")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What anybody may ask: probes have no key.
OPEN = ("/v2/health/live", "/v2/health/ready", "/health")
#: Seconds that a body may take to arrive.
_ARRIVAL = 10.0


class Guard:
    """ASGI middleware around an application.

    Args:
        app: whose paths are guarded.
        key: that requests carry as ``Authorization: Bearer KEY``; None for none.
        max_body: bytes of a body.
        max_requests: handled at the same time.
        timeout: seconds that a body may take to arrive, at most ``_ARRIVAL``.
        metrics: count the answers.
        stopping: whether clients are to close their connections.
    """

    def __init__(
        self,
        app: App,
        *,
        key: str | None,
        max_body: int,
        max_requests: int,
        timeout: float,
        metrics: Metrics,
        stopping: Callable[[], bool],
    ):
        self.app, self.metrics, self.stopping = app, metrics, stopping
        self._key = None if key is None else f"Bearer {key}".encode()
        self._max_body, self._max_requests = max_body, max_requests
        self._arrival = min(timeout, _ARRIVAL)
        self._handled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        started = False

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                if self.stopping():
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        self._handled += 1
        self.metrics.handled.inc()
        try:
            await self._guarded(scope, receive, counted)
        except RequestError as error:
            await error_answer(error, scope)(scope, receive, counted)
        except Exception:
            log.error("a request failed", exc_info=True)
            if started:
                raise
            await error_answer(RequestError("the server failed"), scope)(scope, receive, counted)
        finally:
            self._handled -= 1
            self.metrics.handled.dec()
            self._tell(scope, status, time.perf_counter() - begun)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers = dict(scope["headers"])
        if path not in OPEN:
            if self._key is not None and not hmac.compare_digest(headers.get(b"authorization", b""), self._key):
                raise Unauthorized("the API key is missing or wrong: send Authorization: Bearer KEY")
            if self._handled > self._max_requests:
                raise Overloaded("too many requests at once")
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        await self.app(scope, _given(await self._body(headers, receive), receive), send)

    async def _body(self, headers: MutableMapping[bytes, bytes], receive: Receive) -> bytes:
        too_large = TooLarge(f"the body is too large: at most {self._max_body} bytes")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._arrival):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise SlowClient("the client is gone")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._max_body:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise SlowClient("the body did not arrive in time") from None

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        # The path as it is declared: what clients make up would make a time series each.
        path = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if access.isEnabledFor(logging.INFO):
            facts = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 6)}
            access.info("%(method)s %(path)s %(status)d %(seconds).6f", facts, extra={"facts": facts})


def _given(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that has the whole body at once."""
    taken = False

    async def given() -> MutableMapping[str, Any]:
        nonlocal taken
        if taken:
            return await receive()
        taken = True
        return {"type": "http.request", "body": body, "more_body": False}

    return given
