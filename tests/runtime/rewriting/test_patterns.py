"""Each pattern, between two linear layers, in the forms in which exporters write it; and what only looks like one."""

from __future__ import annotations

import math

import pytest
from graphs import HIDDEN, Graph, axes, fake_quantize, layer_norm, scalar
from rewritten import ELEMENT, difference, kernels_of, ops, rewrite_here, steps, types

LAST = axes(-1)


def between(make, shape=(-1, -1, HIDDEN), sizes=((2, 5), (1, 5))):
    """(rewrite, rewritten model) of linear, ``make``, linear; it must compute the same for inputs of ``sizes``."""
    built = []
    for _ in range(2):
        graph = Graph()
        x = graph.linear(graph.tokens(shape))
        built.append((graph, graph.model(graph.linear(make(graph, x)))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert difference(original, model, *(graph.feed(*each) for each in sizes)) < 1e-5
    return result, model


def mean(x):
    return ops.reduce_mean(x, LAST, True)


def centred(x):
    return ops.subtract(x, mean(x))


def variance(x, square: str):
    squares = {
        "power": lambda: ops.power(centred(x), scalar(2)),
        "multiply": lambda: (lambda d: ops.multiply(d, d))(centred(x)),
        "squared_difference": lambda: ops.squared_difference(x, mean(x)),
    }
    return ops.add(mean(squares[square]()), scalar(1e-5))


ROOTS = {
    "sqrt": lambda d, v: ops.divide(d, ops.sqrt(v)),
    "power": lambda d, v: ops.divide(d, ops.power(v, scalar(0.5))),
    "inverse_power": lambda d, v: ops.multiply(d, ops.power(v, scalar(-0.5))),
    "inverse_sqrt": lambda d, v: ops.multiply(ops.divide(scalar(1), ops.sqrt(v)), d),
}


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", ["power", "multiply", "squared_difference"])
def test_layer_norm_of_several_nodes(square, root):
    def make(graph, x):
        normal = ROOTS[root](centred(x), variance(x, square))
        return ops.add(ops.multiply(normal, ops.constant(graph.numbers(HIDDEN))), ops.constant(graph.numbers(HIDDEN)))

    result, model = between(make)
    assert steps(result) == [["Linear", "LayerNorm", "Linear"]]
    norm = result.programs[0].program.steps[1]
    assert norm.gamma is not None and norm.beta is not None and norm.epsilon == pytest.approx(1e-5)
    assert "ReduceMean" not in types(model)


@pytest.mark.parametrize(
    "make",
    [
        lambda graph, x: fake_quantize(x, scalar(-4), scalar(4), 1 << 20),
        lambda graph, x: fake_quantize(x, scalar(-3e38), scalar(3e38)),
        lambda graph, x: ops.clamp(ops.add(x, scalar(-math.inf)), -9.0, 9.0),
        lambda graph, x: ops.clamp(ops.divide(x, scalar(1e-42)), -9.0, 9.0),
        lambda graph, x: ops.mvn(x, LAST, True, 1e39, "inside_sqrt"),
    ],
    ids=["levels", "range", "infinite", "reciprocal", "epsilon"],
)
def test_numbers_that_a_program_cannot_hold_stay_openvinos(make):
    graph = Graph()
    model = graph.model(graph.linear(make(graph, graph.linear(graph.tokens()))))
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert steps(result) == [["Linear"], ["Linear"]]


def test_layer_norm_of_one_node_without_gamma():
    result, _ = between(lambda graph, x: ops.mvn(x, LAST, True, 1e-6, "inside_sqrt"))
    norm = result.programs[0].program.steps[1]
    assert norm.gamma is None and norm.beta is None


@pytest.mark.parametrize(
    "make",
    [
        lambda graph, x: ops.mvn(x, LAST, True, 1e-6, "outside_sqrt"),
        lambda graph, x: ops.mvn(x, LAST, False, 1e-6, "inside_sqrt"),
        lambda graph, x: ops.mvn(x, axes(1, 2), True, 1e-6, "inside_sqrt"),
        lambda graph, x: ops.divide(centred(x), ops.sqrt(variance(ops.multiply(x, scalar(2)), "power"))),
        lambda graph, x: ops.multiply(centred(x), ops.sqrt(variance(x, "power"))),
        lambda graph, x: ops.divide(centred(x), ops.sqrt(ops.add(mean(ops.multiply(centred(x), x)), scalar(9.0)))),
        lambda graph, x: ops.divide(ops.subtract(x, ops.reduce_mean(x, axes(1), True)), ops.sqrt(variance(x, "power"))),
    ],
)
def test_what_is_no_layer_norm(make):
    result, _ = between(make)
    assert "LayerNorm" not in sum(steps(result), [])


def mean_square(x, square="power", epsilon=1e-6, axis=LAST):
    squares = ops.power(x, scalar(2)) if square == "power" else ops.multiply(x, x)
    return ops.add(ops.reduce_mean(squares, axis, True), scalar(epsilon))


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", ["power", "multiply"])
@pytest.mark.parametrize("gain", [True, False])
def test_rms_norm(square, root, gain):
    def make(graph, x):
        normal = ROOTS[root](x, mean_square(x, square))
        return ops.multiply(ops.constant(graph.numbers(1, 1, HIDDEN)), normal) if gain else normal

    result, model = between(make)
    assert steps(result) == [["Linear", "RMSNorm", "Linear"]]
    norm = result.programs[0].program.steps[1]
    assert (norm.gamma is not None) == gain and norm.heads == 1 and norm.epsilon == pytest.approx(1e-6)
    assert "ReduceMean" not in types(model)


@pytest.mark.parametrize(
    "make",
    [
        lambda graph, x: ops.multiply(x, ops.sqrt(mean_square(x))),
        lambda graph, x: ops.divide(ops.relu(x), ops.sqrt(mean_square(x))),
        lambda graph, x: ops.divide(x, ops.sqrt(mean_square(x, axis=axes(1)))),
        lambda graph, x: ops.divide(x, ops.sqrt(ops.add(ops.reduce_mean(ops.abs(x), LAST, True), scalar(1.0)))),
        lambda graph, x: ops.divide(x, ops.sqrt(ops.reduce_sum(ops.multiply(x, x), LAST, True))),
        lambda graph, x: ops.divide(x, ops.sqrt(mean_square(ops.multiply(x, scalar(2.0))))),
    ],
    ids=["multiplied", "another", "of tokens", "absolute", "sum", "of twice"],
)
def test_what_is_no_rms_norm(make):
    result, _ = between(make)
    assert "RMSNorm" not in sum(steps(result), [])


def test_an_affine_shift_is_not_taken_into_an_rms_norm():
    def make(graph, x):
        return ops.add(ops.divide(x, ops.sqrt(mean_square(x))), ops.constant(graph.numbers(HIDDEN)))

    result, _ = between(make)
    assert steps(result) == [["Linear", "RMSNorm", "Affine", "Linear"]]


@pytest.mark.parametrize("act", [ops.gelu, ops.swish])
@pytest.mark.parametrize("split", [True, False])
def test_gated_products(act, split):
    def make(graph, x):
        if split:
            gate, wide = ops.split(graph.linear(x, 80), ops.constant(-1), 2).outputs()
        else:
            gate, wide = graph.linear(x, 40), graph.linear(x, 40)
        gate = act(gate, "erf") if act is ops.gelu else act(gate)
        return graph.linear(ops.multiply(gate, wide))

    result, model = between(make)
    assert steps(result) == [["Linear", "Linear", "Activation", "Linear", "Multiply", "Linear", "Linear"]]
    assert not {"Multiply", "Split"} & set(types(model))


def test_a_product_with_one_number_of_each_token_is_openvinos():
    result, model = between(lambda graph, x: ops.multiply(graph.linear(x), ops.sigmoid(graph.linear(x, 1))))
    assert "Multiply" not in sum(steps(result), []) and "Multiply" in types(model)


def erf(x, times=0.70710678):
    return ops.erf(ops.multiply(x, scalar(times)))


def cube(x):
    return ops.multiply(scalar(0.044715), ops.power(x, scalar(3)))


def tanh_argument(x):
    return ops.multiply(scalar(math.sqrt(2 / math.pi)), ops.add(x, cube(x)))


def factored_tanh_argument(x):
    square = ops.multiply(ops.multiply(x, x), scalar(0.044715))
    return ops.multiply(ops.multiply(x, scalar(0.7978845608)), ops.add(scalar(1), square))


GELUS = {
    "erf": ("gelu_erf", lambda x: ops.multiply(ops.multiply(x, scalar(0.5)), ops.add(erf(x), scalar(1)))),
    "erf, halved last": ("gelu_erf", lambda x: ops.multiply(ops.multiply(x, ops.add(scalar(1), erf(x))), scalar(0.5))),
    "erf, halved sum": ("gelu_erf", lambda x: ops.multiply(x, ops.multiply(scalar(0.5), ops.add(erf(x), scalar(1))))),
    "erf, quotients": (
        "gelu_erf",
        lambda x: ops.divide(
            ops.multiply(x, ops.add(ops.erf(ops.divide(x, scalar(math.sqrt(2)))), scalar(1))), scalar(2)
        ),
    ),
    "tanh": (
        "gelu_tanh",
        lambda x: ops.multiply(ops.multiply(scalar(0.5), x), ops.add(ops.tanh(tanh_argument(x)), scalar(1))),
    ),
    "tanh, factored": (
        "gelu_tanh",
        lambda x: ops.multiply(ops.multiply(x, scalar(0.5)), ops.add(ops.tanh(factored_tanh_argument(x)), scalar(1))),
    ),
}


@pytest.mark.parametrize("form", GELUS)
def test_gelu_of_several_nodes(form):
    name, make = GELUS[form]
    result, model = between(lambda graph, x: make(x))
    assert steps(result) == [["Linear", "Activation", "Linear"]]
    assert result.programs[0].program.steps[1].kind == name
    assert not {"Erf", "Tanh"} & set(types(model))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: ops.multiply(ops.multiply(x, scalar(0.5)), ops.add(erf(x, 0.7), scalar(1))),
        lambda x: ops.multiply(ops.multiply(x, scalar(0.4)), ops.add(erf(x), scalar(1))),
        lambda x: ops.multiply(ops.multiply(x, scalar(0.5)), ops.add(erf(x), scalar(2))),
        lambda x: ops.multiply(ops.multiply(ops.relu(x), scalar(0.5)), ops.add(erf(x), scalar(1))),
    ],
)
def test_what_is_no_gelu(make):
    result, model = between(lambda graph, x: make(x))
    assert "Erf" in types(model)
    assert not any(getattr(step, "kind", "") == "gelu_erf" for p in result.programs for step in p.program.steps)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("gelu_erf", lambda x: ops.gelu(x, "erf")),
        ("gelu_tanh", lambda x: ops.gelu(x, "tanh")),
        ("relu", ops.relu),
        ("tanh", ops.tanh),
        ("sigmoid", ops.sigmoid),
        ("silu", ops.swish),
        ("silu", lambda x: ops.swish(x, scalar(1))),
        ("silu", lambda x: ops.multiply(x, ops.sigmoid(x))),
    ],
)
def test_activations(name, make):
    result, _ = between(lambda graph, x: make(x))
    assert [step.kind for step in result.programs[0].program.steps if hasattr(step, "kind")] == [name]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: ops.swish(x, scalar(1.702)),
        lambda x: ops.multiply(x, ops.sigmoid(ops.multiply(scalar(1.702), x))),
        lambda x: ops.multiply(ops.sigmoid(ops.multiply(x, scalar(1.702))), x),
    ],
)
def test_swish_with_another_beta(make):
    result, _ = between(lambda graph, x: make(x))
    assert steps(result) == [["Linear", "Affine", "Activation", "Affine", "Linear"]]
    assert result.programs[0].program.steps[2].kind == "silu"


