"""Compiled programs on disk and in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from optkit.adapters import reason
from optkit.errors import OptkitError

# TVM's pool otherwise binds the thread that runs a program to one CPU, and the threads that other libraries start from
# there, such as those of torch and OpenVINO, would share that CPU.
os.environ.setdefault("TVM_BIND_THREADS", "0")


def save(compiled: Any, path: Path) -> None:
    """Writes a library that ``Library`` loads, and any program with TVM's runtime."""
    compiled.export_library(str(path))


def set_threads(count: int) -> None:
    """TVM's threads for programs that the calling thread runs."""
    tvm.get_global_func("runtime.config_threadpool")(-1, count)


class Library:
    """A compiled program with its parameters. One inference runs at a time.

    Args:
        path: of the library: it is code, which is run.
        parameters: in the order in which the program takes them.

    Raises:
        OptkitError: if TVM cannot load it.
    """

    def __init__(self, path: Path, parameters: Sequence[Any]):
        try:
            self._machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
            self._main = self._machine["main"]
        except Exception as error:  # TVM's errors have many classes
            raise OptkitError(f"{path}: TVM cannot load it: {reason(error)}") from error
        self._parameters = list(parameters)

    def prepare(self, inputs: Sequence[np.ndarray]) -> Callable[[], list[np.ndarray]]:
        """A function that computes the outputs for ``inputs``, which are copied now."""
        given = [tvm.runtime.tensor(array) for array in inputs]

        def infer() -> list[np.ndarray]:
            found = self._main(*given, *self._parameters)
            outputs = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
            return [each.numpy() for each in outputs]

        return infer


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as TVM's, for the programs that share them."""
    return {name: tvm.runtime.tensor(array) for name, array in arrays.items()}
