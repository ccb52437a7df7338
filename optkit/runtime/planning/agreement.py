"""Whether a candidate of a measured plan answers as the plain model does: only then its speed counts.

The reference is the plain model compiled for float32. Distances are the root mean square of the differences of an
output over that of the reference: 0 for equal answers, 1 for zeros, 1.4 for numbers that have nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import OptkitError
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import last_line
from optkit.runtime.loading import compile_for_cpu

if TYPE_CHECKING:
    import openvino

#: An int8 model evaluated rightly, twice: activations at a tie go either way, and what they become goes through the
#: layers behind. MiniLM for SST-2, dense and at 80 %, in both ranges of weights, lay up to 0.055 from its reference
#: (its logits; 0.04 its hidden states), a BERT of 12 layers with random weights up to 0.09.
INT8_ROUNDING = 0.15
#: Where nothing is quantized only the order of float32 operations differs: up to 1e-5 there.
FLOAT_ROUNDING = 0.01
#: Of what the caller's own precision costs the plain model: a candidate mixes it with float32, and rounds elsewhere.
FACTOR = 3.0
#: Halfway to an answer of zeros: no rounding excuses more. Activations that are quantized as they come are allowed as
#: much, since they lay up to 0.3 away from MiniLM's logits.
LIMIT = 0.5
_REFERENCE = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}

Answers = list[list[np.ndarray]]  # by input, by output


class Agreement:
    """Compares candidates with the plain model.

    Args:
        model: the plain one.
        plain: what it compiled to with the caller's ``config``.
        feeds: inputs by port, several times.
        core: that compiles.
        config: the caller's.
        dynamic: whether candidates may quantize activations that the model does not.
    """

    def __init__(
        self,
        model: openvino.Model,
        plain: openvino.CompiledModel,
        feeds: Sequence[Sequence[np.ndarray]],
        *,
        core: openvino.Core,
        config: Mapping[Any, Any],
        dynamic: bool,
    ):
        threads = {key: value for key, value in config.items() if str(key) == "INFERENCE_NUM_THREADS"}
        self._model, self._core, self._config, self._feeds = model, core, {**_REFERENCE, **threads}, feeds
        self._names = [port.get_any_name() if port.get_names() else f"{n}" for n, port in enumerate(model.outputs)]
        self._quantized = any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
        self._wanted = self._answers(compile_for_cpu(core, model, self._config))
        self._emulated: Answers | None = None
        floor = INT8_ROUNDING if self._quantized else FLOAT_ROUNDING
        rounding = distances(self._answers(plain), self._wanted)
        self._allowed = [LIMIT if dynamic else min(max(floor, FACTOR * each), LIMIT) for each in rounding]

    def fault(self, compiled: openvino.CompiledModel) -> str:
        """How a candidate's answers differ by more than rounding; empty if they do not."""
        try:
            found = self._answers(compiled)
        except RuntimeError as error:
            return f"it does not run: {last_line(error)}"
        said = self._compared(found, self._wanted)
        if said and self._quantized:
            # OpenVINO's int8 saturates on CPUs without VNNI where weights use their whole range: then it is the plain
            # model that is wrong.
            emulated = self._emulation()
            if emulated is not None and not self._compared(found, emulated):
                return ""
        return said

    def _answers(self, compiled: openvino.CompiledModel) -> Answers:
        request = compiled.create_infer_request()
        return [list(map(np.array, request.infer(list(arrays)).to_tuple())) for arrays in self._feeds]

    def _emulation(self) -> Answers | None:
        if self._emulated is None:
            try:
                self._emulated = self._answers(compile_for_cpu(self._core, emulate_f32(self._model), self._config))
            except (RuntimeError, AttributeError, OptkitError):  # something in the graph that it does not know
                return None
        return self._emulated

    def _compared(self, found: Answers, wanted: Answers) -> str:
        for name, allowed, parts in zip(self._names, self._allowed, zip(*map(_pairs, found, wanted)), strict=True):
            for one, other in parts:
                if one.shape != other.shape:
                    return f"output {name} has the shape {list(one.shape)}, not {list(other.shape)}"
            off = _distance(parts)
            if not np.isfinite(off):
                return f"output {name} holds what is no finite number"
            if off > allowed:
                return f"output {name} is off by {off:.0%}, where rounding explains {allowed:.0%}".replace("%", " %")
        return ""


def distances(found: Answers, wanted: Answers) -> list[float]:
    """Of each output, over all inputs; infinite where shapes differ or numbers are not finite."""
    return [_distance(parts) for parts in zip(*map(_pairs, found, wanted))]


def _pairs(found: list[np.ndarray], wanted: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(found, wanted, strict=True))


def _distance(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Where the reference is not finite, as it is for a query without keys, nothing is compared."""
    off = size = 0.0
    count = 0
    for one, other in parts:
        if one.shape != other.shape:
            return np.inf
        there = np.isfinite(other)
        difference, reference = one[there].astype(np.float64) - other[there], other[there].astype(np.float64)
        if other.dtype.kind != "f":  # indices of classes: how many differ
            difference, reference = difference != 0, np.ones(difference.shape)
        if not np.isfinite(difference).all():
            return np.inf
        off += float(np.sum(np.square(difference)))
        size += float(np.sum(np.square(reference)))
        count += reference.size
    # Of a reference of zeros there is no share.
    return float(np.sqrt(off / (size or max(count, 1))))
