"""int8 IRs in float32: what stands for their weights, whatever decompresses them."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino

CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


@pytest.mark.parametrize("kind", ["f16", "f32"])
@pytest.mark.parametrize("zero_point", [False, True])
def test_weights_are_unpacked_whatever_the_steps_and_their_type(kind, zero_point):
    """As NNCF compresses weights alone: integers become float16, lose a zero point, are scaled, and become float32."""
    openvino, rng = import_openvino(), np.random.default_rng(0)
    ops, stored = openvino.opset13, rng.integers(0, 255, (8, 4)).astype(np.uint8)
    dtype = {"f16": np.float16, "f32": np.float32}[kind]
    scale = (rng.integers(1, 9, (8, 1)) / 64).astype(dtype)
    weight, wanted = ops.convert(ops.constant(stored), kind), stored.astype(np.float32)
    if zero_point:
        weight, wanted = ops.subtract(weight, ops.convert(ops.constant(np.uint8(100)), kind)), wanted - 100
    weight, wanted = ops.multiply(weight, ops.constant(scale)), wanted * scale.astype(np.float32)
    if kind == "f16":
        weight = ops.convert(weight, "f32")
    data = ops.parameter([-1, 4], np.float32)
    emulated = emulate_f32(openvino.Model([ops.matmul(data, weight, False, True)], [data], "weights"))
    kinds = [node.get_type_name() for node in emulated.get_ops()]
    assert sorted(kinds) == ["Constant", "MatMul", "Parameter", "Result"]
    x = rng.normal(size=(3, 4)).astype(np.float32)
    found = openvino.Core().compile_model(emulated, "CPU", CONFIG)(x)[0]
    np.testing.assert_allclose(found, x @ wanted.T, rtol=1e-5, atol=1e-4)
