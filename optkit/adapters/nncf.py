"""NNCF: post-training int8 of an OpenVINO model in a way that keeps zeros zero."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters import quiet, reason
from optkit.adapters.half_range import halve, halve_onnx
from optkit.adapters.samples import feed
from optkit.errors import ExportError
from optkit.ir.io import import_openvino
from optkit.ir.layers import constant_weight, linear_layers

if TYPE_CHECKING:
    import openvino
    from onnx import ModelProto

    from optkit.quantization.config import Quantization

#: Under which NNCF takes a SmoothQuant that is off.
_OFF = -1.0
_SMOOTHING = "nncf_smooth_quant"


def quantize_int8(
    model: openvino.Model,
    samples: Sequence[Mapping[str, Any]],
    *,
    quantization: Quantization,
    ignored: Collection[str] = (),
    simulated: bool = False,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> openvino.Model:
    """An int8 copy of ``model``: symmetric weights, asymmetric activations or none, as ``quantization`` says.

    The same samples in the same order give the same numbers.

    Args:
        model: fp32.
        samples: inputs by name without the batch's axis, unpadded, each fed as a batch of one; all are used. Of weights
            alone none are needed.
        quantization: its ``ignored`` patterns are not looked at here, nor whether ``smooth_quant`` is to be found.
        ignored: names of operations that stay as they are, their weights to the bit.
        simulated: leave weights as fp32 constants before FakeQuantize.
        tell: hears how many samples were run, of how many; NNCF goes through them once for each of its algorithms.

    Raises:
        ExportError: if there are no samples, they lack an input, or NNCF fails.
    """
    if not samples and not quantization.weights_only:
        raise ExportError("int8 needs calibration samples, and there are none: set quantize.calibration.samples")
    from openvino._offline_transformations import compress_quantize_weights_transformation as compress

    # Compressing weights alone changes the model that it is given.
    source = model.clone() if quantization.weights_only else model
    reported, backend = _ReportedSamples(feeds(model, samples), tell), {"compress_weights": False}
    unfit = () if quantization.weights_only else _beyond_transposes(model)
    result = _int8(source, reported, quantization, {*ignored, *unfit}, backend)
    if quantization.weight_range == "half" and not quantization.weights_only:
        halve(result)
    if not simulated:
        compress(result)
    _check_ranges(result)
    if ignored:
        _unsmooth(model, result, set(ignored))
        left = next((n for n in linear_layers(result) if n.matmul in ignored and n.weight.dtype in ("i8", "u8")), None)
        if left is not None:
            raise ExportError(f"NNCF quantized {left.matmul}, which was to stay as it is")
    return result


def quantize_onnx(
    model: ModelProto,
    inputs: Sequence[Mapping[str, np.ndarray]],
    *,
    quantization: Quantization,
    ignored: Collection[str] = (),
) -> ModelProto:
    """The same of an ONNX model: QuantizeLinear and DequantizeLinear, weights as int8 constants.

    Args:
        model: fp32; worthless afterwards.
        inputs: batches to calibrate by; all are used. Of weights alone none are needed.
        quantization: its ``ignored`` patterns are not looked at here.
        ignored: names of nodes that stay fp32. SmoothQuant may scale their weights, and their inputs the other way.

    Raises:
        ExportError: if there are no inputs, or NNCF fails.
    """
    if not inputs and not quantization.weights_only:
        raise ExportError("int8 needs calibration samples, and there are none: set quantize.calibration.samples")
    result = _int8(model, inputs, quantization, ignored, {})
    if quantization.weight_range == "half":
        halve_onnx(result)
    return result


def _int8(
    model: Any, inputs: Sequence[Any], quantization: Quantization, ignored: Collection[str], backend: Mapping[str, Any]
) -> Any:
    import_openvino()
    import nncf

    scope = nncf.IgnoredScope(names=sorted(ignored), validate=False) if ignored else None
    with quiet():
        try:
            if quantization.weights_only:
                return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope)
            return nncf.quantize(
                model,
                nncf.Dataset(inputs),
                subset_size=len(inputs),
                fast_bias_correction=quantization.bias_correction != "accurate",
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=scope,
                advanced_parameters=_parameters(quantization, backend),
            )
        except (RuntimeError, ValueError, nncf.ValidationError) as error:
            raise ExportError(f"NNCF cannot quantize the model: {reason(error)}") from error


def _beyond_transposes(model: openvino.Model) -> list[str]:
    """Names of depthwise convolutions over what a Transpose gives, such as those over the tokens in ConvBERT.

    NNCF gives their input a range for each channel, puts it before the Transpose, and there takes tokens for channels.
    """
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "GroupConvolution" and node.input_value(0).get_node().get_type_name() == "Transpose"
    ]


def _check_ranges(model: openvino.Model) -> None:
    """Refuses ranges for each place along an axis that may be of any length: they hold for one length alone.

    Raises:
        ExportError: naming the first.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        axes = node.input_value(0).get_partial_shape()
        if axes.rank.is_static and any(
            count > 1 and axis.is_dynamic
            for count, axis in zip(reversed(list(node.input_value(1).get_shape())), reversed(list(axes)))
        ):
            raise ExportError(
                f"NNCF gives {node.get_friendly_name()} a range for each token, so the model would take texts of one "
                "length alone: name the layer in quantize.ignored"
            )


class _ReportedSamples(Sequence):
    """Samples that report, each time they are iterated, how many were taken."""

    def __init__(self, samples: Sequence[Any], tell: Callable[[int, int], None]):
        self.samples, self.tell = samples, tell

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: Any) -> Any:
        return self.samples[place]

    def __iter__(self) -> Iterator[Any]:
        for number, sample in enumerate(self.samples, 1):
            yield sample
            self.tell(number, len(self.samples))


def _parameters(quantization: Quantization, backend: Mapping[str, Any]) -> Any:
    import nncf

    half = nncf.OverflowFix.ENABLE if quantization.weight_range == "half" else nncf.OverflowFix.DISABLE
    alpha = _OFF if quantization.strength is None else quantization.strength
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=half,
        disable_bias_correction=quantization.bias_correction is None,
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=alpha),
        backend_params=dict(backend),
    )


def _unsmooth(model: openvino.Model, quantized: openvino.Model, names: Collection[str]) -> None:
    """Gives ignored layers back the weights and inputs that they had: SmoothQuant scales both, ignored or not."""
    from openvino import opset13 as ops

    before = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    for node in quantized.get_ordered_ops():
        name = node.get_friendly_name()
        if name not in names or node.get_type_name() != "MatMul":
            continue
        scaled = node.input_value(0).get_node()
        weight = constant_weight(before[name].input_value(1).get_node())
        if _SMOOTHING not in scaled.get_friendly_name() or weight is None or weight.scale is not None:
            continue
        constant = ops.constant(np.ascontiguousarray(weight.values, np.float32))
        constant.set_friendly_name(weight.constant)
        node.input(0).replace_source_output(scaled.input_value(0))
        node.input(1).replace_source_output(constant.output(0))


def feeds(model: openvino.Model, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Each of ``samples`` as a batch of one for ``model``: a mask that the tokenizer left out is all ones, segments are
    all zeros.

    Raises:
        ExportError: if a sample lacks an input.
    """
    ports = {_input_name(port): port.get_element_type().to_dtype() for port in model.inputs}
    return [feed(sample, ports) for sample in samples]


def _input_name(port: openvino.Output) -> str:
    """The name without slashes among a port's names, which is the one that tokenizers use."""
    return min(port.get_names(), key=lambda name: ("/" in name, name))
