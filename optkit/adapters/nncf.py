"""NNCF: post-training int8 of an OpenVINO model, weights and activations, in a way that keeps zeros zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optkit.adapters import quiet, reason
from optkit.errors import ExportError
from optkit.ir.io import import_openvino

if TYPE_CHECKING:
    import openvino

TARGETS = ("any", "vnni", "optkit")


def quantize_int8(
    model: openvino.Model, samples: Sequence[Mapping[str, Sequence[int]]], *, target: str
) -> openvino.Model:
    """An int8 copy of ``model``: symmetric weights, asymmetric activations, SmoothQuant and bias correction.

    The same samples in the same order give the same numbers.

    Args:
        model: fp32.
        samples: tokenised inputs by name, unpadded, each fed as a batch of one; all are used.
        target: ``any`` halves the weights' range, so that the 16-bit sums of CPUs without VNNI cannot saturate (NNCF's
            own default does so for the first convolution only); ``vnni`` and ``optkit`` use the full range, the first
            for CPUs with VNNI or AMX, the second for optkit's kernels, which are exact whatever the range.

    Raises:
        ExportError: if there are no samples, they lack an input, the target is unknown, or NNCF fails.
    """
    if target not in TARGETS:
        raise ExportError(f"unknown quantization target '{target}': one of {', '.join(TARGETS)}")
    if not samples:
        raise ExportError("int8 needs calibration samples, and there are none: set quantize.calibration.samples")
    import_openvino()
    import nncf

    fix = nncf.OverflowFix.ENABLE if target == "any" else nncf.OverflowFix.DISABLE
    inputs = [_input_name(port) for port in model.inputs]
    dataset = nncf.Dataset([_feed(sample, inputs) for sample in samples])
    with quiet():
        try:
            return nncf.quantize(
                model,
                dataset,
                subset_size=len(samples),
                model_type=nncf.ModelType.TRANSFORMER,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
            )
        except (RuntimeError, ValueError, nncf.ValidationError) as error:
            raise ExportError(f"NNCF cannot quantize the model: {reason(error)}") from error


def _input_name(port: openvino.Output) -> str:
    """The name without slashes among a port's names, which is the one that tokenizers use."""
    return min(port.get_names(), key=lambda name: ("/" in name, name))


def _feed(sample: Mapping[str, Sequence[int]], inputs: Sequence[str]) -> dict[str, np.ndarray]:
    """A batch of one for ``inputs``; a mask that the tokenizer left out is all ones, segments are all zeros."""
    if not sample.get("input_ids"):
        raise ExportError("a calibration sample has no input_ids: tokenise it first, and leave out empty texts")
    length = len(sample["input_ids"])
    defaults = {"attention_mask": [1] * length, "token_type_ids": [0] * length, "position_ids": range(length)}
    feed = {}
    for name in inputs:
        values = sample.get(name, defaults.get(name))
        if values is None:
            raise ExportError(f"calibration samples have no '{name}', which the model needs: only {', '.join(sample)}")
        feed[name] = np.asarray([list(values)], dtype=np.int64)
    return feed
