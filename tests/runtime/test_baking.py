"""Baked IRs: what is in them, that they compute the same, and what is said of damaged ones."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from test_compiling import CONFIG, assert_same, inputs, missing, programs  # noqa: F401

from optkit import runtime
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, read_model, save_model
from optkit.ir.tags import LayerTag, Tags, read_tags, write_tags
from optkit.runtime import baking
from optkit.runtime import extension as library
from optkit.runtime.loading import new_core, read

UP, DOWN = (f"__module.encoder.layer.0.{name}/aten::linear/MatMul" for name in ("up", "down"))


@pytest.fixture
def baked(extension, encoder_folder, tmp_path):
    return runtime.bake(encoder_folder, tmp_path / "baked")


def test_a_baked_ir_computes_the_same_in_any_program_with_the_extension(baked, encoder_folder):
    core = import_openvino().Core()
    core.add_extension(str(runtime.extension_path()))
    compiled = core.compile_model(baked.xml, "CPU", CONFIG)
    assert programs(compiled) == len(baked.rewrite.programs) >= 1
    assert_same(compiled, read_model(encoder_folder))
    assert_same(runtime.compile_model(baked.xml.parent, CONFIG), read_model(encoder_folder))


def test_it_has_its_companions_and_nothing_else(baked, encoder_folder):
    folder = baked.xml.parent
    assert {file.name for file in folder.iterdir()} == {file.name for file in encoder_folder.iterdir()}
    assert [file.name for file in folder.parent.iterdir()] == ["baked"]
    for name in ("config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (encoder_folder / name).read_bytes()


SIDE_FILES = {
    "openvino_tokenizer.xml": b"<net/>",
    "openvino_tokenizer.bin": b"\0\1",
    "openvino_detokenizer.xml": b"<net/>",
    "openvino_detokenizer.bin": b"\0\2",
    "preprocessor_config.json": b"{}",
    "generation_config.json": b"{}",
    "added.tiktoken": b"x",
    "modules.json": b'[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "../elsewhere"}]',
    "1_Pooling/config.json": b"{}",
    "2_Dense/model.safetensors": b"weights of a module",
}


def test_every_side_file_goes_with_it_and_other_weights_do_not(extension, encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, source := tmp_path / "source" / "model")
    others = ["model.safetensors", "pytorch_model.bin", "model.onnx", ".cache", "runs/old.json", "../elsewhere/x.json"]
    for name, content in {**SIDE_FILES, **dict.fromkeys(others, b"other")}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content)
    folder = runtime.bake(source, tmp_path / "baked").xml.parent
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert set(found) == {file.name for file in encoder_folder.iterdir()} | set(SIDE_FILES)
    assert {name: found[name] for name in SIDE_FILES} == SIDE_FILES


@pytest.mark.parametrize("content", [b"{", b"{}", b"[1, {}]", b'[{"path": 3}, {"path": ".."}, {"path": "/etc"}]'])
def test_a_strange_modules_json_is_copied_and_not_followed(extension, encoder_folder, tmp_path, content):
    shutil.copytree(encoder_folder, tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_bytes(content)
    folder = runtime.bake(tmp_path / "model", tmp_path / "baked").xml.parent
    assert {file.name for file in folder.iterdir()} == {file.name for file in (tmp_path / "model").iterdir()}


def test_nothing_of_the_process_is_changed_for_the_folders_permissions(
    extension, encoder_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the mask of the whole process was set"))
    baked = runtime.bake(encoder_folder, tmp_path / "baked")
    (tmp_path / "plain").mkdir()
    assert baked.xml.parent.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_dense_weights_are_gone_from_it(baked, encoder_folder):
    def constants(folder, core):
        nodes = read(folder, core).get_ops()
        nodes = [node for node in nodes if node.get_type_name() == "Constant"]
        return [node for node in nodes if node.get_element_type().to_string() == "i8"]

    core = new_core()
    assert len(constants(encoder_folder, core)) == 2 and constants(baked.xml.parent, core) == []
    # A tenth of 32 KiB of int8 in blocks of 4, with 2 bytes for each block's place and 4 for each row's.
    before, after = ((folder / "openvino_model.bin").stat().st_size for folder in (encoder_folder, baked.xml.parent))
    assert 20_000 < before - after < 32_768
    assert (baked.bytes_before, baked.bytes_after) == tuple(
        sum((folder / f"openvino_model.{end}").stat().st_size for end in ("xml", "bin"))
        for folder in (encoder_folder, baked.xml.parent)
    )


def test_it_says_what_is_in_it_and_keeps_its_tags(extension, make_encoder, tmp_path):
    model, tag = make_encoder(), LayerTag(UP, "up.weight", (256, 64), "1x4", 0.9, 0.9, 0.91)
    write_tags(model, Tags((tag,), 0.9, "hash"))
    (tmp_path / "tagged").mkdir()
    save_model(model, tmp_path / "tagged")
    baked = runtime.bake(tmp_path / "tagged", tmp_path / "baked")
    found = read(baked.xml, new_core())
    tags = read_tags(found)
    assert tags.layers == (tag,) and tags.decompression_rate == 0.9 and tags.recipe_hash == "hash"
    for name, value in {
        "format_version": "1",
        "plan": "static",
        "planned_for": library.isa(),
        "dynamic": "false",
    }.items():
        assert found.get_rt_info(["optkit", "runtime", name]).astype(str) == value
    name = baked.rewrite.programs[0].name
    said = {"program": name, "kernel": "block4", "rows": "1"}
    assert baking.baked_layers(tmp_path / "baked") == {DOWN: said, UP: said}
    assert baking.baked_layers(tmp_path / "tagged") == {}


def test_an_untagged_ir_can_still_be_read_for_tags(baked):
    assert read_tags(read(baked.xml, new_core())).layers == ()


def test_the_same_bytes_each_time(baked, encoder_folder, tmp_path):
    again = runtime.bake(encoder_folder, tmp_path / "again")
    for end in ("xml", "bin"):
        assert again.xml.with_suffix(f".{end}").read_bytes() == baked.xml.with_suffix(f".{end}").read_bytes()


def test_layers_are_listed_in_natural_order():
    names = ["layer.10.a", "layer.2.b", "layer.2.a"]
    assert sorted(names, key=baking._natural_order) == ["layer.2.a", "layer.2.b", "layer.10.a"]


def test_it_loads_as_an_ovmodel(baked):
    model = runtime.load(baked.xml.parent, ov_config=CONFIG)
    assert programs(model.request) >= 1
    ids, mask = inputs(2, 9)
    assert model(input_ids=ids, attention_mask=mask).logits.shape == (2, 2)


def test_no_folder_is_written_over(extension, encoder_folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for output, said in {
        tmp_path / "full": "is not empty",
        tmp_path / "file": "is a file",
        encoder_folder: "holds the portable IR, which stays as it is",
        encoder_folder / "openvino_model.xml" / "..": "",
    }.items():
        with pytest.raises(OptkitError) as error:
            runtime.bake(encoder_folder, output)
        assert said in str(error.value)
    with pytest.raises(OptkitError, match="holds the portable IR"):
        runtime.bake(encoder_folder / "openvino_model.xml", encoder_folder)
    assert (tmp_path / "full" / "file").read_text() == "mine"


def test_an_empty_folder_is_filled(extension, encoder_folder, tmp_path):
    assert runtime.bake(encoder_folder, tmp_path).xml == tmp_path / "openvino_model.xml"


def test_nothing_is_left_of_what_fails(extension, encoder_folder, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baking, "_copy_companions", fail)
    with pytest.raises(OptkitError, match="baked: cannot be written: No space left on device"):
        runtime.bake(encoder_folder, tmp_path / "baked")
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_nothing_to_gain_it_says_so(extension, encoder_folder, make_encoder, save_ir, tmp_path):
    plan = runtime.plan(make_encoder(density=1.0), "static", isa="scalar")
    with pytest.raises(OptkitError, match="nothing to bake: 0 of 3 linear layers .* the portable IR is what to serve$"):
        runtime.bake(encoder_folder, tmp_path / "baked", plan=plan)
    empty = save_ir(tmp_path / "dense", {"a": np.ones((8, 8), np.float32)})
    with pytest.raises(OptkitError, match="nothing to bake: 0 of 1 linear layers"):
        runtime.bake(empty, tmp_path / "baked")
    assert not (tmp_path / "baked").exists()


def test_what_is_baked_is_not_baked_or_planned_for_again(baked, tmp_path):
    with pytest.raises(OptkitError, match="baked already: bake the portable IR that it was made from"):
        runtime.bake(baked.xml.parent, tmp_path / "again")
    with pytest.raises(OptkitError, match="^the model is baked"):
        runtime.plan(baked.xml)


@pytest.mark.parametrize(
    ("at", "damage", "said"),
    [
        (0, b"X", "does not begin with OPTKPROG"),
        (8, b"\xff", "format"),
        (16, b"\xff\xff\xff\xff", "damaged"),
        (64, b"\xff\xff\xff\xff", "damaged"),
    ],
)
def test_a_damaged_program_is_a_line(baked, at, damage, said):
    file = baked.xml.with_suffix(".bin")
    data = bytearray(file.read_bytes())
    begin = data.index(b"OPTKPROG") + at
    data[begin : begin + len(damage)] = damage
    file.write_bytes(data)
    for use in (runtime.compile_model, runtime.load):
        with pytest.raises(OptkitError) as error:
            use(baked.xml.parent)
        assert str(error.value).startswith(f"{baked.xml}: OpenVINO cannot read it (optkit: ")
        assert said in str(error.value) and "\n" not in str(error.value)


def test_weights_that_are_cut_short_or_gone(baked):
    file = baked.xml.with_suffix(".bin")
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(OptkitError, match="OpenVINO cannot read it"):
        runtime.compile_model(baked.xml)
    file.unlink()
    with pytest.raises(OptkitError, match="its weights openvino_model.bin are missing"):
        runtime.compile_model(baked.xml)


def test_a_baked_ir_without_the_extension_is_a_line(baked, missing, tmp_path):  # noqa: F811
    for use in (runtime.compile_model, runtime.load, runtime.plan):
        with pytest.raises(OptkitError) as error:
            use(baked.xml.parent)
        assert str(error.value).startswith(f"{baked.xml}: baked for optkit's sparse runtime, which is missing: ")
        assert "\n" not in str(error.value)
    with pytest.raises(OptkitError, match="the sparse runtime was not built"):
        runtime.bake(baked.xml.parent, tmp_path / "more")
