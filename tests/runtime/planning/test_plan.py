"""Plans as JSON, whole and damaged."""

from __future__ import annotations

import json

import pytest

from optkit.errors import OptkitError
from optkit.runtime import Kernel, Plan


def test_a_plan_survives_json(plan):
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.layers[0].kernel == Kernel("element", 16)
    assert list(plan.layers[0].block4_densities) == [1, 2, 4, 8, 16, 32]
    assert plan.layers[0].block4_densities[1] == plan.layers[0].block4_density == 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.pop("isa"), "'isa' is missing"),
        (lambda data: data.update(more=1), "'more' is not known"),
        (lambda data: data.update(format=9), "its format is not 3"),
        (lambda data: data.update(mode="guess"), "mode is not one of static, measured"),
        (lambda data: data.update(layers={}), "layers is no list"),
        (lambda data: data.update(threads="2"), "threads is"),
        (lambda data: data.update(attention=1), "attention is 1"),
        (lambda data: data.update(decompression_rate=1.5), "decompression_rate is 1.5"),
        (lambda data: data.update(milliseconds={"a": -1}), "milliseconds holds no times"),
        (lambda data: data.update(shape=[1]), "shape is not two sizes"),
        (lambda data: data["layers"][0].update(shape=[0, 4]), "layer 0: shape is not two sizes"),
        (lambda data: data["layers"][0].update(density=float("nan")), "density is NaN"),
        (lambda data: data["layers"][0].update(rows=True), "rows is true"),
        (lambda data: data["layers"][0]["block4_densities"].pop("16"), "block4_densities of layer 0: '16' is missing"),
        (lambda data: data["layers"][0]["block4_densities"].update({"3": 0.5}), "layer 0: '3' is not known"),
        (lambda data: data["layers"][0]["block4_densities"].update({"4": 2}), "block4_densities of layer 0: 4 is 2"),
        (lambda data: data["layers"][0].update(block4_densities=0.5), "block4_densities of layer 0 is no mapping"),
        (lambda data: data["layers"][0]["kernel"].update(rows=3), "layer 0 has a kernel that does not exist"),
        (lambda data: data["layers"][0]["kernel"].update(name=["block4"]), "a kernel that does not exist"),
        (lambda data: data["layers"][0].update(kernel="block4"), "the kernel of layer 0 is no mapping"),
        (lambda data: data["layers"].append(3), "layer 2 is no mapping"),
        (lambda data: data["layers"].append(data["layers"][0]), "two of its layers have one name"),
    ],
)
def test_a_damaged_plan_is_refused_in_a_line(plan, change, said):
    data = plan.to_dict()
    data = json.loads(json.dumps(data))
    change(data)
    with pytest.raises(OptkitError, match="^no plan: ") as error:
        Plan.from_json(json.dumps(data))
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_json_object_is_no_plan(text):
    with pytest.raises(OptkitError, match="^no plan: "):
        Plan.from_json(text)
