"""From a plan to the model that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError
from optkit.runtime.planning.decompression import RATE
from optkit.runtime.planning.plan import Plan
from optkit.runtime.rewriting.rewrite import Rewrite, rewrite

if TYPE_CHECKING:
    import openvino


def apply(model: openvino.Model, plan: Plan) -> tuple[openvino.Model, Rewrite]:
    """A copy of ``model`` in which the layers that ``plan`` takes are programs, and what was placed.

    Raises:
        OptkitError: if the plan is for another model.
    """
    check(model, plan)
    copy = model.clone()
    placed = rewrite(copy, plan.kernels, attention=plan.attention, dynamic=plan.dynamic)
    return copy, placed


def check(model: openvino.Model, plan: Plan) -> None:
    """Raises OptkitError if ``model`` lacks a layer that ``plan`` takes, or has it in another shape."""
    shapes = {}
    for node in model.get_ops():
        if node.get_type_name() == "MatMul":
            shapes[node.get_friendly_name()] = node.get_output_partial_shape(0)
    for layer in plan.layers:
        if layer.kernel is None:
            continue
        if layer.matmul not in shapes:
            raise OptkitError(f"the plan is for another model: this one has no MatMul {layer.matmul}: plan again")
        found = shapes[layer.matmul]
        if found.rank.is_static and found[len(found) - 1].is_static:
            features = found[len(found) - 1].get_length()
            if features != layer.shape[0]:
                raise OptkitError(
                    f"the plan is for another model: {layer.matmul} has {features} outputs here, {layer.shape[0]} "
                    "there: plan again"
                )


def compile_config(config: Mapping[Any, Any], plan: Plan) -> dict[Any, Any]:
    """``config`` with what the plan needs besides; the user's own value goes first."""
    if plan.decompression_rate is None or any(str(key) == RATE for key in config):
        return dict(config)
    return {**config, RATE: plan.decompression_rate}
