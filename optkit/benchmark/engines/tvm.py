"""Libraries that Apache TVM compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optkit.adapters import tvm
from optkit.benchmark.engines.base import Inputs, Setting
from optkit.benchmark.engines.streams import ThreadedEngine
from optkit.export.tvm.model import TvmModel


class Tvm(ThreadedEngine):
    """A model that `optkit compile` made, for inputs of the shapes that it was compiled for.

    Args:
        folder: of the model.

    Raises:
        OptkitError: if it cannot be loaded.
    """

    def __init__(self, folder: Path, setting: Setting):
        super().__init__(setting)
        tvm.set_threads(setting.threads)
        self._folder, self._model = folder, TvmModel(folder)

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        return self._prepare(self._model, inputs)

    def _prepare(self, model: TvmModel, inputs: Inputs) -> Callable[[], Any]:
        infer, first = model.prepare(inputs), model.index.outputs[0]
        return lambda: infer()[first]

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        tvm.set_threads(threads)  # of the thread that calls it
        model = TvmModel(self._folder)
        return lambda inputs: self._prepare(model, inputs)
