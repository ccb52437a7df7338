from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optkit.errors import OptkitError
from optkit.ir.io import read_model
from optkit.ir.tags import (
    LayerTag,
    Tags,
    pairs_to_tags,
    read_tags,
    suggest_decompression_rate,
    tags_to_pairs,
    write_tags,
)

ROOT = Path(__file__).parents[2]
WEIGHTS = {f"net.layer.{i}": np.ones((64, 64), np.int8) for i in (10, 2)} | {"head": np.ones((2, 64), np.float32)}


def _tag(module, shape=(64, 64), structure="1x4", int8_sparsity=0.8125):
    matmul = f"__module.{module}/aten::linear/MatMul"
    return LayerTag(matmul, f"{module}.weight", shape, structure, 0.8, 2 / 3, int8_sparsity)


TAGS = Tags(
    (_tag("net.layer.10"), _tag("net.layer.2"), _tag("head", (2, 64), "dense", None)),
    decompression_rate=0.81,
    recipe_hash="c0ffee",
    optkit_version="1.2.3",
)


@pytest.fixture(scope="module")
def ir(tmp_path_factory, save_ir):
    return save_ir(tmp_path_factory.mktemp("tagged"), WEIGHTS, TAGS)


def test_tags_come_back_from_the_file_in_natural_order(ir):
    tags = read_tags(ir)
    assert tags == TAGS == read_tags(ir / "openvino_model.xml") == read_tags(read_model(ir))
    assert [layer.parameter for layer in tags.layers] == ["head.weight", "net.layer.2.weight", "net.layer.10.weight"]
    assert tags.layers[1].block_sparsity == 0.666667 and tags.layers[0].int8_sparsity is None


def test_every_structure_comes_back(tmp_path, save_ir):
    names = ["dense", "element", "row", "column", "32x1", "2x4", "4x4", "8x4", "16x4", "32x4", "2:4"]
    tags = Tags(tuple(_tag(f"net.{i}", structure=name) for i, name in enumerate(names)), 0.81, optkit_version="1")
    weights = {f"net.{i}": np.ones((64, 64), np.int8) for i in range(len(names))}
    assert [layer.structure for layer in read_tags(save_ir(tmp_path, weights, tags)).layers] == names


def test_the_written_text_is_the_documented_one(ir):
    text = (ir / "openvino_model.xml").read_text()
    block = re.search(r"<optkit>.*</optkit>", text, re.DOTALL)[0]
    assert re.findall(r'<(\w+) value="([^"]*)"', block[: block.index("<layers>")] + block.split("</layers>")[1]) == [
        ("format_version", "1"),
        ("optkit_version", "1.2.3"),
        ("recipe_hash", "c0ffee"),
        ("sparse_weights_decompression_rate", "0.81"),
    ]
    layer = block.split('name="__module.net.layer.2/aten::linear/MatMul"')[1].split("</info>")[0]
    assert dict(re.findall(r'<(\w+) value="([^"]*)"', layer)) == {
        "parameter": "net.layer.2.weight",
        "shape": "64x64",
        "structure": "1x4",
        "sparsity": "0.800000",
        "block_sparsity": "0.666667",
        "int8_sparsity": "0.812500",
    }


