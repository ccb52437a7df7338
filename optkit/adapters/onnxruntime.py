"""ONNX Runtime: runs ONNX models in the place of transformers models, and quantizes them as its users do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from optkit.adapters import quiet, reason
from optkit.adapters.onnx_package import MODEL_FILE, find, load_package
from optkit.errors import ExportError, OptkitError
from optkit.ir.torch_model import OPTIONAL


def quantize(model: Path, output: Path, samples: Sequence[Mapping[str, np.ndarray]] | None) -> None:
    """Writes the fp32 ``model`` as int8 by ONNX Runtime's own quantizer with its defaults into the file ``output``.

    Args:
        samples: inputs by name that the ranges of activations come from, which makes QuantizeLinear and
            DequantizeLinear of fixed ranges; None quantizes activations as they come.

    Raises:
        ExportError: if it cannot be quantized.
    """
    load_package("onnxruntime")
    with quiet(), _silent():
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

        class Samples(CalibrationDataReader):
            """One sample at a time, then None."""

            def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]]):
                self._feeds = iter(feeds)

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(self._feeds, None)

        try:
            fp32 = onnx.load(model)
            # What tracing noted of shapes is not true any more of weights that were turned since.
            del fp32.graph.value_info[:]
            if samples is None:
                quantize_dynamic(fp32, output)
            else:
                names = [value.name for value in fp32.graph.input]
                quantize_static(fp32, output, Samples([{name: each[name] for name in names} for each in samples]))
        except Exception as error:  # its classes of errors have no common base
            raise ExportError(f"{model}: ONNX Runtime cannot quantize it: {reason(error)}") from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the root logger's advice on preparing a model."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)


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
        """The outputs by name, torch tensors. Inputs that the model does not have are left out, and ``token_type_ids``
        may be missing.

        Raises:
            OptkitError: if an input is missing or has another shape than the model takes.
        """
        import torch

        if OPTIONAL in self._inputs and OPTIONAL not in inputs and "input_ids" in inputs:
            inputs[OPTIONAL] = torch.zeros_like(torch.as_tensor(inputs["input_ids"]))
        feed = {name: np.asarray(inputs[name]) for name in self._inputs if name in inputs}
        try:
            found = self._session.run(None, feed)
        except Exception as error:
            raise OptkitError(f"ONNX Runtime cannot run the model: {reason(error)}") from error
        return SimpleNamespace(**{name: torch.from_numpy(array) for name, array in zip(self._outputs, found)})
