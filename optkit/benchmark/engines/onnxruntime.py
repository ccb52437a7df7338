"""ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optkit.adapters import reason
from optkit.adapters.onnx_package import load_package
from optkit.benchmark.engines.base import Inputs, Setting
from optkit.benchmark.engines.streams import ThreadedEngine
from optkit.errors import OptkitError


class OnnxRuntime(ThreadedEngine):
    """An ONNX model; streams beyond the first have sessions of their own.

    Args:
        file: the model.

    Raises:
        OptkitError: if ONNX Runtime cannot load it.
    """

    def __init__(self, file: Path, setting: Setting):
        super().__init__(setting)
        self._file = file
        self._session = self._open(setting.threads)

    def _open(self, threads: int) -> Any:
        runtime = load_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Else its threads go on spinning into the next engine's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            return runtime.InferenceSession(str(self._file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes of errors have no common base
            raise OptkitError(f"{self._file}: ONNX Runtime cannot load it: {reason(error)}") from error

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        infer = self._prepare(self._session, inputs)
        try:
            infer()
        except Exception as error:
            raise OptkitError(f"{self._file}: ONNX Runtime cannot run it on these inputs: {reason(error)}") from error
        return infer

    def _prepare(self, session: Any, inputs: Inputs) -> Callable[[], Any]:
        feed = {}
        for port in session.get_inputs():
            if port.name not in inputs:
                raise OptkitError(f"{self._file}: it has an input '{port.name}', which the benchmark cannot generate")
            feed[port.name] = inputs[port.name]
        return lambda: session.run(None, feed)[0]

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        session = self._open(threads)
        return lambda inputs: self._prepare(session, inputs)
