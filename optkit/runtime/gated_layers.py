"""Keeps OpenVINO from a fusion of gated layers that ends the process.

OpenVINO 2026.4.1 fuses ``down(act(gate(x)) * up(x))``, act being SiLU or GELU, into one node where it computes in
bfloat16 with AMX. That node divides by half of a stream's threads: with one thread the process dies of a division by
zero, whatever the sizes. Layers whose inputs or weights are quantized are not fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.cpu import cpu_cores, has_amx
from optkit.ir.io import import_openvino

if TYPE_CHECKING:
    import openvino

_ACTIVATIONS = ("Swish", "Gelu")


def may_have_one_thread(config: Mapping[Any, Any]) -> bool:
    """Whether a stream of a model compiled with ``config`` may have a single thread on this machine."""
    said = {str(key): str(value) for key, value in config.items()}
    threads = said.get("INFERENCE_NUM_THREADS", "0")
    if "THROUGHPUT" in said.get("PERFORMANCE_HINT", "").upper() or said.get("NUM_STREAMS", "1") != "1":
        return True
    return threads == "1" or cpu_cores() == 1


def unfused(model: openvino.Model, config: Mapping[Any, Any]) -> openvino.Model:
    """``model``, or a copy that OpenVINO does not fuse, where the fused node would end the process.

    For a model that is compiled in bfloat16 with ``config``. The copy computes the same: what follows the activation
    is clamped to float32's range.
    """
    if not has_amx() or not may_have_one_thread(config) or not _gates(model):
        return model
    from openvino import opset8

    copy = model.clone()
    largest = float(np.finfo(np.float32).max)
    for gate in _gates(copy):
        readers = gate.output(0).get_target_inputs()
        clamped = opset8.clamp(gate, -largest, largest)
        for reader in readers:
            reader.replace_source_output(clamped.output(0))
    return copy


def _gates(model: openvino.Model) -> list[openvino.Node]:
    """Activations whose product with something goes into a linear layer."""
    import_openvino()
    return [
        node
        for node in model.get_ops()
        if node.get_type_name() in _ACTIVATIONS
        and any(
            after.get_type_name() == "Multiply" and any(last.get_type_name() == "MatMul" for last in _readers(after))
            for after in _readers(node)
        )
    ]


def _readers(node: openvino.Node) -> list[openvino.Node]:
    return [reader.get_node() for reader in node.output(0).get_target_inputs()]
