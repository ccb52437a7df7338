"""A variant's id is read back as the same variant; names of earlier releases are read as what they meant."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from optkit.variant import DENSE, PRUNED, Engine, Model, Precision, Variant, VariantId, migrate_name

ALL = [Variant(*parts) for parts in product(get_args(Model), get_args(Precision), get_args(Engine), (False, True))]


def test_ids_are_read_back_and_differ():
    assert [Variant.parse(each.id) for each in ALL] == ALL
    assert len({each.id for each in ALL}) == len(ALL)


@pytest.mark.parametrize(
    "text", ["", "int8 optkit", "pruned", "pruned/int8", "pruned/int8/openvino/", "pruned/int4/openvino", "a/b/c/d/e"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="is no variant: expected such as pruned/int8/openvino"):
        Variant.parse(text)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        (DENSE, "dense, PyTorch"),
        (DENSE.on("openvino").hinted(), "dense, OpenVINO with the f32 hint"),
        (PRUNED, "pruned, PyTorch"),
        (Variant("compact", "fp32", "torch"), "compacted, PyTorch"),
        (PRUNED.on("openvino"), "fp32 IR, OpenVINO"),
        (Variant("pruned", "int8", "optkit"), "int8, optkit"),
        (Variant("pruned", "int8_weights", "openvino"), "int8 weights, OpenVINO"),
        (Variant("dense", "int8_dynamic", "onnxruntime"), "dense int8 dynamic, ONNX Runtime"),
        (Variant("dense", "bf16", "torch-compile"), "dense bf16, torch.compile"),
    ],
)
def test_labels(variant, said):
    assert variant.label == said


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("dense", "dense/fp32/torch"),
        ("dense torch", "dense/fp32/torch"),
        ("dense openvino", "dense/fp32/openvino"),
        ("dense openvino f32", "dense/fp32/openvino/f32"),
        ("pruned", "pruned/fp32/torch"),
        ("pruned torch", "pruned/fp32/torch"),
        ("compact torch", "compact/fp32/torch"),
        ("int8", "pruned/int8/openvino"),
        ("int8 f32", "pruned/int8/openvino/f32"),
        ("int8 openvino", "pruned/int8/openvino"),
        ("int8 openvino f32", "pruned/int8/openvino/f32"),
        ("int8 optkit", "pruned/int8/optkit"),
        ("int8 onnx", "pruned/int8/onnxruntime"),
        ("openvino", "pruned/fp32/openvino"),
        ("openvino f32", "pruned/fp32/openvino/f32"),
        ("optkit", "pruned/fp32/optkit"),
        ("onnx", "pruned/fp32/onnxruntime"),
        ("pruned/int8/optkit", "pruned/int8/optkit"),
    ],
)
def test_names_of_earlier_releases(name, id):
    assert migrate_name(name).id == id
    assert migrate_name(name, int8="int8_weights").id == (id if "/" in name else id.replace("int8", "int8_weights"))


@pytest.mark.parametrize("name", ["torch", "dense f32", "int8 optkit f32", "examples"])
def test_names_that_no_release_wrote(name):
    with pytest.raises(ValueError, match="is no variant"):
        migrate_name(name)


class _Times(BaseModel):
    model_config = ConfigDict(extra="forbid")

    against: VariantId
    milliseconds: dict[VariantId, float]


def test_in_json():
    times = _Times(against=DENSE, milliseconds={DENSE: 2.0, PRUNED: 1.0})
    text = times.model_dump_json()
    assert text == '{"against":"dense/fp32/torch","milliseconds":{"dense/fp32/torch":2.0,"pruned/fp32/torch":1.0}}'
    assert _Times.model_validate_json(text) == times == _Times.model_validate(times.model_dump(mode="json"))
    with pytest.raises(ValidationError, match="is no variant"):
        _Times.model_validate_json('{"against": "dense", "milliseconds": {}}')
    assert _Times.model_json_schema()["properties"]["against"]["type"] == "string"
