"""Which backends can run each kind of path, and the reason where one cannot."""

from __future__ import annotations

import json
import shutil

import pytest
from capabilities import need

from optkit.benchmark.backend_support import backend_support
from optkit.benchmark.backends import BACKENDS
from optkit.errors import OptkitError, UsageError

#: What runs an fp32 checkpoint: by itself, and after an export.
DENSE = [("torch", False), ("torch-compile", False), ("torch-compile-bf16", False), ("onnxruntime", True)]
DENSE += [(name, True) for name in ("onnxruntime-int8", "onnxruntime-int8-dynamic", "ctranslate2-int8")]
DENSE += [("openvino", True), ("openvino-f32", True)]
#: It takes a folder of its own alone.
TVM = {"tvm": "give the folder that `optkit compile` made"}


def told(path):
    return [(model.kind, model.backend, model.source.kind, model.exported) for model in backend_support(path).models]


def test_a_run(run_folder):
    found = backend_support(run_folder)
    assert told(run_folder) == [
        *(("dense", backend, "checkpoint", exported) for backend, exported in DENSE),
        ("int8 IR", "openvino-int8", "ir", False),
        ("int8 IR", "openvino-int8-f32", "ir", False),
        ("int8 IR", "optkit", "ir", False),
    ]
    assert {model.source.path for model in found.models} == {
        run_folder / "dense",
        run_folder / "openvino" / "openvino_model.xml",
    }
    assert found.unsupported == TVM


def test_a_run_whose_ir_is_fp32_times_it_beside_the_dense_one(run_folder, fp32_ir):
    shutil.rmtree(run_folder / "openvino")
    shutil.copytree(fp32_ir, run_folder / "openvino")
    models = [(model.kind, model.backend) for model in backend_support(run_folder).models]
    assert models == [
        *(("dense", backend) for backend, _ in DENSE[:-1]),
        ("fp32 IR", "openvino"),
        ("dense", "openvino-f32"),
        ("fp32 IR", "openvino-f32"),
        ("fp32 IR", "optkit"),
    ]
    said = f"{run_folder} exported an fp32 IR"
    assert backend_support(run_folder).unsupported == {"openvino-int8": said, "openvino-int8-f32": said} | TVM


def test_a_run_that_was_moved_finds_the_baseline_that_it_trained(run_folder, tmp_path):
    moved = run_folder.rename(tmp_path / "moved")
    assert backend_support(moved).models[0].source.path == moved / "dense"


def test_a_run_without_its_baseline_says_so(run_folder):
    report = run_folder / "report.json"
    report.write_text(json.dumps({"format": 1, "folders": {"dense": "/nowhere/teacher"}}))
    found = backend_support(run_folder)
    assert [model.backend for model in found.models] == ["openvino-int8", "openvino-int8-f32", "optkit"]
    assert found.unsupported["torch"] == (
        f"the dense baseline of {run_folder} is not at /nowhere/teacher any more: name its checkpoint as another path"
    )
    report.write_text(json.dumps({"format": 1, "folders": {}}))
    assert (
        backend_support(run_folder)
        .unsupported["openvino"]
        .startswith(f"{run_folder} has no dense baseline: name a checkpoint")
    )


def test_a_run_that_is_not_finished_or_damaged_is_a_line(run_folder):
    (run_folder / "report.json").write_text("[]")
    with pytest.raises(OptkitError, match="report.json: not a report that this optkit can read"):
        backend_support(run_folder)
    shutil.rmtree(run_folder / "openvino")
    with pytest.raises(UsageError, match="this run has no IR in openvino/ yet: finish it with `optkit run`"):
        backend_support(run_folder)


def test_a_checkpoint(tiny_checkpoint):
    assert told(tiny_checkpoint) == [
        *(("checkpoint", backend, "checkpoint", exported) for backend, exported in DENSE),
    ]
    said = f"{tiny_checkpoint} is a checkpoint: give its IR"
    told_of_others = dict.fromkeys(("openvino-int8", "openvino-int8-f32", "optkit"), said)
    assert backend_support(tiny_checkpoint).unsupported == told_of_others | TVM


def test_irs(fp32_ir, encoder_folder):
    names = ("openvino", "openvino-f32", "optkit")
    assert told(fp32_ir) == [("fp32 IR", backend, "ir", False) for backend in names]
    assert told(encoder_folder / "openvino_model.xml") == [
        *(("int8 IR", backend, "ir", False) for backend in ("openvino-int8", "openvino-int8-f32", "optkit"))
    ]
    assert backend_support(fp32_ir).unsupported["openvino-int8"] == f"{fp32_ir} is an fp32 IR"


def test_a_baked_ir_is_for_optkit_alone(encoder_folder, tmp_path):
    from optkit import runtime

    need("extension")
    runtime.bake(encoder_folder, tmp_path / "baked", plan="static")
    assert told(tmp_path / "baked") == [("baked IR", "optkit", "ir", False)]


def test_onnx(tiny_checkpoint, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x" * 10)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 90)
    for path in (tmp_path, tmp_path / "model.onnx"):
        (model,) = backend_support(path).models
        assert (model.kind, model.backend, model.setup) == ("ONNX", "onnxruntime", tmp_path)
        assert model.source.size() == 100
    assert set(backend_support(tmp_path).unsupported) == set(BACKENDS) - {"onnxruntime"}


def test_what_a_deployment_carries(run_folder):
    from optkit.report.collection import weight_bytes

    for model in backend_support(run_folder).models:
        assert model.source.size() == weight_bytes(_folder(model))
    names = {file.name for model in backend_support(run_folder).models for file in model.source.files()}
    assert names == {"model.safetensors", "openvino_model.xml", "openvino_model.bin"}


def _folder(model):
    return model.source.path if model.source.path.is_dir() else model.source.path.parent


@pytest.mark.parametrize("name", ["nowhere/at/all", "empty", "notes.txt"])
def test_rubbish_is_one_line(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(OptkitError) as raised:
        backend_support(tmp_path / name)
    assert "\n" not in str(raised.value) and str(tmp_path / name) in str(raised.value)


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="an adapter is no model by itself: merge it"):
        backend_support(tmp_path)
