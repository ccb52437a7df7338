"""What Prometheus is told: requests by path and status, batches, tokens and queues by model."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from optkit.serving.runner import Statistics

#: A folder that the workers of a server share their figures in; prometheus_client reads it when it is imported.
SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "optkit"}
        self.requests = Counter("requests", "Requests that were answered.", ["path", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "Seconds from a request's headers to its answer.", ["path"], buckets=_SECONDS, **own
        )
        self.handled = Gauge("requests_in_flight", "Requests being handled.", multiprocess_mode="livesum", **own)
        self.inputs = Histogram("batch_inputs", "Inputs of a batch.", ["model"], buckets=_INPUTS, **own)
        self.batch = Histogram("batch_seconds", "Seconds that a batch took.", ["model"], buckets=_SECONDS, **own)
        self.tokens = Counter("tokens", "Tokens that were computed, without padding.", ["model"], **own)
        self.padding = Counter("padding_tokens", "Tokens of padding that were computed.", ["model"], **own)
        self.waiting = Gauge(
            "queue_inputs", "Inputs that wait to be computed.", ["model"], multiprocess_mode="livesum", **own
        )

    def statistics(self, model: str) -> Statistics:
        """What hears of the work of ``model``."""
        return _ModelMetrics(self, model)

    def render(self) -> bytes:
        """All metrics in Prometheus's text format, those of all workers together."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)
        return generate_latest(shared)


class _ModelMetrics(Statistics):
    def __init__(self, metrics: Metrics, model: str):
        self._inputs, self._batch = metrics.inputs.labels(model), metrics.batch.labels(model)
        self._tokens, self._padding = metrics.tokens.labels(model), metrics.padding.labels(model)
        self._waiting = metrics.waiting.labels(model)

    def batch(self, inputs: int, tokens: int, padded: int, seconds: float) -> None:
        self._inputs.observe(inputs)
        self._batch.observe(seconds)
        self._tokens.inc(tokens)
        self._padding.inc(padded - tokens)

    def queue(self, inputs: int) -> None:
        self._waiting.set(inputs)
