"""Several inferences at once for engines that run one at a time: a Python thread for each stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from optkit.benchmark.engines.base import Engine, Inputs, Setting


class Streams:
    """Threads that share the work on the same inputs.

    Args:
        count: of threads.
        worker: called in each thread once, with its number: returns what makes an inference of inputs.
    """

    def __init__(self, count: int, worker: Callable[[int], Callable[[Any], Callable[[], object]]]):
        self.count, self._worker = count, worker
        self._pool = ThreadPoolExecutor(count)
        self._local, self._numbers = threading.local(), iter(range(count))
        self._lock = threading.Lock()

    def __call__(
        self, feeds: Sequence[Any], *, seconds: float | None = None, count: int | None = None
    ) -> tuple[int, float]:
        """``count`` inferences on ``feeds`` in turn, or as many as begin in ``seconds``.

        Everything is made ready before the clock starts.

        Returns:
            how many there were, and seconds until the last had ended.
        """
        begun: list[float] = []
        started = 0
        # All threads take part, each with a task of its own.
        barrier = threading.Barrier(self.count, action=lambda: begun.append(time.perf_counter()))

        def more() -> int | None:
            nonlocal started
            with self._lock:
                over = started >= count if count is not None else time.perf_counter() - begun[0] >= seconds
                if over:
                    return None
                started += 1
                return started - 1

        def work() -> None:
            try:
                calls = self._prepare(feeds)
                barrier.wait()
            except BaseException:
                barrier.abort()
                raise
            while (number := more()) is not None:
                calls[number % len(calls)]()

        tasks = [self._pool.submit(work) for _ in range(self.count)]
        errors = [error for task in tasks if (error := task.exception()) is not None]
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error
        return started, time.perf_counter() - begun[0]

    def _prepare(self, feeds: Sequence[Any]) -> list[Callable[[], object]]:
        local = self._local
        if not hasattr(local, "worker"):
            with self._lock:
                number = next(self._numbers)
            local.worker, local.feeds = self._worker(number), None
        if local.feeds is not feeds:
            local.feeds, local.calls = feeds, [local.worker(inputs) for inputs in feeds]
        return local.calls

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()


class ThreadedEngine(Engine):
    """An engine that serves several requests at once by Python threads, one a stream."""

    def __init__(self, setting: Setting):
        self.setting, self._streams = setting, None
        self._set_streams(setting.streams or 1 if setting.mode == "throughput" else 1)

    def _set_streams(self, streams: int) -> None:
        self.streams = self.requests = streams
        self._end_streams()

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        """``prepare`` of one stream, called in its own thread, on so many ``threads``."""
        raise NotImplementedError

    def stream(
        self, feeds: Sequence[Inputs], *, seconds: float | None = None, count: int | None = None
    ) -> tuple[int, float]:
        if self._streams is None:
            threads = max(self.setting.threads // self.streams, 1)
            self._streams = Streams(self.streams, lambda number: self.worker(number, threads))
        return self._streams(feeds, seconds=seconds, count=count)

    def tune(self, feeds: Sequence[Inputs]) -> None:
        """One stream of all threads, or a stream for each: whichever is faster."""
        if self.setting.streams is not None or self.setting.mode != "throughput":
            return
        paces = {}
        for streams in dict.fromkeys((1, self.setting.threads)):
            self._set_streams(streams)
            self.stream(feeds, count=2 * streams)
            done, taken = self.stream(feeds, seconds=0.3)
            paces[streams] = done / taken
        self._set_streams(max(paces, key=lambda streams: paces[streams]))

    def close(self) -> None:
        self._end_streams()

    def _end_streams(self) -> None:
        if self._streams is not None:
            self._streams.close()
        self._streams = None
