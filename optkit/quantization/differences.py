"""How far apart the outputs of two models are on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from optkit.cpu import int8_saturates
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino

if TYPE_CHECKING:
    import openvino

#: Of the calibration samples: means over outputs settle with far fewer of them than ranges do.
SAMPLES = 32
#: An error above which all is as bad; reports have no infinite numbers.
FAR = 1e6
#: Outputs are compared in the precision of the reference: OpenVINO would round to bf16 on some CPUs, and quantize the
#: activations before int8 weights as they come.
_CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class Reference:
    """The outputs of a model in float32, which others are compared with.

    Args:
        model: fp32.
        feeds: inputs by name, a batch of one each.
    """

    def __init__(self, model: openvino.Model, feeds: Sequence[Mapping[str, np.ndarray]]):
        self._feeds, self._outputs = feeds, _in_f32(model, feeds)
        # Some models write -inf where a class cannot be.
        self._finite = [np.isfinite(array) for array in self._outputs]
        squares = (np.square(array[at]).sum() for array, at in zip(self._outputs, self._finite, strict=True))
        self._size = float(np.sqrt(sum(squares)))

    def error(self, model: openvino.Model) -> float:
        """Root mean square of the difference in the outputs of ``model`` over that of the reference's outputs, where
        those are finite; ``FAR`` at most, and where an output of ``model`` is no number there. Sums do not overflow, as
        they may in OpenVINO's int8 kernels on CPUs without VNNI.
        """
        if int8_saturates():
            model = emulate_f32(model)
        pairs = zip(_in_f32(model, self._feeds), self._outputs, self._finite, strict=True)
        off = float(np.sqrt(sum(np.square(one[at] - two[at]).sum() for one, two, at in pairs)))
        return min(off / max(self._size, 1e-12), FAR) if math.isfinite(off) else FAR


def outputs(compiled: openvino.CompiledModel, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[list[np.ndarray]]:
    """The real outputs of a compiled model for each of ``feeds``, in the order of the model."""
    request = compiled.create_infer_request()
    found = []
    for feed in feeds:
        request.infer(feed)
        given = [request.get_output_tensor(index).data for index in range(len(compiled.outputs))]
        found.append([np.array(data, np.float64) for data in given if data.dtype.kind == "f"])
    return found


def _in_f32(model: openvino.Model, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    compiled = import_openvino().Core().compile_model(model, "CPU", _CONFIG)
    return list(chain.from_iterable(outputs(compiled, feeds)))
