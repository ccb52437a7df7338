"""What the stage leaves in the report: figures of every engine, against the dense model in OpenVINO."""

from __future__ import annotations

import pytest
import torch
from capabilities import need

import optkit
from optkit import machine, runtime
from optkit.allocation import trials
from optkit.errors import ExportError
from optkit.pipeline.context import RunContext
from optkit.pipeline.run_folder import RunDir
from optkit.progress import SILENT
from optkit.recipe import load_recipe
from optkit.stages import benchmark
from optkit.timing import LEAST

pytestmark = pytest.mark.slow


def test_every_engine_is_timed_against_the_dense_one_in_openvino(finished_run):
    found = finished_run.report["benchmark"]
    (row,) = found["rows"]
    # Where f32 is not OpenVINO's default on this CPU, plain OpenVINO is timed with the hint, too.
    hinted = [] if found["precision"] == "f32" else ["f32"]
    names = [
        "dense/fp32/torch",
        "dense/fp32/openvino",
        *(f"dense/fp32/openvino/{hint}" for hint in hinted),
        "pruned/fp32/torch",
    ]
    names += ["pruned/int8/openvino", *(f"pruned/int8/openvino/{hint}" for hint in hinted)]
    names += ["pruned/int8/optkit"] if runtime.available() else []
    assert list(row["milliseconds"]) == names == list(row["quartiles"])
    assert row["against"] == "dense/fp32/openvino" and list(row["ratios"]) == [
        n for n in names if n != "dense/fp32/openvino"
    ]
    for name, (ratio, low, high) in row["ratios"].items():
        assert 0 < low <= ratio <= high, name
        # Rounds are noisy here, and the two medians not of the same round: they only have to be of a size.
        assert 0.2 < ratio / (row["milliseconds"]["dense/fp32/openvino"] / row["milliseconds"][name]) < 5, name
    assert row["plain"] == "pruned/int8/openvino" and list(row["over_plain"]) == [
        n for n in names if n != "pruned/int8/openvino"
    ]
    for name, (low, high) in row["quartiles"].items():
        assert low - 1e-3 <= row["milliseconds"][name] <= high + 1e-3, name
    assert set(row["noisy"]) <= set(row["ratios"])
    assert LEAST <= found["rounds"] <= 20 and found["threads"] >= 1
    assert set(found["machine"]) == {"load", "steal"}


def test_a_dense_model_that_openvino_cannot_take_is_left_out_with_the_reason(
    finished_run, generated_recipe, tmp_path, monkeypatch
):
    def refuse(*_):
        raise ExportError("optimum-intel cannot convert it")

    monkeypatch.setattr(trials, "dense_ir", refuse)
    folder = finished_run.copy(tmp_path)
    report = optkit.run(generated_recipe, ["benchmark={batch: 2, seq: 8, backends: [torch, openvino]}"], output=folder)
    found = report["benchmark"]
    assert found["skipped"] == {"dense openvino": "optimum-intel cannot convert it"}
    (row,) = found["rows"]
    assert (row["batch"], row["seq"], row["against"]) == (2, 8, "dense/fp32/torch")
    assert {name.removesuffix("/f32") for name in row["ratios"]} == {"pruned/fp32/torch", "pruned/int8/openvino"}
    assert "`dense openvino` was left out: optimum-intel cannot convert it" in (folder / "report.md").read_text()


@pytest.mark.parametrize("backends", ["[optkit]", "[openvino]"])
def test_without_a_dense_model_there_is_nothing_to_compare_with(finished_run, generated_recipe, tmp_path, backends):
    if backends == "[optkit]":
        need("extension")
    folder = finished_run.copy(tmp_path)
    sets = [f"benchmark={{batch: 1, seq: 8, backends: {backends}}}", "evaluate.baseline=none"]
    (row,) = optkit.run(generated_recipe, sets, output=folder)["benchmark"]["rows"]
    assert row["against"] is None and row["ratios"] == {}
    timed = dict.fromkeys(name.removesuffix("/f32") for name in row["milliseconds"])
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
