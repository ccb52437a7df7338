"""Learned projections of a student's hidden states to its teacher's width."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

#: Projections begin from nothing where the student does not: this much faster than its weights they learn.
_PACE = 10.0

#: By layer, what projects its states (..., width).
Projections = Mapping[int, Callable[[Tensor], Tensor]]
#: Changes the outputs of a forward pass: takes them, the arguments that were given by name, and the projections.
Change = Callable[[Any, Mapping[str, Any], Projections], None]


def attach_projections(
    student: PreTrainedModel, name: str, layers: Iterable[int], width: int, change: Change
) -> list[Callable[[], None]]:
    """Gives a student a submodule with a linear projection to ``width`` for each of ``layers``, and lets ``change``
    use them on the outputs of each pass in training that has hidden states. Returns what takes all of it off.

    As a submodule the optimizer trains them, checkpoints hold them, and data-parallel training averages their
    gradients.

    Args:
        name: of the submodule.
        change: a function of a module, so that models can be pickled.
    """
    ours, parameter = student.config.hidden_size, next(student.parameters())
    made = {str(layer): nn.utils.skip_init(nn.Linear, ours, width, bias=False) for layer in layers}
    for projection in made.values():
        # Random weights would pull the student where the teacher is not, until they know better.
        nn.init.zeros_(projection.weight)
    student.add_module(name, nn.ModuleDict(made).to(parameter.device, parameter.dtype))
    # In the forward pass, and not where the loss is: data-parallel wrappers look there for parameters in use.
    hook = student.register_forward_hook(partial(_after_forward, name, change), with_kwargs=True)
    return [hook.remove, partial(delattr, student, name)]


def _after_forward(
    name: str, change: Change, student: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], outputs: Any
) -> None:
    if student.training and getattr(outputs, "hidden_states", None) is not None:
        projections = getattr(student, name).items()
        change(outputs, named, {int(layer): partial(_project, projection) for layer, projection in projections})


def _project(projection: nn.Linear, states: Tensor) -> Tensor:
    return _PACE * projection(states.to(projection.weight.dtype))
