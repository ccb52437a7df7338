"""scripts/bench_runtime.py: which engine runs which model, and what ratios are against."""

from __future__ import annotations

import dataclasses
import runpy
import sys

import pytest
from capabilities import need

from optkit.cpu import has_amx


@pytest.fixture
def engines(monkeypatch, scripts):
    monkeypatch.syspath_prepend(scripts)
    from runtime_bench import engines

    return engines


@pytest.fixture
def case(engines):
    return engines.Case.parse


def test_the_references_run_on_the_dense_model_whatever_is_named(engines, case):
    dense, pruned = case("0:dense"), case("90:1x4")
    references = [("openvino-fp32", dense), ("openvino-int8", dense)]
    assert engines.runs_of(["optkit"], [pruned]) == [*references, ("optkit", pruned)]
    assert engines.runs_of(["openvino-int8", "optkit"], [dense, pruned]) == [
        *references,
        ("optkit", dense),
        ("openvino-int8", pruned),
        ("optkit", pruned),
    ]
    assert engines.runs_of(["torch"], [pruned]) == [("torch", dense), *references]


@pytest.mark.parametrize(
    ("flags", "held", "reference"),
    [
        ({"avx2", "avx512_vnni"}, "", "openvino-int8"),
        ({"avx2", "avx512_vnni"}, "AVX2", "openvino-fp32"),
        ({"avx2", "avx512_vnni"}, "AVX2_VNNI", "openvino-int8"),
        ({"avx2"}, "", "openvino-fp32"),
    ],
)
def test_ratios_are_against_int8_where_openvino_has_instructions_for_it(engines, monkeypatch, flags, held, reference):
    from runtime_bench import machine

    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held)
    assert engines.reference() == reference


@pytest.mark.slow
def test_a_simulation_has_every_number_of_threads(engines, case, tmp_path):
    need("extension")
    from runtime_bench.schedules import THREADS, scheduled_times

    setting = engines.Setting("tiny", tmp_path, 1, 32, 1, 1, "static", False, "half")
    times = scheduled_times(case("90:1x4"), [setting])
    assert [each.threads for each in times] == list(THREADS) and {each.seq for each in times} == {32}
    assert all(1 <= each.used <= each.threads for each in times)
    milliseconds = [each.milliseconds for each in times]
    assert milliseconds == sorted(milliseconds, reverse=True) and milliseconds[1] < milliseconds[0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), [("modernbert", 2 * 4), ("deberta", 2 * 6), ("qwen3", 2 * 7)])
def test_other_architectures_are_built_and_timed(engines, monkeypatch, tmp_path, name, layers):
    """Their configurations with smaller sizes: the encoder is on the runtime, and computes what OpenVINO does."""
    need("extension")
    import bench_runtime
    from runtime_bench import models

    less = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    less |= {"vocab_size": 100} | ({"head_dim": 32, "num_key_value_heads": 1} if name == "qwen3" else {})
    less |= {f"{each}_token_id": 1 for each in ("pad", "bos", "eos", "cls", "sep")} if name == "modernbert" else {}
    shape = models.MODELS[name]
    monkeypatch.setitem(models.MODELS, name, dataclasses.replace(shape, config=shape.config | less))
    models.random_model.cache_clear()
    options = ["--model", name, "--cases", "0:dense,50:4x4", "--seq", "16", "--threads", "1", "--rounds", "2"]
    options += ["--engines", "openvino-fp32,openvino-int8,optkit", "--plan", "static", "--parts", "ratios"]
    try:
        found = bench_runtime.measure(bench_runtime.parse([*options, "--cache", str(tmp_path)]))
    finally:
        models.random_model.cache_clear()
    rows = {row.path: row for shape in found.shapes for row in shape.rows if row.kernels}
    assert set(rows) == {"dense", "50% 4x4"}
    for row in rows.values():
        # With AMX the dense layer of the head may gain, too.
        taken = sum(count for kernel, count in row.kernels.items() if kernel != "OpenVINO")
        assert taken in ((layers, layers + 1) if has_amx() else (layers,))
        assert row.difference < 0.1  # of two int8 engines with different precision between layers


def test_a_length_that_the_models_do_not_take_is_refused_before_anything_is_built(
    monkeypatch, scripts, tmp_path, capsys
):
    monkeypatch.syspath_prepend(scripts)
    run = runpy.run_path(str(scripts / "bench_runtime.py"))
    words = ["bench_runtime.py", "--model", "tiny", "--seq", "16,1024", "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", words)
    assert run["main"]() != 0
    assert "--seq: the models take up to 512 tokens, not 1024" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
