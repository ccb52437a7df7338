"""A folder that ``optkit compile`` made, loaded to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from optkit.adapters import tvm
from optkit.errors import OptkitError
from optkit.export.tvm.index import PARAMETERS, CompiledShape, read_index


class TvmModel:
    """A compiled model. The libraries of its shapes share their parameters and are loaded when first asked for.

    Args:
        folder: that ``optkit compile`` made. Its libraries are code, which is run: load what you trust.

    Attributes:
        index: see ``CompiledModel``.

    Raises:
        UsageError: if the folder holds no compiled model.
        OptkitError: if it is damaged, or TVM is missing.
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        self.index = read_index(self._folder)
        if (why := tvm.missing()) is not None:
            raise OptkitError(why)
        try:
            arrays = load_file(self._folder / PARAMETERS)
        except (OSError, SafetensorError) as error:
            raise OptkitError(f"{self._folder / PARAMETERS}: damaged: {error}: compile the model again") from error
        for shape in self.index.shapes:
            if lacking := sorted(set(shape.parameters) - set(arrays)):
                raise OptkitError(f"{self._folder / PARAMETERS}: it lacks {lacking[0]}: compile the model again")
        self._parameters = tvm.tensors(arrays)
        self._libraries: dict[str, tvm.Library] = {}

    def prepare(self, inputs: Mapping[str, np.ndarray]) -> Callable[[], dict[str, np.ndarray]]:
        """A function that computes the outputs, by their names, for ``inputs``: integers (batch, seq).

        Raises:
            OptkitError: if an input is missing, has a shape that was not compiled, or a number out of range.
        """
        given = []
        for name in self.index.inputs:
            if name not in inputs:
                raise OptkitError(f"{self._folder}: it has an input '{name}', which is not given")
            array, limit = np.ascontiguousarray(inputs[name], dtype=np.int64), self.index.limits.get(name)
            if limit is not None and array.size and not 0 <= array.min() <= array.max() < limit:
                raise OptkitError(f"{self._folder}: {name}: numbers from 0 to {limit - 1} are taken")
            given.append(array)
        shape = self._shape(given)
        if shape.library not in self._libraries:
            parameters = [self._parameters[name] for name in shape.parameters]
            self._libraries[shape.library] = tvm.Library(self._folder / shape.library, parameters)
        infer = self._libraries[shape.library].prepare(given)
        return lambda: dict(zip(self.index.outputs, infer()))

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs, see ``prepare``."""
        return self.prepare(inputs)()

    def _shape(self, given: list[np.ndarray]) -> CompiledShape:
        sizes = {array.shape for array in given}
        for shape in self.index.shapes:
            if sizes == {(shape.batch, shape.seq)}:
                return shape
        compiled = ", ".join(f"{shape.batch} x {shape.seq}" for shape in self.index.shapes)
        found = ", ".join(sorted(" x ".join(map(str, size)) for size in sizes))
        raise OptkitError(f"{self._folder}: inputs of {found}: it was compiled for {compiled} alone")
