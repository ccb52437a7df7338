"""What is scored is what is served and timed: OpenVINO's default precision, the f32 hint beside it, and one plan."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from capabilities import need
from split_scores import split_scores

import optkit
from optkit import cpu, runtime
from optkit.adapters import optimum
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.result_migration import read_result
from optkit.ir import precision
from optkit.pipeline import serving
from optkit.stages import evaluate
from optkit.variant import DENSE

pytestmark = pytest.mark.slow

#: Has both stages done again in a copy of the finished run.
AGAIN = ["benchmark={batch: 2, seq: 8, backends: [openvino, optkit]}"]


@pytest.fixture
def compiled(monkeypatch):
    """What plain OpenVINO and the runtime were given: (precision asked for, plan) of each engine that was timed."""
    found, from_file = [], OpenVino.from_file

    def watch(path, setting, *, sparse=False, plan=None):
        found.append((setting.precision, sparse, plan))
        return from_file(path, setting, sparse=sparse, plan=plan)

    monkeypatch.setattr(OpenVino, "from_file", watch)
    return found


def test_where_f32_is_the_default_there_is_one_row(finished_run, generated_recipe, tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(precision, "default_precision", lambda: "f32")
    report = optkit.run(generated_recipe, AGAIN, output=finished_run.copy(tmp_path))
    assert report["evaluate"]["precision"] == {
        **{"default": "f32", "serve": "default", "differs": False, "difference": None, "error": None}
    }
    names = [*split_scores(report), *(row["variant"] for row in report["benchmark"]["shapes"][0]["rows"])]
    assert not [name for name in names if name.endswith(("/f32", " f32"))] and {asked for asked, *_ in compiled} == {
        None
    }
    assert report["benchmark"]["settings"]["precision"] == "f32" and "dense model in OpenVINO fp32" in report["verdict"]


def test_where_it_is_not_f32_is_scored_and_timed_beside_it(
    finished_run, generated_recipe, tmp_path, monkeypatch, compiled
):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    folder = finished_run.copy(tmp_path)
    report = optkit.run(generated_recipe, AGAIN, output=folder)
    [shape] = read_result(report["benchmark"]).shapes
    assert {
        "dense/fp32/openvino",
        "dense/fp32/openvino/f32",
        "pruned/int8/openvino",
        "pruned/int8/openvino/f32",
    } <= {row.variant.id for row in shape.rows}
    assert shape.against == DENSE.on("openvino")
    assert [asked for asked, sparse, _ in compiled if not sparse] == [None, "f32", None, "f32"]
    found = report["evaluate"]["precision"]
    assert found["default"] == "bf16" and found["serve"] == "default"
    # As many as in f32, so there is one row for a reader, and both for a program.
    assert "int8 f32" in split_scores(report)
    text = (folder / "report.md").read_text()
    assert "| int8 IR, f32 hint |" not in text and "default on this CPU, bf16, is fine" in text
    assert "in OpenVINO at its default precision (bf16)" in report["verdict"]


def test_a_model_that_the_default_precision_spoils_is_served_with_the_hint(
    finished_run, generated_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    outputs = evaluate._outputs

    def spoiled(context, title, *given):
        """Of the IR in f32 every answer is right, and at the default precision 10 of 40 are wrong."""
        if not title.startswith("int8, OpenVINO"):
            return outputs(context, title, *given)
        labels = context.task.references(context.data.splits["validation"], context.data.head)
        moved = (np.arange(len(labels)) < 10) * ("f32" not in title)
        return np.eye(5, dtype=np.float32)[(labels + moved) % 5]

    monkeypatch.setattr(evaluate, "_outputs", spoiled)
    folder = finished_run.copy(tmp_path)
    report = optkit.run(generated_recipe, ["task.metric=accuracy"], output=folder)
    scores, found = split_scores(report), report["evaluate"]["precision"]
    assert found["serve"] == "f32" and found["differs"]
    assert (scores["int8"]["accuracy"], scores["int8 f32"]["accuracy"]) == (0.75, 1.0)
    assert found["difference"] == pytest.approx(25) and 25 > 2 * found["error"] > 0
    # The drop is that of the plain IR as it is served without a word.
    assert report["evaluate"]["drop"] == pytest.approx(100 * (scores["dense"]["accuracy"] - 0.75))
    lost = 100 * (scores["dense"]["accuracy"] - 1)
    assert f"at its default precision (bf16), and {lost:.2f} with INFERENCE_PRECISION_HINT=f32" in report["verdict"]
    text, card = (folder / "report.md").read_text(), (folder / "openvino" / "README.md").read_text()
    for page in (text, card):
        assert "serve the IR in OpenVINO with `INFERENCE_PRECISION_HINT=f32`" in page
    assert "| int8 IR, f32 hint |" in text
    assert 'from_pretrained(name, ov_config={"INFERENCE_PRECISION_HINT": "f32"})' in card
    assert 'openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})' in card


def test_one_plan_is_scored_and_timed(finished_run, generated_recipe, tmp_path, monkeypatch, compiled):
    need("extension")
    made, scored = [], []

    def plan(model, mode, **options):
        made.append((mode, options["shape"], options["config"]))
        return static(model, "static", **options | {"isa": ("avx2", "scalar")[len(made) - 1]})

    def load(folder, ov_class, *, plan=None, config=None):
        if plan is not None:
            scored.append((plan, config))
        return whole(folder, ov_class, plan=plan, config=config)

    static, whole = runtime.plan, serving.load
    monkeypatch.setattr(runtime, "plan", plan)
    monkeypatch.setattr(serving, "load", load)
    folder = finished_run.copy(tmp_path)
    report = optkit.run(generated_recipe, AGAIN, output=folder)
    [(mode, shape, config)], [(plan_scored, config_scored)] = made, scored
    assert (mode, shape) == ("measured", (2, 8)) and config == config_scored
    assert [plan for _, sparse, plan in compiled if sparse] == [plan_scored] and plan_scored.kernels
    kept = runtime.Plan.from_json((folder / "predictions" / "runtime_plan.json").read_text())
    assert kept == plan_scored
    assert read_result(report["benchmark"]).runtime == report["evaluate"]["runtime"] == kept.reason
    # Scored anew, the model keeps the plan that it was timed with.
    optkit.run(generated_recipe, [*AGAIN, "task.metric=accuracy"], output=folder)
    assert len(made) == 1 and [each[0] for each in scored] == [kept, kept]
    # Where it is gone another is made, and what was timed with the first is timed anew.
    shutil.rmtree(folder / "predictions")
    report = optkit.run(generated_recipe, [*AGAIN, "task.metric=accuracy"], output=folder)
    assert len(made) == 2 and scored[-1][0] != kept
    assert (
        read_result(report["benchmark"]).runtime == report["evaluate"]["runtime"] == scored[-1][0].reason != kept.reason
    )


def test_an_ir_cannot_ask_for_a_precision(encoder_folder, tmp_path):
    """Should it be able to one day, it is where the advice belongs: then this fails, on every CPU."""
    from optkit.ir.io import import_openvino, read_model, save_model

    model = read_model(encoder_folder)
    model.set_rt_info("ACCURACY", ["runtime_options", "EXECUTION_MODE_HINT"])
    model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    save_model(model, tmp_path)
    compiled = import_openvino().Core().compile_model(tmp_path / "openvino_model.xml", "CPU")
    assert str(compiled.get_property("EXECUTION_MODE_HINT")).endswith("PERFORMANCE")
    assert json.loads(str(compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE"))) == 0


def job_of(weight_range, accuracy_backend="openvino", *, method="int8", backends=None):
    quantize = SimpleNamespace(weight_range=weight_range, accuracy_backend=accuracy_backend, method=method)
    benchmark = backends and SimpleNamespace(backends=backends)
    return SimpleNamespace(recipe=SimpleNamespace(quantize=quantize, benchmark=benchmark))


@pytest.mark.parametrize(
    ("weight_range", "backend", "saturates", "there", "judged", "refused"),
    [
        ("half", "openvino", True, True, False, False),
        ("half", "openvino", True, False, False, False),
        ("half", "optkit", False, True, True, False),
        ("half", "optkit", True, True, True, False),
        ("half", "optkit", True, False, False, False),
        ("full", "optkit", False, True, True, False),
        ("full", "optkit", True, True, True, False),
        ("full", "openvino", False, True, False, False),
        ("full", "openvino", True, True, True, False),
        ("full", "optkit", False, False, False, False),
        ("full", "optkit", True, False, False, True),
        ("full", "openvino", True, False, False, True),
    ],
)
def test_accuracy_is_judged_where_int8_sums_are_exact(
    monkeypatch, weight_range, backend, saturates, there, judged, refused
):
    monkeypatch.setattr(serving, "int8_saturates", lambda: saturates)
    monkeypatch.setattr(runtime, "available", lambda: there)
    monkeypatch.setattr(runtime, "missing_reason", lambda: None if there else "it was not built")
    assert serving.is_judged_on_runtime(job_of(weight_range, backend)) is judged
    said = evaluate.problems(job_of(weight_range, backend), None)
    assert bool(said) is refused and all("quantize.weight_range: full" in s and "it was not built" in s for s in said)
    weights_only = job_of("half", method="int8_weights")
    assert not serving.is_judged_on_runtime(weights_only) and not evaluate.problems(weights_only, None)


@pytest.mark.parametrize(
    ("flags", "limit", "found"),
    [
        ({"sse4_1", "avx2"}, "", True),
        ({"sse4_1", "avx_vnni"}, "", False),
        ({"sse4_1", "amx_int8"}, "", False),
        ({"asimd"}, "", False),
        ({"sse4_1", "avx512_vnni", "amx_int8"}, "AVX2", True),
        ({"sse4_1", "avx512_vnni"}, "AVX512_CORE_VNNI", False),
        ({"sse4_1", "avx512_vnni"}, "AVX2_VNNI", True),
        ({"sse4_1", "avx512_vnni", "avx_vnni"}, "AVX2_VNNI_2", False),
        ({"asimd"}, "AVX2", False),
    ],
)
def test_which_cpus_saturate(monkeypatch, flags, limit, found):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu.int8_saturates() is found


def test_a_model_made_for_the_runtime_is_judged_on_it(finished_run, generated_recipe, tmp_path, monkeypatch):
    need("extension")
    plans, load = [], serving.load

    def watch(folder, ov_class, *, plan=None, config=None):
        plans.extend([plan] if plan is not None else [])
        return load(folder, ov_class, plan=plan, config=config)

    monkeypatch.setattr(serving, "load", watch)
    folder = finished_run.copy(tmp_path)
    sets = [
        "quantize={weight_range: full, accuracy_backend: optkit, max_drop: 100, calibration: {samples: 20}}",
        "benchmark=null",
    ]
    report = optkit.run(generated_recipe, sets, output=folder)
    scores, found = split_scores(report), report["evaluate"]
    assert found["judged"] == "pruned/int8/optkit" and found["drop"] == pytest.approx(
        100 * (scores["dense"]["accuracy"] - scores["int8 optkit"]["accuracy"])
    )
    # Two by accuracy control, of the fp32 model and of the int8 one, and the one that is scored.
    assert plans[:2] == ["static", "static"] and plans[2].mode == "static" and len(plans) == 3
    assert " on optkit's runtime, and speed was not measured" in report["verdict"]


@pytest.fixture
def without_optimum(monkeypatch):
    """As where optimum-intel is not installed."""
    monkeypatch.setattr(optimum, "missing", lambda: "optimum-intel is not installed")


@pytest.mark.parametrize("plan", [None, "static"])
def test_without_optimum_intel_an_ir_is_called_alike(finished_run, request, plan):
    if plan is not None:
        need("extension")
    folder, ov_class = finished_run.folder / "openvino", "OVModelForSequenceClassification"
    inputs = {"input_ids": torch.tensor([[1, 7, 9, 2], [1, 8, 2, 0]]), "attention_mask": torch.ones(2, 4).long()}
    inputs["attention_mask"][1, 3] = 0
    known = serving.load(folder, ov_class, plan=plan, config=precision.F32)(**inputs).logits
    request.getfixturevalue("without_optimum")
    # A tokenizer's columns that the model has no input for are left out, and its kinds of tokens are all alike.
    found = serving.load(folder, ov_class, plan=plan, config=precision.F32)(**inputs, special_tokens_mask=None)
    assert torch.equal(found.logits, known)


def test_without_optimum_intel_a_run_is_the_same(finished_run, generated_recipe, tmp_path, without_optimum):
    folder, sets = finished_run.copy(tmp_path), ["quantize={max_drop: 100, calibration: {samples: 20}}"]
    report = optkit.run(generated_recipe, [*sets, "benchmark=null"], output=folder)
    assert report["export"]["quantization"]["control"]["reference"] <= 1
    scores, known = split_scores(report), split_scores(finished_run.report)
    assert scores["pruned"] == known["pruned"]
    # Converted otherwise, the same model rounds otherwise: of 40 examples one may go either way.
    assert scores["int8"]["accuracy"] == pytest.approx(known["int8"]["accuracy"], abs=1.5 / 40)
