"""OpenVINO, plain or with optkit's programs in it: asynchronous requests as benchmark_app makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.benchmark.engines.base import Engine, Inputs, Setting
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino

if TYPE_CHECKING:
    from optkit.runtime import Plan


class OpenVino(Engine):
    """A compiled IR: plain OpenVINO, or OpenVINO with optkit's programs in it.

    Attributes:
        request: the one that ``prepare`` runs.
    """

    def __init__(self, compiled: Any, plan: Plan | None = None):
        self.compiled, self.plan = compiled, plan
        self.streams = int(compiled.get_property("NUM_STREAMS"))
        self.requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.request, self._placed = compiled.create_infer_request(), None
        self._queue: Any = None
        self._fed: tuple[Any, list[Any]] = (None, [])

    @classmethod
    def from_file(cls, path: Path, setting: Setting, *, sparse: bool = False, plan: Plan | None = None) -> OpenVino:
        """The IR ``path``, in plain OpenVINO or by optkit.

        Args:
            sparse: whether by optkit.
            plan: optkit's; None makes one as ``setting`` says.

        Raises:
            OptkitError: if it cannot be read or compiled.
        """
        from optkit import runtime
        from optkit.ir.shapes import fix_image_size
        from optkit.runtime.loading import compile_for_cpu, holds_programs, new_core, read

        # A Core without our operation for what is to be plain.
        core = new_core() if sparse else import_openvino().Core()
        model, config = read(path, core), setting.config()
        fix_image_size(model, path.parent)
        if not sparse:
            return cls(compile_for_cpu(core, model, config))
        if holds_programs(model):
            return cls(compile_for_cpu(core, model, config))
        plan = plan or runtime.plan(model, setting.plan, config=config, shape=setting.shape)
        return cls(runtime.compile_model(model, config, plan=plan, core=core), plan)

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        tensors = self._tensors(inputs)

        def infer() -> np.ndarray:
            if self._placed is not tensors:
                _place(self.request, tensors)
                self._placed = tensors
            self.request.infer()
            return self.request.get_output_tensor(0).data

        return infer

    def _tensors(self, inputs: Inputs) -> list[tuple[Any, Any]]:
        """A tensor for each of the model's inputs, so that an inference copies nothing."""
        openvino, found = import_openvino(), []
        for port in self.compiled.inputs:
            name = next((name for name in inputs if name in port.get_names()), None)
            if name is None:
                known = ", ".join(sorted(port.get_names()))
                raise OptkitError(f"the IR has an input '{known}', which the benchmark cannot generate")
            array = np.ascontiguousarray(inputs[name], port.get_element_type().to_dtype())
            if not port.get_partial_shape().compatible(openvino.PartialShape(list(array.shape))):
                sizes = " x ".join(map(str, array.shape))
                raise OptkitError(f"the IR takes {port.get_partial_shape()} alone as {name}, and not {sizes}")
            found.append((port, openvino.Tensor(array)))
        return found

    def stream(
        self, feeds: Sequence[Inputs], *, seconds: float | None = None, count: int | None = None
    ) -> tuple[int, float]:
        if self._queue is None:
            self._queue = import_openvino().AsyncInferQueue(self.compiled, self.requests)
        if self._fed[0] is not feeds:
            self._fed = (feeds, [self._tensors(inputs) for inputs in feeds])
            if len(feeds) == 1:
                for request in self._queue:
                    _place(request, self._fed[1][0])
        queue, tensors = self._queue, self._fed[1]
        begun, started = time.perf_counter(), 0
        # Whole waves of requests, as benchmark_app does.
        while (
            started < count
            if count is not None
            else time.perf_counter() - begun < seconds or started % self.requests > 0
        ):
            number = queue.get_idle_request_id()
            if len(tensors) > 1:
                _place(queue[number], tensors[started % len(tensors)])
            queue.start_async()
            started += 1
        queue.wait_all()
        return started, time.perf_counter() - begun


def _place(request: Any, tensors: Sequence[tuple[Any, Any]]) -> None:
    for port, tensor in tensors:
        request.set_tensor(port, tensor)