def test_a_gate_of_another_value_is_no_swish():
    result, _ = between(lambda graph, x: ops.multiply(x, ops.sigmoid(ops.relu(x))))
    kinds = [step.kind for step in result.programs[0].program.steps if type(step).__name__ == "Activation"]
    assert kinds == ["relu", "sigmoid"]


AFFINES = {
    "add": lambda x, c: ops.add(c, x),
    "subtract": lambda x, c: ops.subtract(x, c),
    "subtract from": lambda x, c: ops.subtract(c, x),
    "multiply": lambda x, c: ops.multiply(x, c),
    "divide": lambda x, c: ops.divide(x, c),
}


@pytest.mark.parametrize("form", AFFINES)
@pytest.mark.parametrize("shape", [(), (1,), (HIDDEN,), (1, 1, HIDDEN)])
def test_constants(form, shape):
    result, _ = between(lambda graph, x: ops.relu(AFFINES[form](ops.relu(x), ops.constant(graph.numbers(*shape)))))
    assert steps(result) == [["Linear", "Activation", "Affine", "Activation", "Linear"]]


def test_constants_one_after_the_other_are_one_step():
    def make(graph, x):
        x = ops.multiply(ops.add(ops.relu(x), ops.constant(graph.numbers(HIDDEN))), ops.constant(graph.numbers(HIDDEN)))
        return ops.subtract(x, ops.constant(graph.numbers(HIDDEN)))

    result, _ = between(make)
    assert steps(result) == [["Linear", "Activation", "Affine", "Linear"]]