def test_what_compaction_took_is_told(tmp_path, save_ir):
    """64x64 left of 128x256, 80 % of it zero: 87.5 % is gone, and of the eighth that is left 80 % is zero, 97.5 %."""
    reduced = replace(_tag("net.layer.2"), original_shape=(128, 256))
    assert reduced.original_sparsity == 0.975 and _tag("head").original_sparsity == 0.8
    removed = (("net.layer.1.weight", (64, 32)), ("net.layer.0.up.weight", (8, 4)))
    tags = Tags((reduced, _tag("net.layer.10")), 0.81, optkit_version="1", removed=removed)
    model = read_model(save_ir(tmp_path, WEIGHTS, tags))
    assert read_tags(model) == tags and tags.removed == tuple(sorted(removed))
    layer = model.get_rt_info()["optkit"]["layers"]["__module.net.layer.2/aten::linear/MatMul"]
    assert (layer["original_shape"].value, layer["original_sparsity"].value) == ("128x256", "0.975000")
    for value, path, fault in (
        ("32x256", ["layers", LAYER, "original_shape"], f"{LAYER}: original_shape is smaller than shape"),
        ("big", ["layers", LAYER, "original_shape"], "original_shape is 'big', not OUTxIN"),
        ("0x1", ["removed", "net.layer.1.weight", "shape"], "net.layer.1.weight: shape is '0x1', not OUTxIN"),
        ("x", ["removed", "another"], "another is no mapping"),
    ):
        changed = read_model(tmp_path)
        changed.set_rt_info(value, ["optkit", *path])
        with pytest.raises(OptkitError) as caught:
            read_tags(changed)
        assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_the_reader_in_the_documentation_works(ir, tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "ir-tags.md").read_text(), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line]) <= 10
    command = [sys.executable, "-c", code, str(ir / "openvino_model.xml")]
    environment = {"PATH": "", "HOME": str(tmp_path), "CI": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert sorted(done.stdout.splitlines()) == [
        "head.weight dense 0.800000 __module.head/aten::linear/MatMul",
        "net.layer.10.weight 1x4 0.800000 __module.net.layer.10/aten::linear/MatMul",
        "net.layer.2.weight 1x4 0.800000 __module.net.layer.2/aten::linear/MatMul",
    ]


def test_an_ir_without_tags_has_none(tmp_path, save_ir):
    assert read_tags(save_ir(tmp_path, {"head": WEIGHTS["head"]})) is None
    with pytest.raises(OptkitError, match="no such file or folder"):
        read_tags(tmp_path / "nowhere")


LAYER = "__module.net.layer.2/aten::linear/MatMul"


@pytest.mark.parametrize(
    ("value", "path", "fault"),
    [
        ("2", ["format_version"], "format 2 is newer than this optkit reads (up to 1): upgrade optkit"),
        ("one", ["format_version"], "format_version is 'one', not a number"),
        ("1.5", ["sparse_weights_decompression_rate"], "is '1.5', not a share between 0 and 1"),
        ("nan", ["layers", LAYER, "sparsity"], f"{LAYER}: sparsity is 'nan', not a share between 0 and 1"),
        ("-0.5", ["layers", LAYER, "int8_sparsity"], "int8_sparsity is '-0.5'"),
        ("64x0", ["layers", LAYER, "shape"], f"{LAYER}: shape is '64x0', not OUTxIN"),
        ("../..", ["layers", LAYER, "structure"], "structure is '../..', not dense, element, row, column, RxC or N:M"),
        ("x", ["layers", "another"], "another is no mapping"),
        ("0.5", ["layers", "another", "sparsity"], "another: shape is missing"),
    ],
)
def test_tags_that_break_the_format_are_one_clear_line(ir, value, path, fault):
    model = read_model(ir)
    model.set_rt_info(value, ["optkit", *path])
    with pytest.raises(OptkitError) as caught:
        read_tags(model)
    assert str(caught.value).startswith("model: its optkit tags cannot be used: ") and fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tags_that_are_no_mapping_are_refused(tmp_path, save_ir):
    model = read_model(save_ir(tmp_path, {"head": WEIGHTS["head"]}))
    model.set_rt_info("yes", "optkit")
    with pytest.raises(OptkitError, match="they are no mapping"):
        read_tags(model)


def test_a_model_without_layers_may_be_tagged(tmp_path, save_ir):
    model = read_model(save_ir(tmp_path, {"head": WEIGHTS["head"]}))
    write_tags(model, Tags((), 1.0, optkit_version="1"))
    assert read_tags(model) == Tags((), 1.0, optkit_version="1")


def test_the_suggested_rate_packs_every_pruned_layer_and_no_other():
    layers = [
        _tag("a", shape=(64, 128), int8_sparsity=0.8199),
        _tag("b", shape=(64, 128), int8_sparsity=0.9),
        _tag("c", structure="dense", int8_sparsity=0.7),  # zeros of rounding
        _tag("d", int8_sparsity=0.3),  # too few to be worth packing
        _tag("e", shape=(64, 96), int8_sparsity=0.6),  # OpenVINO packs multiples of 64 only
    ]
    assert suggest_decompression_rate(layers) == 0.81
    assert suggest_decompression_rate([replace(layers[0], int8_sparsity=0.57)]) == 0.57  # 0.57 * 100 is below 57
    assert suggest_decompression_rate(layers[2:]) == 1.0
    assert suggest_decompression_rate([replace(layers[0], int8_sparsity=None)]) == 1.0


@pytest.mark.parametrize(
    ("shape", "structure", "sparsity", "rate"),
    [
        ((64, 64), "1x4", 0.95, 1.0),
        ((64, 64), "dense", 0.85, 1.0),  # OpenVINO looks at the zeros alone
        ((64, 64), "dense", 0.5, 0.81),
        ((64, 128), "1x4", 0.95, 0.81),
        ((128, 128), "1x4", 0.95, 0.81),
    ],
)
def test_no_rate_is_suggested_where_openvino_would_pack_a_layer_that_it_breaks(shape, structure, sparsity, rate):
    layers = [_tag("a", shape=(64, 128), int8_sparsity=0.8199), _tag("b", shape, structure, sparsity)]
    assert suggest_decompression_rate(layers) == rate


def test_layers_are_in_natural_order_whatever_their_names_hold():
    names = ["net.²", "net.10", "net.2", "net.٣"]
    assert [tag.parameter for tag in Tags(tuple(map(_tag, names)), 1.0).layers] == [
        "net.2.weight",
        "net.٣.weight",
        "net.10.weight",
        "net.².weight",
    ]


def test_tags_come_back_from_keys_and_values():
    layer = LayerTag("/a/b.0/c:1/MatMul", "b.0.weight", (8, 4), "1x4", 0.5, 0.5, 0.625, original_shape=(16, 4))
    tags = Tags((layer,), 0.62, "c0ffee", "1.0", removed=(("gone/with.weight", (2, 2)),))
    pairs = tags_to_pairs(tags)
    assert pairs["optkit/layers//a/b.0/c:1/MatMul/int8_sparsity"] == "0.625000"
    assert pairs["optkit/removed/gone/with.weight/shape"] == "2x2" and len(pairs) == 13
    assert pairs_to_tags(pairs | {"optkitty": "x", "layers/a": "y"}, "here") == tags
    head = {key: value for key, value in pairs.items() if "/layers/" not in key}
    for given, said in (
        ({**pairs, "optkit/format_version": "2"}, "format 2 is newer"),
        ({**head, "optkit/layers": "none"}, "layers is no mapping"),
        ({**pairs, "optkit/layers//a/b.0/c:1/MatMul/shape": "8"}, "shape is '8', not OUTxIN"),
        ({**pairs, "optkit/layers/shape": "8x4"}, "structure is missing"),
    ):
        with pytest.raises(OptkitError, match=f"^here: its optkit tags cannot be used: .*{said}"):
            pairs_to_tags(given, "here")
