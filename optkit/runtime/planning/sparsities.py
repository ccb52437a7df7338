"""What sparsity gains on this machine before anything is trained: zeros are put into an IR that has none, and timed.

Speed depends on where the zeros are and not on the other weights, so a model that was never pruned tells as much as the
one that will be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.ir.layers import linear_layers
from optkit.runtime.loading import compile_for_cpu, new_core
from optkit.runtime.planning.applying import apply, compile_config
from optkit.runtime.planning.feeding import feeds, tokens_of
from optkit.runtime.planning.machine import detect
from optkit.runtime.planning.making import make_plan
from optkit.runtime.planning.static import static_plan
from optkit.runtime.planning.timing import medians, turn
from optkit.runtime.rewriting.sites import sites

if TYPE_CHECKING:
    import openvino

ROUNDS, SECONDS = 60, 6.0


def kernel_times(models: Sequence[openvino.Model], *, shape: tuple[int, int], config: Mapping[Any, Any]) -> list[float]:
    """Milliseconds of whole models, by turns, with every layer on the sparse runtime that a kernel can compute.

    Args:
        shape: (batch, sequence length).
        config: OpenVINO's.
    """
    core, turns = new_core(), {}
    machine = detect()
    for number, model in enumerate(models):
        options = {"isa": machine.isa, "shape": shape, "tokens": tokens_of(model, shape)}
        plan = static_plan(sites(model), **options, everything=True)
        compiled = compile_for_cpu(core, apply(model, plan)[0], compile_config(config, plan))
        turns[str(number)] = turn(compiled, feeds(model, shape))
    return list(medians(turns, rounds=ROUNDS, seconds=SECONDS).values())


def model_times(
    reference: openvino.Model,
    models: Sequence[openvino.Model],
    *,
    shape: tuple[int, int],
    config: Mapping[Any, Any],
    reference_config: Mapping[Any, Any],
) -> tuple[float, list[float], int]:
    """Times whole models by turns.

    Returns:
        milliseconds of ``reference`` in plain OpenVINO, those of ``models`` on the sparse runtime, and on how many
        threads.
    """
    core = new_core()
    plain = compile_for_cpu(core, reference, reference_config)
    turns = {"reference": turn(plain, feeds(reference, shape))}
    for number, model in enumerate(models):
        plan, compiled = make_plan(model, "measured", core=core, config=config, shape=shape, cached=False)
        if compiled is None:
            compiled = compile_for_cpu(core, apply(model, plan)[0], compile_config(config, plan))
        turns[str(number)] = turn(compiled, feeds(model, shape))
    found = medians(turns, rounds=ROUNDS, seconds=SECONDS)
    threads = plain.get_property("INFERENCE_NUM_THREADS")
    return found["reference"], [found[str(number)] for number in range(len(models))], threads


def with_zeros(model: openvino.Model, masks: Mapping[str, np.ndarray]) -> openvino.Model:
    """A copy of ``model`` with zeros in its weights.

    Args:
        masks: by MatMul, bool (out, in), True where a weight stays.

    Raises:
        OptkitError: if a MatMul is not there, or its weight is not stored as it is used.
    """
    copy, openvino = model.clone(), import_openvino()
    layers = {layer.matmul: layer.weight for layer in linear_layers(copy)}
    constants = {node.get_friendly_name(): node for node in copy.get_ops() if node.get_type_name() == "Constant"}
    for matmul, mask in masks.items():
        weight = layers.get(matmul)
        stored = None if weight is None else constants[weight.constant].data
        if weight is None or not np.array_equal(stored, weight.values):
            raise OptkitError(f"zeros cannot be put into {matmul}: there is no such layer, or its weight is transposed")
        constant = openvino.opset13.constant(np.where(mask, stored, 0).astype(stored.dtype))
        constant.set_friendly_name(weight.constant)
        for target in constants[weight.constant].output(0).get_target_inputs():
            target.replace_source_output(constant.output(0))
    return copy
