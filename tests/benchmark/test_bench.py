"""What is asked is checked before anything is loaded; what cannot run is told; the chart shows what was measured."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from capabilities import need

from optkit.benchmark import bench as bench_module
from optkit.benchmark.backend_support import backend_support
from optkit.benchmark.bench import bench
from optkit.benchmark.engines.base import Setting, Source
from optkit.benchmark.load_time import measure_load
from optkit.benchmark.options import BenchmarkOptions
from optkit.benchmark.result import BenchmarkResult
from optkit.benchmark.result_tables import lines
from optkit.errors import OptkitError, UsageError
from optkit.report.render.benchmark_chart import benchmark_chart
from optkit.runtime import extension
from optkit.variant import DENSE

QUICK = {"duration": 0.05, "threads": 1, "loads": False}


@pytest.fixture
def exported(monkeypatch, fp32_ir):
    """For speed: ``tiny_checkpoint`` is not exported again, but taken as the IR that it was."""
    ir = Source("ir", fp32_ir / "openvino_model.xml")
    monkeypatch.setattr(bench_module, "export", lambda model, *_: ir if model.exported else model.source)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"backends": ("tensorrt",)},
            "--backends: unknown backend 'tensorrt', one of torch, torch-compile, torch-compile-bf16, onnxruntime,",
        ),
        ({"against": "numpy"}, "--against: unknown backend 'numpy', one of"),
        ({"batch": (0,)}, "--batch: must be at least 1, got 0"),
        ({"batch": ()}, "--batch: give a number"),
        ({"seq": (128, -1)}, "--seq: must be at least 1, got -1"),
        ({"threads": 100_000}, "--threads 100000: this process may use"),
        ({"streams": 2}, "--streams: latency has one inference at a time"),
        ({"streams": 2, "threads": 1, "mode": "throughput"}, "--streams 2: each needs a thread"),
        ({"mode": "speed"}, "--mode: 'speed' is neither latency nor throughput"),
        ({"duration": 0.0}, "--duration: must be more than 0 seconds, got 0"),
        ({"texts": "x", "seq": (1, 2)}, "--texts: texts are cut to one length"),
    ],
)
def test_what_cannot_be_asked(asked, said, tmp_path):
    with pytest.raises(UsageError) as raised:
        bench([tmp_path], BenchmarkOptions(**asked))
    (problem,) = raised.value.problems
    assert problem.startswith(said)


def test_every_fault_at_once():
    with pytest.raises(UsageError) as raised:
        BenchmarkOptions(batch=(0,), duration=-1, against="x").check()
    assert len(raised.value.problems) == 3


def test_a_backend_that_was_named_has_to_run_the_only_path(tiny_checkpoint, encoder_folder):
    with pytest.raises(UsageError, match=f"^--backends: optkit cannot run it: {tiny_checkpoint} is a checkpoint"):
        bench([tiny_checkpoint], BenchmarkOptions(backends=("torch", "optkit"), **QUICK))
    with pytest.raises(UsageError, match=f"^no backend can run this: torch: {encoder_folder} is an int8 IR"):
        bench([encoder_folder, encoder_folder], BenchmarkOptions(backends=("torch",), **QUICK))
    with pytest.raises(UsageError, match="^--against torch: it does not take part here"):
        bench([encoder_folder], BenchmarkOptions(against="torch", **QUICK))


@pytest.fixture
def no_export(monkeypatch):
    """Fails the test where a model is exported."""
    monkeypatch.setattr(bench_module, "export", lambda model, *_: pytest.fail(f"{model.name} was exported"))


def test_a_library_that_cannot_be_used_is_told_before_the_export(monkeypatch, no_export, run_folder):
    monkeypatch.setattr(extension, "missing_reason", lambda: "made from other sources")
    with pytest.raises(UsageError, match="^--backends: optkit cannot run it: made from other sources"):
        bench([run_folder], BenchmarkOptions(backends=("torch", "optkit"), **QUICK))
    chosen, left_out = bench_module._choose([backend_support(run_folder)], BenchmarkOptions())
    assert "optkit" not in {model.backend for model in chosen}
    assert [each.why for each in left_out if each.backend == "optkit"] == ["made from other sources"]


def test_kernels_that_cannot_run_are_told_before_the_export(monkeypatch, no_export, run_folder):
    need("extension")
    monkeypatch.setenv("OPTKIT_ISA", "mmx")
    with pytest.raises(OptkitError, match="^OPTKIT_ISA names no kernels that run here: unset it"):
        bench([run_folder], BenchmarkOptions(**QUICK))


def test_a_backend_that_is_not_installed_is_left_out_with_the_reason(monkeypatch, tmp_path, tiny_checkpoint):
    from optkit.adapters import onnx_package

    onnx_folder = tmp_path
    (onnx_folder / "model.onnx").write_bytes(b"never read")
    monkeypatch.setattr(onnx_package, "_PACKAGES", ("no_such_package",))
    with pytest.raises(UsageError, match="no backend can run this: .*no_such_package is not installed"):
        bench([onnx_folder], BenchmarkOptions(**QUICK))
    report = bench([onnx_folder, tiny_checkpoint], BenchmarkOptions(backends=("onnxruntime", "torch"), **QUICK))
    left = {(each["path"], each["backend"]): each["why"] for each in report["left_out"]}
    assert "no_such_package" in left[str(onnx_folder), "onnxruntime"]
    assert left[str(onnx_folder), "torch"] == f"{onnx_folder} is an ONNX model"
    assert any(
        line.startswith("left out: onnxruntime: no_such_package")
        for line in lines(BenchmarkResult.model_validate(report))
    )


def test_lengths_that_a_model_does_not_take(tiny_checkpoint, tiny_vit):
    with pytest.raises(UsageError, match="^--seq 65: the model takes up to 64 tokens"):
        bench([tiny_checkpoint], BenchmarkOptions(backends=("torch",), seq=(64, 65), **QUICK))
    with pytest.raises(UsageError, match="^--seq: images have no length: leave it out"):
        bench([tiny_vit], BenchmarkOptions(backends=("torch",), seq=(64,), **QUICK))


@pytest.mark.slow
def test_images(tiny_vit):
    report = bench([tiny_vit], BenchmarkOptions(backends=("torch", "openvino-f32"), batch=(1, 2), **QUICK))
    assert [(shape["batch"], shape["seq"], shape["pixels"]) for shape in report["shapes"]] == [
        (1, None, "3 x 24 x 24"),
        (2, None, "3 x 24 x 24"),
    ]
    for shape in report["shapes"]:
        torch, openvino = shape["rows"]
        assert torch["reference"] and openvino["difference"] < 1e-4


def test_several_paths_and_a_reference(exported, fp32_ir, tiny_checkpoint):
    asked = BenchmarkOptions(backends=("torch", "openvino"), against="openvino", seq=(16,), **QUICK)
    report = bench([tiny_checkpoint, fp32_ir], asked)
    rows = report["shapes"][0]["rows"]
    assert [(row["path"], row["variant"], row["name"]) for row in rows] == [
        (str(tiny_checkpoint), "given/fp32/torch", "checkpoint, torch"),
        (str(tiny_checkpoint), "given/fp32/openvino", "checkpoint, openvino"),
        (str(fp32_ir), "given/fp32/openvino", "fp32 IR, openvino"),
    ]
    assert [row["reference"] for row in rows] == [False, True, False]
    assert rows[1]["ratio"] is None and rows[0]["ratio"][1] <= rows[0]["ratio"][0] <= rows[0]["ratio"][2]


@pytest.mark.parametrize(
    ("spoil", "said", "kept"),
    [(lambda found: found + 1, "outputs differ by ", True), (lambda found: found[:, :1], "outputs have other", False)],
)
def test_engines_that_do_not_compute_the_same_are_named(exported, monkeypatch, tiny_checkpoint, spoil, said, kept):
    from optkit.benchmark.engines.torch import Torch

    logits = Torch.logits
    monkeypatch.setattr(Torch, "logits", lambda self, inputs: spoil(logits(self, inputs)))
    report = bench([tiny_checkpoint], BenchmarkOptions(backends=("torch", "openvino"), seq=(8,), **QUICK))
    assert any(f"checkpoint, openvino and torch do not compute the same: {said}" in w for w in report["warnings"])
    assert (report["shapes"][0]["rows"][1]["difference"] is not None) == kept


def test_what_cannot_be_loaded_in_a_process_of_its_own_says_why(tmp_path):
    (tmp_path / "openvino_model.xml").write_text("<net/>")
    (tmp_path / "openvino_model.bin").write_bytes(b"")
    with pytest.raises(OptkitError, match="openvino_model.xml: OpenVINO cannot read it"):
        measure_load(DENSE.on("openvino"), Source("ir", tmp_path / "openvino_model.xml"), Setting(1), {})


def row(engine, milliseconds, ratio, **more):
    found = {"name": f"<b>&dense, {engine}", "variant": DENSE.on(engine), "milliseconds": milliseconds, "noisy": False}
    found |= {"interval": [0.9 * milliseconds, 1.2 * milliseconds], "per_second": 1000 / milliseconds, "ratio": ratio}
    return found | {"reference": ratio is None} | more


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_the_chart_draws_every_row_with_its_interval(mode):
    rows = [row("torch", 8.0, None), row("openvino", 2.0, [4.0, 3.9, 4.2], noisy=True)]
    result = BenchmarkResult(
        settings={"mode": mode, "threads": 2},
        machine={"cpu": "<script>A CPU"},
        shapes=[{"batch": 1, "seq": 128, "rows": rows}, {"batch": 8, "seq": 128, "rows": rows[:1]}],
    )
    svg = benchmark_chart(result)
    root = ET.fromstring(svg)
    space = {"s": "http://www.w3.org/2000/svg"}
    said = {node.text for node in root.findall(".//s:text", space)}
    if mode == "throughput":
        assert {"125.0 /s, reference", "500.0 /s, 4.00x, noisy"} <= said
        return
    assert {"1 x 128 tokens", "8 x 128 tokens", "8.00 ms, reference", "2.00 ms, 4.00x, noisy"} <= said
    assert "Latency on <script>A CPU, 2 threads" in root.find("s:title", space).text and "<script>" not in svg
    assert "<b>&dense, openvino: 2.00 ms, 4.00x, noisy" in root.find("s:desc", space).text
    bars = [float(node.get("width")) for node in root.findall(".//s:rect", space) if "bar" in node.get("class", "")]
    assert len(bars) == 3 and bars[0] == pytest.approx(4 * bars[1], rel=0.01)
    assert len(re.findall("whisker", svg)) >= 3 * 3
