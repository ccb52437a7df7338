from __future__ import annotations

import json

import numpy as np
import pytest

from optkit.cli.app import main
from optkit.ir.tags import LayerTag, Tags


@pytest.fixture
def optkit(capsys):
    def run(*arguments):
        try:
            main(["inspect", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code or 0
        else:
            code = 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def ir(tmp_path_factory, prune, save_ir):
    weight = (prune(np.random.default_rng(0), (64, 64), (1, 4), 0.75) * 100).astype(np.int8)
    weight[np.flatnonzero(weight[:, 0])[0], 0] = 0  # at least one zero of rounding
    int8 = float((weight == 0).mean())
    matmul = "__module.encoder.layer.0.a_rather_long_name_for_a_dense_layer_in_a_test/aten::linear/MatMul"
    parameter = "encoder.layer.0.a_rather_long_name_for_a_dense_layer_in_a_test.weight"
    tags = Tags((LayerTag(matmul, parameter, (64, 64), "1x4", 0.75, 0.75, int8),), 0.75)
    weights = {parameter.removesuffix(".weight"): weight}
    folder = tmp_path_factory.mktemp("inspect")
    return save_ir(folder / "tagged", weights, tags), save_ir(folder / "plain", weights), parameter, int8


def test_a_tagged_ir_shows_sparsity_before_and_after_int8(optkit, ir):
    tagged, _, parameter, int8 = ir
    code, out, err = optkit(tagged)
    assert (code, err) == (0, "")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("encoder.")]
    assert row[:5] == [parameter, "64x64", "1x4", "75.00", "%"]
    assert row[-2] == f"{100 * int8:.2f}"
    (total,) = [line.split() for line in out.splitlines() if "(all)" in line]
    assert total[3:] == [f"{round(int8 * 4096):,}", "4,096", f"{100 * int8:.2f}", "%"]


def test_what_compaction_took_is_shown_and_counts_as_zeros(optkit, ir, tmp_path, save_ir):
    weights = {"encoder.layer.0.up": np.ones((6, 4), np.float32), "head": np.ones((2, 4), np.float32)}
    matmul = "__module.encoder.layer.0.up/aten::linear/MatMul"
    tag = LayerTag(matmul, "encoder.layer.0.up.weight", (6, 4), "dense", 0.0, 0.0, original_shape=(8, 4))
    tags = Tags((tag,), 1.0, removed=(("encoder.layer.1.up.weight", (8, 4)),))
    code, out, err = optkit(save_ir(tmp_path, weights, tags))
    assert (code, err) == (0, "")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("encoder.")]
    assert row[:4] == ["encoder.layer.0.up.weight", "6x4", "of", "8x4"]
    totals = {
        line.split()[-5]: line.split()[-4:] for line in out.splitlines() if "_linear)" in line or "(linear)" in line
    }
    assert totals["(encoder_linear)"] == ["40", "64", "62.50", "%"]  # 8 and 32 of 32 and 32
    assert totals["(linear)"] == ["40", "72", "55.56", "%"]
    assert "note: compaction removed 1 linear weights altogether: they count as zeros" in out


def test_json_is_alone_on_stdout(optkit, ir):
    _, plain, parameter, int8 = ir
    code, out, err = optkit(plain / "openvino_model.xml", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    (layer,) = report["layers"]
    assert (layer["name"], layer["structure"], layer["int8_sparsity"]) == (parameter, "1x4", int8)
    assert layer["tagged_sparsity"] is None
    assert report["denominators"]["encoder_linear"] == {"zeros": round(int8 * 4096), "size": 4096, "sparsity": int8}
    assert len(report["notes"]) == 1


def test_what_is_no_model_is_one_line(optkit, tmp_path):
    code, out, err = optkit(tmp_path / "nowhere")
    said = "no such file or folder: give the folder of a checkpoint, an OpenVINO IR or an ONNX model (file or folder)"
    assert (code, out) == (2, "") and err.startswith(f"{tmp_path / 'nowhere'}: {said}") and err.count("\n") == 1
    assert optkit("org/name")[2].endswith("; for a model of the Hub, download it first: optkit pull org/name\n")
    (tmp_path / "notes.txt").touch()
    said = f"{tmp_path / 'notes.txt'}: not a model: its name ends neither in .xml nor in .onnx: give the folder of"
    assert optkit(tmp_path / "notes.txt")[2].startswith(said)
    code, out, err = optkit(tmp_path)
    assert (
        (code, out) == (2, "")
        and err.startswith(f"{tmp_path}: no model in this folder, none of model.safetensors, ")
        and err.count("\n") == 1
    )