def test_a_constant_of_more_dimensions_is_openvinos():
    def make(graph, x):
        return ops.add(ops.relu(x), ops.constant(graph.numbers(1, 1, HIDDEN)))

    result, _ = between(make, (-1, HIDDEN), sizes=((7,),))
    assert len(result.programs) == 2


def test_a_constant_divided_is_openvinos():
    result, _ = between(lambda graph, x: ops.divide(ops.constant(graph.numbers(HIDDEN)), ops.sigmoid(x)))
    assert len(result.programs) == 2


def test_biases_and_scales_are_folded():
    def make(graph, x):
        x = ops.add(x, ops.constant(graph.numbers(HIDDEN)))  # a second bias
        x = layer_norm(graph, x)
        return ops.multiply(x, ops.constant(graph.numbers(HIDDEN)))  # into gamma and beta

    result, _ = between(make)
    assert steps(result) == [["Linear", "LayerNorm", "Linear"]]


def test_nothing_is_folded_into_a_value_that_others_read():
    def make(graph, x):
        shifted = ops.add(x, ops.constant(graph.numbers(HIDDEN)))
        return ops.add(ops.relu(shifted), x)

    result, _ = between(make)
    assert steps(result) == [["Linear", "Affine", "Activation", "Add", "Linear"]]


