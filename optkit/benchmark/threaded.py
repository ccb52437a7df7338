"""torch, ONNX Runtime and CTranslate2: several inferences at once by Python threads, one a stream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from optkit.benchmark.engine import Engine, Inputs, Setting
from optkit.benchmark.streams import Streams
from optkit.errors import OptkitError


class Threaded(Engine):
    """An engine that serves several requests at once by Python threads, one a stream."""

    def __init__(self, setting: Setting):
        self.setting, self._running = setting, None
        self._at(setting.streams or 1 if setting.mode == "throughput" else 1)

    def _at(self, streams: int) -> None:
        self.streams = self.requests = streams
        if self._running is not None:
            self._running.close()
        self._running = None

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        """``ready`` of one stream, called in its own thread, on so many ``threads``."""
        raise NotImplementedError

    def stream(
        self, feeds: Sequence[Inputs], *, seconds: float | None = None, count: int | None = None
    ) -> tuple[int, float]:
        if self._running is None:
            threads = max(self.setting.threads // self.streams, 1)
            self._running = Streams(self.streams, lambda number: self.worker(number, threads))
        return self._running(feeds, seconds=seconds, count=count)

    def tune(self, feeds: Sequence[Inputs]) -> None:
        """One stream of all threads, or a stream for each: whichever is faster."""
        if self.setting.streams is not None or self.setting.mode != "throughput":
            return
        paces = {}
        for streams in dict.fromkeys((1, self.setting.threads)):
            self._at(streams)
            self.stream(feeds, count=2 * streams)
            done, taken = self.stream(feeds, seconds=0.3)
            paces[streams] = done / taken
        self._at(max(paces, key=lambda streams: paces[streams]))


class Torch(Threaded):
    """A transformers model, in eager mode.

    Args:
        model: on the CPU.
    """

    def __init__(self, model: Any, setting: Setting):
        import inspect

        import torch

        super().__init__(setting)
        self.model = model.eval()
        self._taken = set(inspect.signature(model.forward).parameters)
        torch.set_num_threads(setting.threads)

    def ready(self, inputs: Inputs) -> Callable[[], Any]:
        return self._ready(self.model, inputs)

    def _ready(self, model: Any, inputs: Inputs) -> Callable[[], Any]:
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name in self._taken}

        def infer() -> Any:
            with torch.inference_mode():
                return model(**tensors)[0]

        return infer

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        import torch

        torch.set_num_threads(threads)  # of the thread that calls it
        return self.ready


def compiler_missing() -> str | None:
    """Why torch.compile cannot be used here, in a line; None where it can."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(name) for name in names):
        return None
    return f"torch.compile needs a C++ compiler, and there is no {' or '.join(names)} here"


class CompiledTorch(Torch):
    """A transformers model by ``torch.compile`` with its defaults: compiled when it is first run, and again for shapes
    that differ.

    Args:
        bf16: whether weights and activations are bfloat16.
    """

    def __init__(self, model: Any, setting: Setting, *, bf16: bool = False):
        import torch

        super().__init__(model.to(torch.bfloat16) if bf16 else model, setting)
        self._type = torch.bfloat16 if bf16 else torch.float32
        self.model = torch.compile(self.model)

    def ready(self, inputs: Inputs) -> Callable[[], Any]:
        import torch

        from optkit.adapters import reason

        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name in self._taken}
        given = {name: each.to(self._type) if each.is_floating_point() else each for name, each in tensors.items()}

        def infer() -> Any:
            with torch.inference_mode():
                return self.model(**given)[0].float()

        try:
            infer()
        except Exception as error:  # whatever the compiler stumbles over
            raise OptkitError(f"torch.compile cannot compile the model: {reason(error)}") from error
        return infer


class Ctranslate2(Torch):
    """A transformers model whose encoder CTranslate2 runs in int8; the head is torch's, in fp32.

    Args:
        folder: of the converted encoder.
        model: whole.
    """

    def __init__(self, folder: Path, model: Any, setting: Setting):
        super().__init__(model, setting)
        self._folder, self._whole = folder, self.model
        self.model = self._open(setting.threads)

    def _open(self, threads: int) -> Any:
        from optkit.adapters.ctranslate2 import with_encoder

        return with_encoder(self._whole, self._folder, threads)

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        import torch

        torch.set_num_threads(threads)  # of the thread that calls it
        model = self._open(threads)
        return lambda inputs: self._ready(model, inputs)


class OnnxRuntime(Threaded):
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
        from optkit.adapters import reason
        from optkit.adapters.onnx_package import load_package

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

    def ready(self, inputs: Inputs) -> Callable[[], Any]:
        from optkit.adapters import reason

        infer = self._ready(self._session, inputs)
        try:
            infer()
        except Exception as error:
            raise OptkitError(f"{self._file}: ONNX Runtime cannot run it on these inputs: {reason(error)}") from error
        return infer

    def _ready(self, session: Any, inputs: Inputs) -> Callable[[], Any]:
        feed = {}
        for port in session.get_inputs():
            if port.name not in inputs:
                raise OptkitError(f"{self._file}: it has an input '{port.name}', which a benchmark does not make up")
            feed[port.name] = inputs[port.name]
        return lambda: session.run(None, feed)[0]

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        session = self._open(threads)
        return lambda inputs: self._ready(session, inputs)
