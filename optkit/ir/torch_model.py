"""An IR called as a model of transformers is: with torch tensors by name, its outputs by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino
    from torch import Tensor

#: Inputs that tell tokens apart of which none has to be different: zeros where the caller has none.
OPTIONAL = "token_type_ids"


class TorchModel:
    """A compiled model that takes and returns torch tensors, as ``OVModelFor...`` of optimum-intel does.

    Args:
        compiled: what ``Core.compile_model`` or ``optkit.runtime.compile_model`` returned.
    """

    def __init__(self, compiled: openvino.CompiledModel):
        self._compiled = compiled
        self._inputs = [frozenset(port.get_names()) for port in compiled.inputs]

    def __call__(self, **inputs: Tensor) -> SimpleNamespace:
        """The outputs by name. Inputs that the model has not are left out; ``token_type_ids`` may be missing.

        Raises:
            KeyError: if another input is missing.
        """
        import torch

        given: list[Any] = []
        for names in self._inputs:
            name = next((name for name in names if name in inputs), None)
            if name is None and OPTIONAL in names:
                given.append(torch.zeros_like(inputs["input_ids"]).numpy())
            else:
                given.append(inputs[name or min(names)].numpy())
        found = self._compiled(given)
        by_name = {name: torch.from_numpy(array) for port, array in found.items() for name in port.get_names()}
        return SimpleNamespace(**by_name)
