"""The interface of an engine, and what all engines of a benchmark share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from optkit.checkpoints.files import weight_files

if TYPE_CHECKING:
    from optkit.runtime import Plan

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Source:
    """A model's files: the folder of a ``checkpoint``, the file of an ``onnx`` model, the xml of an ``ir``, the folder
    of a ``ctranslate2`` model, which holds a link to the checkpoint that has its head, the folder of a ``tvm`` model.
    """

    kind: Literal["checkpoint", "onnx", "ir", "ctranslate2", "tvm"]
    path: Path

    def files(self) -> list[Path]:
        """The files that a deployment would carry: weights and graph.

        Raises:
            OptkitError: if a checkpoint is incomplete.
        """
        if self.kind == "checkpoint":
            return weight_files(self.path)
        if self.kind == "tvm":
            return sorted(file for file in self.path.iterdir() if file.suffix in (".so", ".safetensors"))
        if self.kind == "ctranslate2":
            return [file for file in sorted(self.path.iterdir()) if file.is_file()]
        onnx = [Path(f"{self.path}.data"), Path(f"{self.path}_data")]  # torch's name, and optimum's
        beside = [self.path.with_suffix(".bin")] if self.kind == "ir" else onnx
        return [self.path, *(file for file in beside if file.is_file())]

    def size(self) -> int:
        """Bytes of ``files``."""
        return sum(file.stat().st_size for file in self.files())


@dataclass(frozen=True)
class Setting:
    """What all engines of a comparison share.

    Attributes:
        threads: of each engine.
        mode: ``latency``, one inference at a time, or ``throughput``, many.
        streams: inferences at once in ``throughput``, that share the threads; None leaves it to the engine.
        shape: (batch, tokens) that optkit plans for.
        plan: optkit's, ``measured`` or ``static``.
        precision: of OpenVINO's floating-point layers, such as ``f32``; None for its default on this CPU.
    """

    threads: int
    mode: Literal["latency", "throughput"] = "latency"
    streams: int | None = None
    shape: tuple[int, int] = (1, 128)
    plan: str = "measured"
    precision: str | None = None

    def config(self) -> dict[str, Any]:
        """OpenVINO's, for plain OpenVINO and for optkit."""
        config: dict[str, Any] = {"INFERENCE_NUM_THREADS": self.threads}
        if self.precision is not None:
            config["INFERENCE_PRECISION_HINT"] = self.precision
        if self.mode == "throughput" and self.streams is not None:
            return config | {"NUM_STREAMS": self.streams}
        return config | {"PERFORMANCE_HINT": self.mode.upper()}


class Engine:
    """One loaded model.

    Attributes:
        streams: inferences at once in throughput.
        requests: in flight, streams and those that wait.
        plan: optkit's, where it is the engine.
    """

    streams = requests = 1
    plan: Plan | None = None

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        """Returns a function that makes one inference on ``inputs`` and returns the first output.

        Raises:
            OptkitError: if the model does not take these inputs.
        """
        raise NotImplementedError

    def logits(self, inputs: Inputs) -> np.ndarray:
        """The first output: logits, or hidden states."""
        found = self.prepare(inputs)()
        return np.array(found.numpy() if hasattr(found, "numpy") else found, np.float32)

    def stream(
        self, feeds: Sequence[Inputs], *, seconds: float | None = None, count: int | None = None
    ) -> tuple[int, float]:
        """Keeps all requests in flight: ``count`` inferences on ``feeds`` in turn, or as many as begin in ``seconds``.

        Returns:
            inferences that were done, and seconds until the last had ended.
        """
        raise NotImplementedError

    def tune(self, feeds: Sequence[Inputs]) -> None:
        """Chooses the number of streams where neither the setting nor the library does."""

    def close(self) -> None:
        """Ends the engine's threads and restores the settings of the process that it changed. Engines that are open at
        the same time are closed in reverse order.
        """
