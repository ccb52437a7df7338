"""scripts/performance_page.py: its tables say what was measured, and nothing where nothing was."""

from __future__ import annotations

import json
import runpy
import sys
from xml.etree import ElementTree

import pytest

from optkit.benchmark.result_migration import read_result
from optkit.variant import Variant

PRICES = (
    "date: 2026-01-02\nsource: a list\ninstances: {small: {hourly: 0.36, cores: 2}, large: {hourly: 1.44, cores: 8}}\n"
)


VARIANTS = {
    "openvino-fp32": "fp32/openvino",
    "openvino-fp32-f32": "fp32/openvino/f32",
    "openvino-int8": "int8/openvino",
    "optkit": "int8/optkit",
}


def row(engine: str, case: str, milliseconds: float, ratio: float, *, noisy: bool = False) -> dict:
    is_reference = (engine, case) == ("openvino-fp32", "dense")
    return {
        "variant": f"{'dense' if case == 'dense' else 'pruned'}/{VARIANTS[engine]}",
        "name": engine,
        "path": case,
        "milliseconds": milliseconds,
        "per_second": 1000 / milliseconds,
        "reference": is_reference,
        "ratio": None if is_reference else [ratio],
        "ratio_quartiles": [ratio - 0.1, ratio + 0.1],
        "noisy": noisy,
    }


def report(rows: list[dict], *, streams: int | None = None, isa: str | None = None) -> dict:
    settings = {"threads": 2, "mode": "throughput" if streams else "latency", "streams": streams, "precision": "bf16"}
    settings |= {"size": "base", "cases": [], "weight_range": "half", "plan": "measured", "isa": isa}
    machine = {"cpu": "Some CPU", "instruction_sets": ["avx2", "avx512_vnni"], "cores": 2}
    shape = {"batch": 1, "seq": 128, "rows": rows}
    return {
        "format": 3,
        "settings": settings,
        "machine": machine,
        "versions": {"torch": "2"},
        "shapes": [shape],
        **{"operators": OPERATORS, "peak": {"isa": "avx2", "multiply_adds_per_second": 4e9}, "models": MODELS},
    }


PARTS = ("load", "quantize", "elementwise", "layer_norm", "store", "products", "epilogue", "attention", "waiting")
OPERATORS = [
    {"variant": "pruned/int8/optkit", "case": "90% 1x4", "batch": 1, "seq": 128, "milliseconds": 20.0}
    | {"operators": {"Reference": 18.0, "MVN": 2.0}, "programs": dict.fromkeys(PARTS, 1.0)}
    | {"multiply_adds": 1000, "multiply_adds_per_second": 1e9}
]
MODELS = [
    {"variant": "pruned/int8/optkit", "name": "optkit baked", "path": "90% 1x4", "bytes": 30_000_000}
    | {"load": {"seconds": 0.5, "all": [0.5]}, "encoder_bytes": 10_000_000, "embedding_bytes": 20_000_000}
]


@pytest.fixture
def written(monkeypatch, page, scripts, tmp_path):
    """Writes the page of measurements by their names, and gives its text."""
    monkeypatch.syspath_prepend(scripts)
    (tmp_path / "prices.yaml").write_text(PRICES, encoding="utf-8")

    def call(reports: dict[str, dict], *, priced: bool = True) -> str:
        (tmp_path / "measured").mkdir()
        for name, found in reports.items():
            (tmp_path / "measured" / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
        run = runpy.run_path(str(scripts / "performance_page.py"))
        words = ["--output", tmp_path / "measured", "--page", page.path]
        words += ["--prices", tmp_path / "prices.yaml"] if priced else []
        monkeypatch.setattr(sys, "argv", ["performance_page.py", *map(str, words)])
        run["write"](run["parse"]())
        return page.read()

    return call


def test_nothing_is_said_where_nothing_was_measured(written):
    assert "Nothing is measured yet." in written({})


def test_speed_against_sparsity(written, tmp_path):
    dense = [row("openvino-fp32", "dense", 100.0, 1.0), row("openvino-int8", "dense", 25.0, 4.0)]
    dense += [row("openvino-fp32-f32", "dense", 120.0, 0.83), row("optkit", "dense", 20.0, 5.0)]
    pruned = [row("openvino-int8", "90% 1x4", 25.0, 4.0), row("optkit", "90% 1x4", 10.0, 10.0, noisy=True)]
    text = written({"native": report([*dense, *pruned])})
    assert "| 90% 1x4 | 10.0 | **10.0** (9.9 to 10.1) noisy | 4.0 | 2.5 |" in text
    said = "AVX-512 VNNI, on the dense model, OpenVINO at its default precision (bf16): openvino-fp32 100 ms (1.00), "
    assert f"{said}openvino-fp32-f32 120 ms (0.83)." in text
    assert (
        "Ratios are to OpenVINO on the dense model's fp32 IR, at its default precision (bf16), in the same run" in text
    )
    assert "Cost of a million" not in text and "Length, batch" not in text
    # 20 ms in all, of which nine parts of a millisecond each are the programs', and five of them small ones.
    assert "| 90% 1x4 | 1.0 | 1.0 | 1.0 | 5.0 | 1.0 | 11.0 |" in text
    assert "AVX-512 VNNI, of 4 billion" in text and "| 90% 1x4 | 1 (25%) |" in text
    assert "| optkit baked, 90% 1x4 | 0.5 | 10.0 | 30.0 |" in text
    chart = ElementTree.parse(tmp_path / "performance-sparsity.svg").getroot()
    said = chart.find("{http://www.w3.org/2000/svg}desc").text
    assert "optkit, 1x4: 5 at 0, 10 at 90; OpenVINO int8, dense: 4 at 0, 4 at 90" in said


def test_cost_is_of_throughput(written):
    # 20 and 200 a second: a million take 50,000 and 5,000 seconds, at 0.36 dollars an hour 5 dollars and half a dollar.
    rows = [row("openvino-fp32", "dense", 50.0, 1.0), row("optkit", "90% 1x4", 5.0, 10.0)]
    text = written({"native-streams": report(rows, streams=2)})
    assert "| OpenVINO fp32 IR, dense | 20.0 | 5.00 | 5.00 |  |" in text
    assert "| optkit, 90% 1x4 | 200.0 | 0.50 | 0.50 | 90% |" in text
    assert "Prices of 2026-01-02, a list." in text and "made up" not in text
    assert "| optkit, AVX-512 VNNI | 10.0, 200/s |" in text


def test_without_a_list_of_prices_there_are_no_dollars(written):
    rows = [row("openvino-fp32", "dense", 50.0, 1.0), row("optkit", "90% 1x4", 5.0, 10.0)]
    text = written({"native-streams": report(rows, streams=2)}, priced=False)
    assert "10.0, 200/s" in text and "ollars" not in text and "Cost" not in text


def test_a_file_of_another_version_is_measured_again(written):
    with pytest.raises(ValueError, match=r"native.json: not written by --json of this bench_runtime.py: measure again"):
        written({"native": {"format": 1, "shapes": []}})


def test_a_result_is_one_of_the_benchmark():
    result = read_result(report([row("openvino-fp32", "dense", 50.0, 1.0), row("optkit", "90% 1x4", 5.0, 10.0)]))
    assert result.shapes[0].ratios == {Variant("pruned", "int8", "optkit"): [10.0]}
