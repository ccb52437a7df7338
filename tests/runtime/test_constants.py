"""A packed program that is replaced is noticed: by the operation when it is validated, and by each run."""

from __future__ import annotations

import numpy as np
import pytest
from programs import CONFIG, INT8, Grid, f32, infer, linear_program, op_model, scales, weights

from optkit.ir.io import import_openvino, last_line
from optkit.runtime.packing import encode
from optkit.runtime.program import Program

pytestmark = pytest.mark.usefixtures("extension")


def layer(seed: int, out: int = 20) -> Program:
    rng = np.random.default_rng(seed)
    packed = weights(rng, (out, 12), INT8[0], 0.6)
    options = {"scales": scales(rng, packed), "bias": f32(rng, out), "quantization": Grid().quantization}
    return linear_program([{"weights": packed, **options}], 12)


def constant(program: Program):
    return import_openvino().op.Constant(np.frombuffer(encode(program), np.uint8))


def operation(model):
    return next(node for node in model.get_ops() if node.get_type_name() == "Program")


def results(model, x: np.ndarray) -> np.ndarray:
    return infer(import_openvino().Core().compile_model(model, "CPU", CONFIG), [x])[0]


def evaluate(node, x: np.ndarray, program: Program) -> tuple[bool, np.ndarray]:
    openvino = import_openvino()
    output = openvino.Tensor(np.zeros((*x.shape[:-1], 20), np.float32))
    packed = openvino.Tensor(np.frombuffer(encode(program), np.uint8).copy())
    return node.evaluate([output], [openvino.Tensor(x), packed]), output.data


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return f32(np.random.default_rng(9), 2, 7, 12)


def test_another_constant_is_another_program(x):
    model = op_model(layer(1))
    first = results(model, x)
    operation(model).input(1).replace_source_output(constant(layer(2)).output(0))
    model.validate_nodes_and_infer_types()
    found = results(model, x)
    np.testing.assert_array_equal(found, results(op_model(layer(2)), x))
    assert not np.array_equal(found, first)


def test_another_shape_too(x):
    model = op_model(layer(1))
    operation(model).input(1).replace_source_output(constant(layer(3, out=8)).output(0))
    model.validate_nodes_and_infer_types()
    assert model.output(0).get_partial_shape().to_string() == "[?,?,8]"
    np.testing.assert_array_equal(results(model, x), results(op_model(layer(3, out=8)), x))


def test_a_damaged_one_is_refused():
    model = op_model(layer(1))
    damaged = import_openvino().op.Constant(np.zeros(256, np.uint8))
    operation(model).input(1).replace_source_output(damaged.output(0))
    with pytest.raises(RuntimeError, match="the packed program is damaged: it does not begin with OPTKPROG"):
        model.validate_nodes_and_infer_types()


def test_the_same_bytes_elsewhere_are_the_same_program(x):
    model = op_model(layer(1))
    first = results(model, x)
    operation(model).input(1).replace_source_output(constant(layer(1)).output(0))
    model.validate_nodes_and_infer_types()
    np.testing.assert_array_equal(results(model, x), first)
    done, output = evaluate(operation(model), x, layer(1))
    assert done
    np.testing.assert_array_equal(output, first)


def test_a_run_with_other_bytes_fails(x):
    node = operation(op_model(layer(1)))
    for _ in range(2):
        assert evaluate(node, x, layer(1))[0]
        for other in (layer(2), layer(3, out=8)):
            with pytest.raises(RuntimeError) as raised:
                evaluate(node, x, other)
            assert last_line(raised.value).endswith(
                "optkit: the packed form of a program is not the one that was loaded: set another constant as the "
                "operation's input and compile the model again"
            )
