"""openvino.convert_model: an IR of a model of transformers, traced with eager attention, for inputs of any size.

It knows of an architecture only what inputs its ``forward`` takes, so it serves those that optimum-intel does not
know, and all of them where optimum-intel is not installed. Whether what comes out computes the same on other sizes than
it was traced with is for the caller to check.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters import quiet, reason
from optkit.adapters.conversion_check import image_size, random_texts
from optkit.adapters.tracing import LOWEST, traceable
from optkit.errors import ExportError
from optkit.ir.io import import_openvino

if TYPE_CHECKING:
    import openvino
    from torch import Tensor
    from transformers import PreTrainedModel

#: What image processors and feature extractors make, and optimum-intel's classes feed.
_IMAGES, _SOUND = "pixel_values", "input_values"
#: Batch and tokens that texts are traced with, and samples of a sound. A size of 1 would be taken for a constant, and
#: an odd length goes through what a model does to fill up windows.
_TRACED, _SAMPLES = (2, 19), 4000


def convert(
    model: PreTrainedModel, *, outputs: Sequence[str], segments: bool, longest: int | None = None
) -> openvino.Model:
    """The fp32 model in OpenVINO, inputs and outputs named as transformers names them and of any batch and length.

    Its attention is set to the eager one, in ``model`` itself.

    Args:
        model: of transformers, in evaluation mode, float32. What is made shares its memory.
        outputs: names of the outputs that are wanted.
        segments: whether its tokenizer makes token_type_ids.
        longest: most tokens that it takes; None for any.

    Raises:
        ExportError: if it cannot be traced, or OpenVINO lacks an operation that it needs.
    """
    import torch

    ov = import_openvino()
    names = input_names(model, segments=segments)
    example = _example(model, names, longest)
    with quiet(), torch.no_grad(), traceable(model, list(example), outputs):
        try:
            converted = ov.convert_model(model, example_input=tuple(example.values()), input=_shapes(ov, example))
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            raise ExportError(_cause(error)) from error
    _name_ports(converted, list(example), outputs)
    _bound_masks(ov, converted)
    for name in names:
        if name not in example:
            _add_unused(ov, converted, name)
    converted.validate_nodes_and_infer_types()
    return converted


def _cause(error: BaseException) -> str:
    """What stood in the way: OpenVINO's own first line names its source code."""
    operations = re.search(r"Conversion is failed for: (.+)", str(error))
    if operations:
        names = [name for name in re.split(r",\s*", operations[1]) if "::" in name] or [operations[1]]
        return f"OpenVINO cannot convert {', '.join(names)}"
    while not isinstance(error, ExportError) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) if isinstance(error, ExportError) else f"it cannot be traced: {reason(error)}"


def input_names(model: PreTrainedModel, *, segments: bool) -> list[str]:
    """The inputs of an IR of ``model``.

    Raises:
        ExportError: if it takes what neither a tokenizer nor an image processor makes.
    """
    accepted = signature(model.forward).parameters
    if "input_ids" not in accepted:
        for name in (_IMAGES, _SOUND):
            if name in accepted:
                return [name]
        raise ExportError(f"it takes {', '.join(list(accepted)[:3])}, and neither texts nor images")
    # A model that attends to padding has the input as well: whoever calls an IR of a text model feeds one.
    names = ["input_ids", "attention_mask"]
    kinds = getattr(model.config, "type_vocab_size", None)
    # Without a table of kinds some models add to a token whatever they are given, so it matters whether it is given.
    if "token_type_ids" in accepted and (segments if kinds is None else kinds > 1):
        names.append("token_type_ids")
    return names


def _example(model: PreTrainedModel, names: Collection[str], longest: int | None) -> dict[str, Tensor]:
    """Random inputs to trace with, of those of ``names`` that the model's ``forward`` takes."""
    import torch

    config, accepted = model.config, signature(model.forward).parameters
    if _IMAGES in names:
        return {_IMAGES: torch.randn(2, *image_size(config))}
    if _SOUND in names:
        return {_SOUND: torch.randn(2, _SAMPLES)}
    ids, mask = random_texts(config, _TRACED[0], min(_TRACED[1], longest or _TRACED[1]))
    texts = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: texts[name] for name in names if name in accepted}


def _shapes(ov: Any, example: Mapping[str, Tensor]) -> list[Any]:
    """Every size open but that of an image's channels."""
    return [
        ov.PartialShape([-1, tensor.shape[1], -1, -1] if name == _IMAGES else [-1] * tensor.ndim)
        for name, tensor in example.items()
    ]


def _name_ports(model: openvino.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Names inputs and outputs, which stand in the order in which they were given."""
    for ports, names in ((model.inputs, inputs), (model.outputs, outputs)):
        if len(ports) != len(names):
            raise ExportError(f"OpenVINO kept {len(ports)} of {', '.join(names)}")
        for port, name in zip(ports, names):
            port.get_tensor().set_names({name})
    for port, name in zip(model.inputs, inputs):
        port.get_node().set_friendly_name(name)


def _bound_masks(ov: Any, model: openvino.Model) -> None:
    """Masks hold the lowest number of float32, which is -inf in the bfloat16 that OpenVINO computes in by default on
    CPUs that have it.
    """
    below = np.float32(LOWEST) * 1e30
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        if node.get_output_size() == 1 and np.prod(node.get_output_shape(0)) == 1 and node.data.item() < below:
            bounded = ov.opset13.constant(np.full(node.get_output_shape(0), LOWEST, np.float32))
            bounded.set_friendly_name(node.get_friendly_name())
            ov.utils.replace_node(node, bounded)


def _add_unused(ov: Any, model: openvino.Model, name: str) -> None:
    parameter = ov.opset13.parameter([-1, -1], ov.Type.i64, name=name)
    parameter.output(0).get_tensor().set_names({name})
    model.add_parameters([parameter])
