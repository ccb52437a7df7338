"""A model of transformers as a Relax program of static shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from optkit.adapters import quiet, reason
from optkit.adapters.tracing import readable
from optkit.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class Program:
    """A program and what it takes.

    Attributes:
        module: its function ``main`` takes the inputs, then the parameters.
        parameters: arrays by the names of the arguments of ``main``, in their order.
        fast_math: whether exp, erf and tanh may be approximations.
    """

    module: tvm.IRModule
    parameters: dict[str, np.ndarray]
    fast_math: bool = False


def trace(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> Program:
    """The program of ``model`` for inputs of the shapes of ``inputs``.

    Its attention is set to the eager one, in ``model`` itself.

    Args:
        model: in evaluation mode, float32.
        outputs: names of the outputs that are wanted.

    Raises:
        ExportError: if it cannot be traced, or TVM lacks an operation that it needs.
    """
    model.eval()
    with quiet(), torch.no_grad(), readable(model, list(inputs), outputs):
        try:
            exported = torch.export.export(model, tuple(inputs.values()))
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            raise ExportError(f"it cannot be traced: {reason(error)}") from error
        try:
            module = from_exported_program(exported, keep_params_as_input=True)
        except Exception as error:  # an importer's errors have many classes
            raise ExportError(f"TVM cannot import it: {reason(error)}") from error
    module, parameters = relax.frontend.detach_params(module)
    # Named as in the checkpoint: the arguments' own names are changed until they are identifiers.
    targets = [
        spec.target
        for spec in exported.graph_signature.input_specs
        if spec.kind.name == "PARAMETER" or (spec.kind.name == "BUFFER" and spec.persistent)
    ]
    arrays = [each.numpy() for each in parameters["main"]]
    if len(targets) != len(arrays):
        raise ExportError(f"TVM kept {len(arrays)} of its {len(targets)} parameters")
    return Program(module, dict(zip(targets, arrays)))
