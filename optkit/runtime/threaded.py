"""A compiled model that any number of threads may call at once: each has a request of its own.

``openvino.CompiledModel`` keeps one request for all its callers: a call while another is under way raises, or answers
with the other's inputs.
"""

from __future__ import annotations

import threading
from typing import Any

from optkit.ir.io import import_openvino

openvino = import_openvino()


class ThreadedModel(openvino.CompiledModel):
    """``openvino.CompiledModel``, but for the request behind ``model(inputs)``, which each thread has for itself.

    A request is freed with its thread. Results are copies as there, unless ``share_outputs`` asks for views, which hold
    until the same thread calls again.
    """

    def __init__(self, compiled: openvino.CompiledModel):
        super().__init__(compiled)
        self._own = threading.local()

    def __call__(
        self, inputs: Any = None, share_inputs: bool = True, share_outputs: bool = False, **options: Any
    ) -> Any:
        return self._request().infer(inputs, share_inputs, share_outputs, **options)

    def query_state(self) -> Any:
        return self._request().query_state()

    def reset_state(self) -> None:
        self._request().reset_state()

    def _request(self) -> openvino.InferRequest:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self.create_infer_request()
        return request
