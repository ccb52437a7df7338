"""ONNX Runtime: runs ONNX models in the place of transformers models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from optkit.adapters import reason
from optkit.adapters.onnx import MODEL_FILE, find, load_package
from optkit.errors import OptkitError


class OnnxModel:
    """An ONNX model that is called as a transformers model is, on torch tensors; it runs in ONNX Runtime on the CPU.

    Args:
        path: the file, or the folder that holds ``model.onnx``.

    Raises:
        OptkitError: if there is none, or ONNX Runtime cannot run it.
    """

    def __init__(self, path: Path):
        import torch

        runtime = load_package("onnxruntime")
        file = find(path)
        if file is None:
            raise OptkitError(f"{path}: no {MODEL_FILE} here: export the model with export.formats: [openvino, onnx]")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes of errors have no common base
            raise OptkitError(f"{file}: ONNX Runtime cannot load it: {reason(error)}") from error
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    def __call__(self, **inputs: Any) -> SimpleNamespace:
        """The outputs by name, torch tensors. Inputs that the model does not have are left out.

        Raises:
            OptkitError: if an input is missing or has another shape than the model takes.
        """
        import torch

        feed = {name: np.asarray(inputs[name]) for name in self._inputs if name in inputs}
        try:
            found = self._session.run(None, feed)
        except Exception as error:
            raise OptkitError(f"ONNX Runtime cannot run the model: {reason(error)}") from error
        return SimpleNamespace(**{name: torch.from_numpy(array) for name, array in zip(self._outputs, found)})
