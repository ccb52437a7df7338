"""What the stage leaves in the report: figures of every engine, against the dense model in OpenVINO."""

from __future__ import annotations

import pytest
import torch
from capabilities import need

import optkit
from optkit import machine, runtime
from optkit.allocation import trials
from optkit.benchmark.result_migration import read_result
from optkit.errors import ExportError
from optkit.pipeline.context import RunContext
from optkit.pipeline.run_folder import RunDir
from optkit.progress import SILENT
from optkit.recipe import load_recipe
from optkit.stages import benchmark
from optkit.timing import LEAST
from optkit.variant import DENSE

pytestmark = pytest.mark.slow


def test_every_engine_is_timed_against_the_dense_one_in_openvino(finished_run):
    found = read_result(finished_run.report["benchmark"])
    (shape,) = found.shapes
    # Where f32 is not OpenVINO's default on this CPU, plain OpenVINO is timed with the hint, too.
    hinted = [] if found.precision == "f32" else ["f32"]
    names = [
        "dense/fp32/torch",
        "dense/fp32/openvino",
        *(f"dense/fp32/openvino/{hint}" for hint in hinted),
        "pruned/fp32/torch",
    ]
    names += ["pruned/int8/openvino", *(f"pruned/int8/openvino/{hint}" for hint in hinted)]
    names += ["pruned/int8/optkit"] if runtime.available() else []
    assert [row.variant.id for row in shape.rows] == names == [variant.id for variant in shape.quartiles]
    assert shape.against == DENSE.on("openvino")
    assert [variant.id for variant in shape.ratios] == [n for n in names if n != "dense/fp32/openvino"]
    for name, (ratio, low, high) in shape.ratios.items():
        assert 0 < low <= ratio <= high, name
        # Rounds are noisy here, and the two medians not of the same round: they only have to be of a size.
        assert 0.2 < ratio / (shape.milliseconds[shape.against] / shape.milliseconds[name]) < 5, name
    assert shape.plain.id == "pruned/int8/openvino"
    assert [variant.id for variant in shape.over_plain] == [n for n in names if n != "pruned/int8/openvino"]
    for name, (low, high) in shape.quartiles.items():
        assert low - 1e-3 <= shape.milliseconds[name] <= high + 1e-3, name
    assert set(shape.noisy) <= set(shape.ratios)
    assert LEAST <= found.rounds <= 20 and found.threads >= 1
    # It carries the machine and the versions that it was measured with.
    assert (found.machine.cpu, found.versions) == (machine.cpu_name(), machine.versions())


def test_a_dense_model_that_openvino_cannot_take_is_left_out_with_the_reason(
    finished_run, generated_recipe, tmp_path, monkeypatch
):
    def refuse(*_):
        raise ExportError("optimum-intel cannot convert it")

    monkeypatch.setattr(trials, "dense_ir", refuse)
    folder = finished_run.copy(tmp_path)
    report = optkit.run(generated_recipe, ["benchmark={batch: 2, seq: 8, backends: [torch, openvino]}"], output=folder)
    found = read_result(report["benchmark"])
    left_out = [(each.variant, each.why) for each in found.left_out]
    assert left_out == [(DENSE.on("openvino"), "optimum-intel cannot convert it")]
    (shape,) = found.shapes
    assert (shape.batch, shape.seq, shape.against) == (2, 8, DENSE)
    assert {own.id.removesuffix("/f32") for own in shape.ratios} == {"pruned/fp32/torch", "pruned/int8/openvino"}
    assert "`dense, OpenVINO` was left out: optimum-intel cannot convert it" in (folder / "report.md").read_text()


@pytest.mark.parametrize("backends", ["[optkit]", "[openvino]"])
def test_without_a_dense_model_there_is_nothing_to_compare_with(finished_run, generated_recipe, tmp_path, backends):
    if backends == "[optkit]":
        need("extension")
    folder = finished_run.copy(tmp_path)
    sets = [f"benchmark={{batch: 1, seq: 8, backends: {backends}}}", "evaluate.baseline=none"]
    (shape,) = read_result(optkit.run(generated_recipe, sets, output=folder)["benchmark"]).shapes
    assert shape.against is None and shape.ratios == {}
    timed = dict.fromkeys(row.variant.id.removesuffix("/f32") for row in shape.rows)
    assert list(timed) == ["pruned/int8/optkit" if backends == "[optkit]" else "pruned/int8/openvino"]


def test_times_are_of_one_machine_and_its_versions(finished_run, generated_recipe, tmp_path, monkeypatch):
    context = RunContext(load_recipe(generated_recipe), RunDir(finished_run.copy(tmp_path), "tiny"), SILENT)
    keys = [benchmark.STAGE.key(context)]
    assert benchmark.STAGE.key(context) == keys[0] == context.run.entry("benchmark")["key"]
    installed = machine.installed
    for name, other in {
        "cpu_name": lambda: "Another CPU",
        "cpu_flags": lambda: frozenset({"avx2"}),
        "installed": lambda package: "2099.1" if package == "openvino" else installed(package),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(machine, name, other)
            keys.append(benchmark.STAGE.key(context))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 99)
        keys.append(benchmark.STAGE.key(context))
    assert len(set(keys)) == 5


def test_another_baseline_is_timed_anew(finished_run, generated_recipe, tmp_path):
    run = RunDir(finished_run.copy(tmp_path), "tiny")
    sets = ["evaluate.baseline=auto"], ["evaluate.baseline=none"], ["evaluate.baseline=org/model"]
    contexts = [RunContext(load_recipe(generated_recipe, own), run, SILENT) for own in sets]
    keys = [benchmark.STAGE.key(context) for context in contexts]
    assert len(set(keys)) == 3 and keys[0] == run.entry("benchmark")["key"]


def test_optkit_plans_for_each_shape(finished_run, generated_recipe, tmp_path, monkeypatch):
    need("extension")
    planned, plan = [], runtime.plan

    def watch(*arguments, shape, **options):
        planned.append(tuple(shape))
        return plan(*arguments, shape=shape, **options)

    monkeypatch.setattr(runtime, "plan", watch)
    sets = ["benchmark={batch: [1, 2], seq: 8, backends: [openvino, optkit]}"]
    optkit.run(generated_recipe, sets, output=finished_run.copy(tmp_path))
    # The first shape's is the one that was scored.
    assert planned == [(1, 8), (2, 8)]
