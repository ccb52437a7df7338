"""What becomes of a graph: which Programs there are, what stays OpenVINO's and why, and which names survive."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HIDDEN, Graph, axes, fake_quantize, layer_norm
from rewritten import BLOCK4, ELEMENT, difference, in_numpy, kernels_of, ops, rewrite_here, run, steps, types

from optkit.errors import OptkitError
from optkit.runtime.program import Kernel
from optkit.runtime.rewriting import rewrite
from optkit.runtime.rewriting.linear import quantize


def twice(make):
    """Two models that are the same, and the graph of one."""
    graphs = [Graph(), Graph()]
    models = [graph.model(*make(graph)) for graph in graphs]
    return graphs[0], *models


def feed_forward(graph, x, name):
    inner = ops.gelu(graph.linear(x, 40, f"{name}.in"), "erf")
    return layer_norm(graph, ops.add(graph.linear(inner, HIDDEN, f"{name}.out"), x))


def layers(result):
    return [placed.layers for placed in result.programs]


def test_a_layer_left_out_in_the_middle_parts_the_programs():
    def make(graph):
        x = graph.tokens()
        for name in ("first", "second", "third"):
            x = feed_forward(graph, x, name)
        return [x]

    graph, original, model = twice(make)
    result = rewrite_here(model, kernels_of(model, ELEMENT, but=("second.in",)))
    assert layers(result) == [("first.in", "first.out"), ("second.out", "third.in", "third.out")]
    assert types(model).count("MatMul") == 1
    # The residual of the second goes from one program to the other.
    assert [len(placed.program.inputs) for placed in result.programs] == [1, 2]
    assert difference(original, model, graph.feed(3, 4)) < 1e-5


def test_what_would_depend_on_itself_is_parted():
    def make(graph):
        x = graph.linear(graph.tokens(), name="a")
        beside = ops.reduce_max(x, axes(1), True)  # of all tokens: nothing token-wise
        y = ops.add(x, graph.linear(ops.sin(x), name="b"))
        return [graph.linear(y, name="c"), ops.add(graph.linear(ops.floor(x), name="d"), beside)]

    graph, original, model = twice(make)
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert [set(each) for each in layers(result)] == [{"a"}, {"b", "c"}, {"d"}]
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_two_programs_do_not_wait_for_each_other():
    def make(graph):
        x = graph.tokens()
        a, b = graph.linear(x, name="a"), graph.linear(ops.sin(x), name="b")
        # {a, c} reads what is made of b, {b, d} what is made of a: only one of the two can be whole.
        c = ops.add(graph.linear(ops.relu(a), name="c"), ops.sin(b))
        d = ops.add(graph.linear(ops.relu(b), name="d"), ops.sin(a))
        return [graph.linear(c, name="e"), graph.linear(d, name="f")]

    graph, original, model = twice(make)
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert sorted(sum(layers(result), ())) == list("abcdef")
    assert len(result.programs) == 3
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_what_reads_the_same_value_and_the_others_result_by_way_of_openvino():
    def make(graph):
        x = graph.tokens()
        first = graph.linear(x, name="a")
        return [graph.linear(ops.add(x, ops.sin(first)), name="b")]

    graph, original, model = twice(make)
    assert layers(rewrite_here(model, kernels_of(model, ELEMENT))) == [("a",), ("b",)]
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_nothing_is_folded_into_a_result():
    def make(graph):
        x = graph.linear(graph.tokens(), name="a", bias=False)
        return [x, graph.linear(ops.add(x, ops.constant(graph.numbers(HIDDEN))), name="b")]

    graph, original, model = twice(make)
    assert steps(rewrite_here(model, kernels_of(model, ELEMENT))) == [["Linear", "Affine", "Linear"]]
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_what_serves_no_linear_layer_stays():
    def make(graph):
        x = graph.tokens()
        before, beside = ops.tanh(x), ops.sigmoid(x)
        return [ops.relu(graph.linear(before, name="a")), layer_norm(graph, beside)]

    graph, original, model = twice(make)
    result = rewrite_here(model, {"a": ELEMENT})
    assert steps(result) == [["Activation", "Linear", "Activation"]]
    assert {"MVN", "Sigmoid"} <= set(types(model)) and not {"Tanh", "Relu"} & set(types(model))
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_openvino_keeps_the_bias_and_activation_of_its_own_layers():
    def make(graph):
        return [graph.linear(ops.gelu(graph.linear(graph.tokens(), name="a"), "erf"), name="b")]

    graph, original, model = twice(make)
    result = rewrite_here(model, {"b": ELEMENT})
    assert steps(result) == [["Linear"]]
    assert "Gelu" in types(model)
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_openvino_quantizes_for_its_own_layers():
    smooth = np.linspace(0.5, 2, HIDDEN, dtype=np.float32)[None, None]

    def make(graph):
        x = layer_norm(graph, graph.quantized(graph.tokens(), HIDDEN, "a"))
        return [graph.quantized(x, HIDDEN, "b", smooth=smooth), graph.quantized(x, HIDDEN, "c")]

    graph, original, model = twice(make)
    result = rewrite_here(model, {"a": BLOCK4, "c": BLOCK4})
    assert steps(result) == [["Linear", "LayerNorm", "Linear"]]
    # b's FakeQuantize and SmoothQuant stay in front of b.
    reader = next(node for node in model.get_ordered_ops() if node.get_friendly_name() == "b")
    chain = reader.input_value(0).get_node()
    assert chain.get_type_name() == "FakeQuantize"
    assert chain.input_value(0).get_node().get_type_name() == "Multiply"
    assert chain.input_value(0).get_node().input_value(0).get_node().get_type_name() == "Program"
    assert difference(original, model, graph.feed(2, 5)) < 0.01


def test_what_was_quantized_already_is_not_again():
    def make(graph):
        x = fake_quantize(graph.linear(graph.tokens(), name="a"), -4.0, 4.1)
        moved = ops.reshape(x, axes(0, 0, HIDDEN), True)
        return [graph.linear(x, name="b"), ops.matmul(x, graph.int8_weight(8, HIDDEN), False, True, name="c"), moved]

    graph, original, model = twice(make)
    result = rewrite_here(model, {"a": ELEMENT, "b": ELEMENT, "c": BLOCK4})
    assert steps(result) == [["Linear", "FakeQuantize", "Linear", "Linear"]]
    program = result.programs[0].program
    assert program.steps[-1].source == program.steps[0].target
    assert difference(original, model, graph.feed(2, 5)) < 0.01


def test_layers_that_share_a_weight():
    def make(graph):
        weight = graph.int8_weight(HIDDEN, HIDDEN)
        x = graph.tokens()
        for name in ("a", "b", "c"):
            x = ops.matmul(fake_quantize(x, -3.0, 3.0), weight, False, True, name=name)
        return [x]

    graph, original, model = twice(make)
    result = rewrite_here(model, kernels_of(model, BLOCK4))
    one, two, three = (step.weights for step in result.programs[0].program.steps)
    assert one is two is three
    assert difference(original, model, graph.feed(2, 5)) < 0.01


def test_values_in_the_middle_can_be_results():
    def make(graph):
        x = graph.linear(graph.tokens(), name="a")
        y = graph.linear(ops.relu(x), name="b")
        x.output(0).set_names({"middle"})
        y.output(0).set_names({"last", "another name"})
        return [y, x, ops.add(x, y)]

    graph, original, model = twice(make)
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert len(result.programs) == 1 and len(result.programs[0].program.outputs) == 3
    names = [port.get_names() for port in model.outputs]
    assert names[:2] == [{"last", "another name"}, {"middle"}]
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_shapes_are_asked_of_the_inputs():
    def make(graph):
        x = graph.tokens()
        y = graph.linear(ops.relu(graph.linear(x, name="a")), name="b")
        length = ops.gather(ops.shape_of(y, "i64"), ops.constant(1), ops.constant(0))
        return [ops.divide(y, ops.convert(length, "f32"))]

    graph, original, model = twice(make)
    rewrite_here(model, kernels_of(model, ELEMENT))
    asked = next(node for node in model.get_ordered_ops() if node.get_type_name() == "ShapeOf")
    assert asked.input_value(0).get_node().get_type_name() == "Parameter"
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_why_a_layer_was_left_out():
    graph = Graph()
    x = graph.tokens()
    weight = graph.int8_weight(HIDDEN, HIDDEN)
    plain = ops.matmul(x, weight, False, True, name="not quantized")
    model = graph.model(graph.quantized(x, name="levels", levels=255), plain, graph.linear(x, name="float"))
    result = rewrite_here(model, {"levels": BLOCK4, "not quantized": BLOCK4, "float": BLOCK4})
    why = "block4 computes with 8 bits, and the model does not quantize the activations"
    expected = {"levels": "FakeQuantize has 255 levels, not 256", "not quantized": why, "float": why}
    assert result.left_out == expected and result.programs == ()
    assert "Program" not in types(model)


def test_weight_only_int8_in_float32_and_with_dynamic_quantization():
    def make(graph):
        return [ops.matmul(graph.tokens(), graph.int8_weight(16, HIDDEN), False, True, name="a")]

    graph, original, model = twice(make)
    result = rewrite_here(model, {"a": ELEMENT})
    (step,) = result.programs[0].program.steps
    assert step.weights.values.dtype == np.float32 and step.scales is None and step.quantization is None
    assert difference(original, model, graph.feed(2, 5)) < 1e-5
    graph, original, model = twice(make)
    result = rewrite_here(model, {"a": BLOCK4}, dynamic=True)
    (step,) = result.programs[0].program.steps
    assert step.weights.values.dtype == np.int8 and (step.quantization.low, step.quantization.high) == (None, None)
    assert 1e-6 < difference(original, model, graph.feed(2, 5)) < 0.02


@pytest.mark.parametrize("kernel", [Kernel("element"), Kernel("element", 8), Kernel("block4", 2)])
def test_kernels_are_as_asked(kernel):
    graph, original, model = twice(lambda graph: [graph.quantized(graph.tokens(), 16, "a")])
    result = rewrite_here(model, {"a": kernel})
    (step,) = result.programs[0].program.steps
    assert (step.weights.rows, step.weights.columns) == (kernel.rows, kernel.columns)
    assert difference(original, model, graph.feed(2, 5)) < 0.01


def test_a_layer_that_is_not_there():
    graph = Graph()
    model = graph.model(graph.linear(graph.tokens(), name="a"))
    with pytest.raises(OptkitError, match="^b: the model has no such linear layer: "):
        rewrite(model, {"b": ELEMENT}, create_node=in_numpy)
    assert "MatMul" in types(model)


def test_nothing_asked_changes_nothing():
    graph = Graph()
    model = graph.model(graph.linear(graph.tokens(), name="a"))
    before = types(model)
    result = rewrite(model, {}, create_node=in_numpy)
    assert (result.programs, result.left_out, types(model)) == ((), {}, before)


def test_the_names_of_nodes_and_programs():
    graph = Graph()
    x = graph.tokens()
    model = graph.model(graph.linear(ops.sin(graph.linear(x, name="a")), name="b"))
    result = rewrite(model, kernels_of(model, ELEMENT), create_node=in_numpy)
    assert [placed.name for placed in result.programs] == ["Program_0", "Program_1"]
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    assert all(nodes[placed.name].get_name() == placed.node.get_name() for placed in result.programs)


def test_a_model_with_a_state():
    def make(graph):
        state = ops.read_value(ops.constant(np.zeros((1, 4, HIDDEN), np.float32)), "state", np.float32, [1, 4, HIDDEN])
        total = ops.add(graph.linear(graph.tokens((1, 4, HIDDEN)), name="a"), state)
        return state, total

    from rewritten import ov

    models, graphs = [], []
    for _ in range(2):
        graph = Graph()
        _, total = make(graph)
        results = [ops.result(graph.linear(total, name="b"))]
        models.append(ov.Model(results, [ops.assign(total, "state")], graph.parameters, "stateful"))
        graphs.append(graph)
    original, model = models
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert len(result.programs[0].program.outputs) == 2
    feed = graphs[0].feed(1, 4)
    for wanted, got in zip(run(original, feed, feed), run(model, feed, feed)):
        np.testing.assert_allclose(got[0], wanted[0], atol=1e-4)


def test_a_row_of_numbers_next_to_nothing_does_not_wrap_around():
    """A scale that is itself rounded would take 190 denormal steps to a byte beyond 127."""
    values = np.float32([[190 * 2.0**-149, -(2.0**-149), 0.0], [1.0, -2.0, 0.0]])
    stored, scales = quantize(values)
    np.testing.assert_allclose(stored * scales[:, None], values, atol=2.0 / 254)
    assert not (np.sign(stored) * np.sign(values) < 0).any() and not stored[0].any()
