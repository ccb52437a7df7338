"""A model with its tokenizer on OpenVINO's streams: texts in, rows of its output out. It knows nothing of HTTP.

Its state belongs to the event loop that calls it; tokenization and inference run in threads:

    arrived texts -> tokenizer thread -> queue by length -> a free request of OpenVINO -> rows to who waits
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optkit.serving.encoder import Encoder
from optkit.serving.errors import Failed, Overloaded, RequestError, TimedOut, Unavailable
from optkit.serving.queueing import LengthQueue

if TYPE_CHECKING:
    import numpy as np

    from optkit.serving.encoder import RunnerOptions
    from optkit.serving.folder import ModelFolder
    from optkit.serving.tokenizer import Text, Tokens

log = logging.getLogger("optkit.serving")


class Statistics:
    """What a runner tells of its work; this one forgets it."""

    def batch(self, inputs: int, tokens: int, padded: int, seconds: float) -> None:
        """A batch of so many inputs and tokens, with padding, was computed."""

    def queue(self, inputs: int) -> None:
        """So many inputs wait."""


@dataclass(slots=True, eq=False)
class _Call:
    """One call of ``run``: its answer when all rows are there."""

    texts: Sequence[Text]
    truncate: bool
    answer: asyncio.Future[list[Row]]
    rows: list[Any] = field(default_factory=list)
    left: int = 0

    def finish(self, error: RequestError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, frozen=True)
class Row:
    """What the model computed for one input.

    Attributes:
        output: logits (classes,), a pooled vector (width,), or logits of tokens (tokens, labels).
        tokens: of the input.
    """

    output: np.ndarray
    tokens: Tokens


@dataclass(slots=True, eq=False)
class _Item:
    tokens: Tokens
    call: _Call
    place: int


class ModelRunner:
    """A model that answers many callers of one event loop, in batches.

    Args:
        folder: of the model.
        options: how it is run.
        statistics: hears of batches and of the queue.

    Attributes:
        encoder: the model and its tokenizer.

    Raises:
        OptkitError: if it cannot be loaded, or fails.
    """

    def __init__(self, folder: ModelFolder, options: RunnerOptions, statistics: Statistics | None = None):
        self.options, self.statistics = options, statistics or Statistics()
        self.encoder = Encoder(folder, options)
        self._queue: LengthQueue[_Item] = LengthQueue(self.encoder.max_batch, options.max_batch_tokens)
        # Two for each stream, so that it does not stand idle while results are handed out.
        self._free = [self.encoder.new_request() for _ in range(2 * options.streams)]
        self._requests = len(self._free)
        # A callback of OpenVINO would wait for Python in the stream's own thread, and does not hear of failures.
        self._waiters = ThreadPoolExecutor(self._requests, thread_name_prefix="infer")
        self._encoding_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._arrived: list[_Call] = []
        self._encoding = self._closed = False
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pace = 0.0  # seconds of an input
        self._advanced = asyncio.Event()  # since someone who closes looked

    @property
    def waiting(self) -> int:
        """Inputs that were taken in and are not being computed yet."""
        return self._waiting

    async def run(self, texts: Sequence[Text], *, truncate: bool = False, timeout: float | None = None) -> list[Row]:
        """What the model computes for each text.

        Args:
            texts: at least one.
            truncate: whether what is longer than ``longest`` tokens is cut; else it is refused.
            timeout: seconds.

        Raises:
            RequestError: TooLarge, Untokenizable, Overloaded, TimedOut, Failed, or Unavailable when it is closed.
        """
        if self._closed:
            raise Unavailable("the model is being replaced or the server stops")
        if self._waiting + len(texts) > self.options.max_queue:
            raise Overloaded("the queue is full", self._retry_after())
        loop = self._loop = asyncio.get_running_loop()
        call = _Call(texts, truncate, loop.create_future())
        self._wait_for(len(texts))
        self._arrived.append(call)
        if not self._encoding:
            self._encode()
        expiry = loop.call_later(timeout, call.finish, TimedOut("no answer in time")) if timeout is not None else None
        try:
            return await call.answer
        finally:
            if expiry is not None:
                expiry.cancel()

    async def close(self) -> None:
        """Takes nothing new, and returns when all that was taken in is answered."""
        self._closed = True
        while self._waiting or len(self._free) < self._requests or self._encoding:
            self._advanced.clear()
            await self._advanced.wait()
        self._encoding_thread.shutdown(wait=False)
        self._waiters.shutdown(wait=False)

    def _wait_for(self, inputs: int) -> None:
        """Inputs more that wait; fewer where it is negative."""
        self._waiting += inputs
        self.statistics.queue(self._waiting)

    # Tokenization.

    def _encode(self) -> None:
        """Sends all calls that have arrived to the tokenizer's thread, together."""
        calls, self._arrived = self._arrived, []
        self._encoding = True
        task = self._loop.run_in_executor(self._encoding_thread, self._encoded, calls)
        task.add_done_callback(lambda done: self._take_in(calls, done))

    def _encoded(self, calls: Sequence[_Call]) -> list[list[Tokens | RequestError]]:
        found: list[list[Tokens | RequestError]] = [[] for _ in calls]
        for truncate in (False, True):
            own = [i for i, call in enumerate(calls) if call.truncate is truncate and not call.answer.done()]
            results = iter(self.encoder.tokenizer.encode([t for i in own for t in calls[i].texts], truncate=truncate))
            for i in own:
                found[i] = [next(results) for _ in calls[i].texts]
        return found

    def _take_in(self, calls: Sequence[_Call], done: asyncio.Future[Any]) -> None:
        self._encoding = False
        if (failure := done.exception()) is not None:
            log.error("the tokenizer failed", exc_info=failure)
            for call in calls:
                self._wait_for(-len(call.texts))
                call.finish(Failed("the tokenizer failed"))
        else:
            for call, tokens in zip(calls, done.result()):
                self._put(call, tokens)
        if self._arrived:
            self._encode()
        self._dispatch()

    def _put(self, call: _Call, tokens: Sequence[Tokens | RequestError]) -> None:
        fault = next((each for each in tokens if isinstance(each, RequestError)), None)
        if fault is not None or call.answer.done():
            self._wait_for(-len(call.texts))
            if fault is not None:
                call.finish(fault)
            return
        call.rows, call.left = [None] * len(tokens), len(tokens)
        for place, each in enumerate(tokens):
            self._queue.put(len(each), _Item(each, call, place))  # type: ignore[arg-type]

    # Inference.

    def _dispatch(self, *, waited: bool = False) -> None:
        """Starts batches as long as something waits and a request is free."""
        while len(self._queue) and self._free:
            running = self._requests - len(self._free)
            if not running and not waited and self.options.max_wait and len(self._queue) < self.options.max_batch:
                if self._timer is None:
                    self._timer = self._loop.call_later(self.options.max_wait, self._wait_is_over)
                return
            # Idle streams share what waits.
            idle = max(self.options.streams - running, 1)
            batch = [item for item in self._queue.take(-(-len(self._queue) // idle)) if self._wanted(item)]
            if batch:
                self._start(batch)
        self._advanced.set()

    def _wait_is_over(self) -> None:
        self._timer = None
        self._dispatch(waited=True)

    def _wanted(self, item: _Item) -> bool:
        """Whether somebody still waits for it."""
        if not item.call.answer.done():
            return True
        self._wait_for(-1)
        return False

    def _start(self, batch: list[_Item]) -> None:
        request = self._free.pop()
        self._wait_for(-len(batch))
        task = self._loop.run_in_executor(self._waiters, self._compute, request, batch)
        task.add_done_callback(lambda done: self._hand_out(request, batch, done))

    def _compute(self, request: Any, batch: Sequence[_Item]) -> tuple[list[np.ndarray | None], float]:
        """Rows of the batch, and the seconds that it took; None for an input that the model fails on, which is found by
        computing each alone.
        """
        begun = time.perf_counter()
        try:
            rows: list[np.ndarray | None] = list(self.encoder.infer(request, [item.tokens for item in batch]))
        except Exception:
            log.error("a batch of %d inputs failed", len(batch), exc_info=True)
            rows = [self._alone(request, item) for item in batch] if len(batch) > 1 else [None]
        tokens, longest = sum(len(item.tokens) for item in batch), max(len(item.tokens) for item in batch)
        seconds = time.perf_counter() - begun
        try:
            self.statistics.batch(len(batch), tokens, longest * len(batch), seconds)
        except Exception:  # such as a full disk under the metrics of several workers
            log.error("a batch is not counted", exc_info=True)
        return rows, seconds

    def _alone(self, request: Any, item: _Item) -> np.ndarray | None:
        try:
            return self.encoder.infer(request, [item.tokens])[0]
        except Exception:
            return None

    def _hand_out(self, request: Any, batch: Sequence[_Item], done: asyncio.Future[Any]) -> None:
        self._free.append(request)
        self._dispatch()
        rows, seconds = done.result()
        self._pace += 0.1 * (seconds / len(batch) / self.options.streams - self._pace)
        for item, row in zip(batch, rows):
            call = item.call
            if row is None:
                call.finish(Failed("the model failed on an input"))
                continue
            call.rows[item.place] = Row(row, item.tokens)
            call.left -= 1
            if not call.left and not call.answer.done():
                call.answer.set_result(call.rows)
        self._advanced.set()

    def _retry_after(self) -> int:
        """Seconds until what waits now should be computed."""
        return min(max(math.ceil(self._waiting * self._pace), 1), 60)
