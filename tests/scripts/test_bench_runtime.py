"""scripts/bench_runtime.py: which engine runs which model, and what ratios are against."""

from __future__ import annotations

import pytest
from capabilities import need


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
