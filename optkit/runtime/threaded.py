"""A compiled model that any number of threads may call at once: each has a request of its own.

``openvino.CompiledModel`` keeps one request for all its callers: a call while another is under way raises, or answers
with the other's inputs. A second one cannot be made at any time either: for it OpenVINO 2026.4.1 reads the graph, which
an inference of another shape changes meanwhile, and that ends the process now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optkit.ir.io import import_openvino

openvino = import_openvino()


class ThreadedModel(openvino.CompiledModel):
    """``openvino.CompiledModel``, but for the request behind ``model(inputs)``, which each thread has for itself.

    A request is freed with its thread. Results are copies as there, unless ``share_outputs`` asks for views, which hold
    until the same thread calls again. A request is made while no call is under way, and calls wait for it; of requests
    that ``create_infer_request`` gave to others nothing is known here: these are to be made before the first of them
    runs.
    """

    def __init__(self, compiled: openvino.CompiledModel):
        super().__init__(compiled)
        self._own = threading.local()
        self._turns = _Turns()

    def __call__(
        self, inputs: Any = None, share_inputs: bool = True, share_outputs: bool = False, **options: Any
    ) -> Any:
        request = self._request()
        with self._turns.shared():
            return request.infer(inputs, share_inputs, share_outputs, **options)

    def create_infer_request(self) -> openvino.InferRequest:
        with self._turns.alone():
            return super().create_infer_request()

    def infer_new_request(self, inputs: Any = None) -> Any:
        request = self.create_infer_request()
        with self._turns.shared():
            return request.infer(inputs)

    def query_state(self) -> Any:
        return self._request().query_state()

    def reset_state(self) -> None:
        self._request().reset_state()

    def _request(self) -> openvino.InferRequest:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self.create_infer_request()
        return request


class _Turns:
    """What any number of threads may do at once, and what one does while nobody does that."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing, self._taken = 0, False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._taken = True  # from now on nobody begins to share
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._sharing)
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