def test_a_fake_quantize_per_tensor():
    result, _ = between(lambda graph, x: ops.relu(fake_quantize(x, -3.0, 2.5, 64)))
    step = result.programs[0].program.steps[1]
    assert (step.low, step.high, step.levels) == (-3.0, 2.5, 64)


def test_a_residual():
    result, _ = between(lambda graph, x: ops.add(graph.linear(ops.relu(x)), x))
    assert steps(result) == [["Linear", "Activation", "Linear", "Add", "Linear"]]
    assert len(result.programs[0].program.inputs) == 1


@pytest.mark.parametrize("shape", [(-1, -1, HIDDEN), (1, -1, HIDDEN), (-1, -1, 1)])
def test_a_sum_that_may_repeat_one_of_its_terms_is_openvinos(shape):
    result, model = between(lambda graph, x: ops.add(x, graph.tokens(shape)))
    assert len(result.programs) == 2
    assert types(model).count("Add") == 1


def test_a_sum_of_values_of_equal_known_shape_is_no_such():
    result, _ = between(lambda graph, x: ops.add(x, graph.tokens((2, 5, HIDDEN))), (2, 5, HIDDEN))
    assert steps(result) == [["Linear", "Add", "Linear"]]
    assert len(result.programs[0].program.inputs) == 2


def test_positions_that_are_constants_are_openvinos():
    result, _ = between(lambda graph, x: ops.add(x, ops.constant(graph.numbers(1, 5, HIDDEN))), (-1, 5, HIDDEN))
    assert len(result.programs) == 2


@pytest.mark.parametrize("form", ["split", "variadic", "slice"])
def test_one_layer_whose_output_is_divided_becomes_several(form):
    cuts = (0, 8, 16, 24)

    def make(graph, x):
        if form == "split":
            parts = ops.split(ops.relu(x), ops.constant(2), 3).outputs()
        elif form == "variadic":
            parts = ops.variadic_split(ops.relu(x), ops.constant(-1), axes(8, 8, 8)).outputs()
        else:
            spans = [(axes(a), axes(b), axes(1), axes(2)) for a, b in zip(cuts, cuts[1:])]
            parts = [ops.slice(ops.relu(x), *span) for span in spans]
        return ops.add(ops.add(parts[0], ops.tanh(parts[1])), ops.sigmoid(parts[2]))

    result, model = between(make)
    linears = [step for step in result.programs[0].program.steps if type(step).__name__ == "Linear"]
    assert [step.weights.shape for step in linears] == [(8, HIDDEN)] * 3 + [(HIDDEN, 8)]
    assert len(result.programs) == 1 and len(result.programs[0].layers) == 2
    assert not {"Split", "VariadicSplit", "Slice"} & set(types(model))


def test_tokens_of_two_and_of_four_dimensions():
    for shape, sizes in (((-1, HIDDEN), (7,)), ((-1, 3, -1, HIDDEN), (2, 3, 5))):
        result, _ = between(lambda graph, x: ops.relu(x), shape=shape, sizes=(sizes,))
        assert steps(result) == [["Linear", "Activation", "Linear"]]
