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

    A thread that comes later takes the request of one that has ended, so there are as many as there were threads at a
    time. Results are copies as there, unless ``share_outputs`` asks for views, which hold until the same thread calls
    again; a request with views is freed with its thread.

    No request is made by ``model(inputs)``, ``create_infer_request`` and ``infer_new_request`` while calls are under
    way; they wait for each other. Of runs of requests that were handed out, or of an ``AsyncInferQueue``, nothing is
    known here.
    """

    def __init__(self, compiled: openvino.CompiledModel):
        super().__init__(compiled)
        self._threads, self._idle = threading.local(), list[openvino.InferRequest]()
        self._turns = _Turns()

    def __call__(
        self, inputs: Any = None, share_inputs: bool = True, share_outputs: bool = False, **options: Any
    ) -> Any:
        own = self._own()
        own.viewed |= share_outputs
        with self._turns.shared():
            return own.request.infer(inputs, share_inputs, share_outputs, **options)

    def create_infer_request(self) -> openvino.InferRequest:
        with self._turns.alone():
            return super().create_infer_request()

    def infer_new_request(self, inputs: Any = None) -> Any:
        request = self.create_infer_request()
        with self._turns.shared():
            return request.infer(inputs)

    def query_state(self) -> Any:
        return self._own().request.query_state()

    def reset_state(self) -> None:
        self._own().request.reset_state()

    def _own(self) -> _Own:
        own = getattr(self._threads, "own", None)
        if own is None:
            try:
                request = self._idle.pop()
            except IndexError:
                request = self.create_infer_request()
            else:
                request.reset_state()
            own = self._threads.own = _Own(request, self._idle)
        return own


class _Own:
    """The request of a thread, handed on when the thread ends.

    Attributes:
        viewed: whether its outputs may still be looked at.
    """

    def __init__(self, request: openvino.InferRequest, idle: list[openvino.InferRequest]):
        self.request, self.viewed, self._idle = request, False, idle

    def __del__(self) -> None:
        if not self.viewed:
            self._idle.append(self.request)


class _Turns:
    """What any number of threads may do at once, and what one does while nobody does that, and nobody begins to."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            # Several who wait to be alone go one after the other, and not each after a run of the one before.
            self._changed.wait_for(lambda: not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:  # held to the end
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._sharing)
                yield
            finally:
                self._waiting -= 1
                self._changed.notify_all()
