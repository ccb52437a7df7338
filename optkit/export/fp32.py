"""From a checkpoint to an fp32 OpenVINO model whose linear weights bear the parameters' names and equal them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optkit.checkpoints.files import tensors
from optkit.checkpoints.plain import plain_folder
from optkit.counting.parameters import former_shapes, parameter_kinds
from optkit.counting.result import Layer, measure
from optkit.counting.zeros import DENSE
from optkit.errors import ExportError
from optkit.export import conversion
from optkit.ir.io import read_model
from optkit.ir.layers import linear_layers, map_parameters
from optkit.ir.shapes import fix_image_size
from optkit.pruning.config import Rule

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class NamedModel:
    """An OpenVINO model that can be tagged, and what its int8 form is held against.

    Attributes:
        model: fp32, unless it came as int8 from elsewhere.
        parameters: name of the parameter by the MatMul's name.
        weights: linear weights (out, in) by parameter, as they were before the model was made.
        facts: zeros and structure of each of ``weights``.
        setup: folder of config and tokenizer.
        removed: linear weights that compaction took out altogether, with their shapes (out, in).
    """

    model: openvino.Model
    parameters: Mapping[str, str]
    weights: Mapping[str, np.ndarray]
    facts: Mapping[str, Layer]
    setup: Path
    removed: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def convert(
    checkpoint: Path, folder: Path, *, export_task: str, rules: Sequence[Rule] = (), seed: int = 0
) -> NamedModel:
    """The fp32 IR of ``checkpoint``, written into ``folder``, which has to stay as long as the model is used.

    Args:
        checkpoint: folder of a plain checkpoint, its zeros in place, or of a compacted one.
        export_task: optimum's name of the task, such as ``text-classification``.
        rules: that pruned the model: they name structures to look for, and a checkpoint that holds no zeros and was not
            compacted either is refused.
        seed: of the random inputs that the model is traced with.

    Raises:
        ExportError: if it cannot be converted, or a weight of the IR is not what the checkpoint holds.
        OptkitError: if the checkpoint is damaged or holds NaN.
    """
    checkpoint = plain_folder(checkpoint)
    arrays, facts, removed = measure_weights(checkpoint, rules)
    conversion.convert(checkpoint, folder, task=export_task, seed=seed)
    model = read_model(folder)
    fix_image_size(model, checkpoint)
    mapping = map_parameters(linear_layers(model), arrays, required=required_parameters(checkpoint, facts))
    return NamedModel(model, mapping, arrays, facts, folder, removed)


def required_parameters(checkpoint: Path, facts: Mapping[str, Layer]) -> set[str]:
    """The parameters that hold zeros and that a converted model must have; what stands beside the encoder, such as a
    pooler, a task may leave out.
    """
    kinds = parameter_kinds(checkpoint)
    return {name for name in _pruned_parameters(facts) if not kinds.encoder or kinds.in_encoder(name)}


def _pruned_parameters(facts: Mapping[str, Layer]) -> set[str]:
    return {name for name, layer in facts.items() if layer.structure != DENSE}


def measure_weights(
    checkpoint: Path, rules: Sequence[Rule] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Layer], Mapping[str, tuple[int, int]]]:
    """What the linear weights of ``checkpoint`` hold, for every format it may be written in.

    Returns:
        the weights (out, in), what is measured of each, and the shapes of those that compaction took out, by parameter.

    Raises:
        ExportError: if rules pruned it and it holds no zeros.
        OptkitError: if it is damaged or holds NaN.
    """
    weights = _linear_weights(checkpoint)
    reduced, removed = former_shapes(checkpoint)
    facts = {
        name: replace(measure(name, *weight, _structures(rules)), original_shape=reduced.get(name))
        for name, weight in weights.items()
    }
    if rules and not (_pruned_parameters(facts) or reduced or removed):
        raise ExportError(f"{checkpoint}: no linear layer has zeros although it was pruned: were its masks folded in?")
    return {name: array for name, (array, _) in weights.items()}, facts, removed


def _structures(rules: Sequence[Rule]) -> list[str]:
    return [str(rule.structure) for rule in rules if rule.structure.kind == "block"]


def _linear_weights(checkpoint: Path) -> dict[str, tuple[np.ndarray, str]]:
    """The checkpoint's linear weights (out, in) with their stored types, by parameter name."""
    kinds = parameter_kinds(checkpoint)
    return {
        name: (array, dtype)
        for stored, array, dtype in tensors(checkpoint)
        if kinds.of(name := kinds.own(stored), array.shape) == "linear" and array.ndim == 2
    }
