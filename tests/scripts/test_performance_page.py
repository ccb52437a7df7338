"""scripts/performance_page.py: its tables say what was measured, and nothing where nothing was."""

from __future__ import annotations

import json
import runpy
import sys
from xml.etree import ElementTree

import pytest

from optkit import cpu
from optkit.benchmark.result_migration import read_result
from optkit.variant import Variant

PRICES = (
    "date: 2026-01-02\nsource: a list\ninstances: {small: {hourly: 0.36, cores: 2}, large: {hourly: 1.44, cores: 8}}\n"
)


VARIANTS = {
    "torch": "fp32/torch",
    "openvino-fp32": "fp32/openvino",
    "openvino-int8": "int8/openvino",
    "optkit": "int8/optkit",
}


def row(engine: str, case: str, milliseconds: float, *, against: str = "openvino-int8", noisy: bool = False) -> dict:
    """A row of a run in which OpenVINO took 25 ms in int8 and 100 ms on the fp32 IR."""
    is_reference = (engine, case) == (against, "dense")
    ratio, over_fp32 = (25.0 if against == "openvino-int8" else 100.0) / milliseconds, 100.0 / milliseconds
    return {
        "variant": f"{'dense' if case == 'dense' else 'pruned'}/{VARIANTS[engine]}",
        "name": engine,
        "path": case,
        "milliseconds": milliseconds,
        "per_second": 1000 / milliseconds,
        "reference": is_reference,
        "ratio": None if is_reference else [ratio],
        "ratio_quartiles": [ratio - 0.1, ratio + 0.1],
        "plain": engine == "openvino-fp32",
        "over_plain": None if engine == "openvino-fp32" else [over_fp32],
        "noisy": noisy,
        "rounds": [milliseconds / 1000] * 3,
        "kernels": {"block4x1": 70, "OpenVINO": 2} if engine == "optkit" else None,
    }


def dense(against: str = "openvino-int8") -> list[dict]:
    """The references of a run."""
    return [row("openvino-int8", "dense", 25.0, against=against), row("openvino-fp32", "dense", 100.0, against=against)]


def report(
    rows: list[dict],
    *,
    batch: int = 1,
    seq: int = 128,
    threads: int = 2,
    streams: int | None = None,
    isa: str | None = None,
    size: str = "base",
    flags: tuple[str, ...] = ("avx2", "avx512_vnni"),
) -> dict:
    settings = {"threads": threads, "mode": "throughput" if streams else "latency", "streams": streams}
    settings |= {"size": size, "cases": [], "weight_range": "half", "plan": "measured", "isa": isa}
    settings |= {"precision": "f32" if isa else "bf16"}
    machine = {"cpu": "Some CPU", "instruction_sets": list(flags), "cores": 2}
    shape = {"batch": batch, "seq": seq, "rows": rows}
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


def cells(text: str, name: str) -> list[str]:
    """Those of the first table's row of that name."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_structures_are_compared_with_both_references(written, tmp_path):
    rows = [row("torch", "dense", 200.0), *dense(), row("optkit", "dense", 20.0)]
    rows += [row("optkit", "80% 1x4", 10.0), row("optkit", "90% 1x4", 5.0, noisy=True), row("optkit", "90% 4x4", 4.0)]
    text = written({"native": report(rows)})
    assert "Ratios are to OpenVINO int8 on the dense model, at its default precision (bf16), in the same run" in text
    head = "|  | AVX-512 VNNI: ms | over OpenVINO int8, dense | over OpenVINO fp32 IR, dense |"
    assert head in text
    assert cells(text, "OpenVINO int8, dense") == ["25.0", "1", "4.0"]
    assert cells(text, "OpenVINO fp32 IR, dense") == ["100.0", "0.25 (0.15 to 0.35)", "1.0"]
    assert cells(text, "torch fp32, dense") == ["200.0", "0.12 (0.02 to 0.23)", "0.50"]
    assert cells(text, "optkit, 90% 1x4") == ["5.0", "**5.0** (4.9 to 5.1) noisy", "20.0"]
    assert cells(text, "optkit, 90% 4x4") == ["4.0", "**6.2** (6.2 to 6.3)", "25.0"]
    assert "Cost of a million" not in text and "Length, batch" not in text and "simulation" not in text
    # 20 ms in all, of which nine parts of a millisecond each are the programs', and five of them small ones.
    assert "| 90% 1x4 | 1.0 | 1.0 | 1.0 | 5.0 | 1.0 | 11.0 |" in text
    assert "| AVX-512 VNNI, of 4 billion | kernels |" in text
    assert "| 90% 1x4 | 1 (25%) | 70 block4x1, 2 OpenVINO |" in text and "| dense | left to OpenVINO | 70 bl" in text
    chart = ElementTree.parse(tmp_path / "page-sparsity.svg").getroot()
    said = chart.find("{http://www.w3.org/2000/svg}desc").text
    assert "optkit, 4x4: 6.25 at 90; optkit, 1x4: 2.5 at 80, 5 at 90; optkit, dense: 1.25 at 80, 1.25 at 90" in said
    assert "OpenVINO int8, dense: 1 at 80, 1 at 90; OpenVINO fp32 IR, dense: 0.25 at 80, 0.25 at 90" in said


def test_a_cpu_without_vnni_is_compared_with_fp32(written):
    fp32 = "openvino-fp32"
    slow = [*dense(fp32), row("optkit", "90% 1x4", 10.0, against=fp32)]
    text = written({"native": report([*dense(), row("optkit", "80% 1x4", 10.0)]), "avx2": report(slow, isa="avx2")})
    assert "| AVX2: ms | over OpenVINO fp32 IR, dense |" in text
    assert cells(text, "optkit, 90% 1x4") == ["", "", "", "10.0", "**10.0** (9.9 to 10.1)"]
    assert cells(text, "optkit, 80% 1x4")[3:] == ["", ""]
    assert cells(text, "OpenVINO fp32 IR, dense")[3:] == ["100.0", "1"]


def test_a_cpu_with_avx_vnni_is_held_to_it_as_well(written):
    reports = {"native": report([*dense(), row("optkit", "90% 4x4", 4.0)])}
    reports["avxvnni"] = report([*dense(), row("optkit", "90% 4x4", 5.0)], isa="avxvnni")
    text = written(reports)
    assert "| AVX-VNNI: ms | over OpenVINO int8, dense | over OpenVINO fp32 IR, dense |" in text
    assert cells(text, "optkit, 90% 4x4")[3:] == ["5.0", "**5.0** (4.9 to 5.1)", "20.0"]


@pytest.mark.parametrize("flags", [{"avx2", "avx512_vnni"}, {"avx2", "avx512_vnni", "avx_vnni"}])
def test_what_the_cpu_lacks_is_not_measured(flags, monkeypatch, page, scripts, tmp_path, capsys):
    monkeypatch.syspath_prepend(scripts)
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    run = runpy.run_path(str(scripts / "performance_page.py"))
    words = ["--output", str(tmp_path / "measured"), "--page", str(page.path), "--list"]
    monkeypatch.setattr(sys, "argv", ["performance_page.py", *words])
    assert run["main"]() == 0
    listed = capsys.readouterr().out
    assert ("avxvnni: to do" in listed) == ("avx_vnni" in flags) and "avx2: to do" in listed


def test_a_page_says_which_instruction_set_it_is_of(written, tmp_path):
    text = written({"native": report([*dense(), row("optkit", "90% 16x4", 5.0)], flags=("avx512_vnni", "amx_int8"))})
    assert "| AMX: ms | over OpenVINO int8, dense |" in text
    assert "![speed against sparsity](page-sparsity.svg)" in text and (tmp_path / "page-sparsity.svg").is_file()


def test_shapes(written):
    ours = row("optkit", "90% 4x4", 5.0)
    reports = {"native": report([*dense(), ours, row("optkit", "80% 1x4", 10.0)])}
    reports["native-lengths"] = report([*dense(), row("optkit", "90% 4x4", 2.5)], seq=512)
    reports["native-batch"] = report([*dense(), ours], batch=8)
    reports["native-thread"] = report([*dense(), ours], threads=1)
    text = written(reports)
    shapes = text[text.index("### Length, batch and threads") :]
    assert "|  | 1 x 128 | 1 x 512 | 8 x 128 | 1 x 128, 1 thread |" in shapes
    assert cells(shapes, "optkit, 90% 4x4") == ["5.0 (5.0 ms)", "10.0 (2.5 ms)", "5.0 (5.0 ms)", "5.0 (5.0 ms)"]
    assert cells(shapes, "OpenVINO int8, dense")[1] == "1.0 (25.0 ms)"
    assert not any(line.startswith("| optkit, 80% 1x4") for line in shapes.splitlines())
    assert "--seq 16,32,384,512" in shapes and "--threads 1" in shapes and "--streams" not in shapes


def test_a_small_model(written):
    rows = [*dense(), row("optkit", "80% 1x4", 10.0), row("optkit", "80% 4x4", 6.25)]
    text = written({"native-minilm": report(rows, size="minilm")})
    assert "MiniLM-L6 (six layers, 384 wide), batch 1 x 128 tokens." in text and "| over 80% 1x4 |" in text
    assert cells(text, "optkit, 80% 4x4") == ["6.25", "**4.0** (3.9 to 4.1)", "16.0", "1.60"]


def test_a_simulation_says_what_it_is(written):
    times = [(1, 1, 8.0), (2, 2, 4.0), (64, 32, 0.5)]
    schedules = [
        {"case": "90% 1x4", "batch": 1, "seq": 16, "threads": threads, "used": used, "milliseconds": milliseconds}
        for threads, used, milliseconds in times
    ]
    text = written({"native-simulation": report([]) | {"shapes": [], "schedules": schedules}})
    assert "### Latency against threads: a simulation\n\n**Nothing in this table was measured.**" in text
    assert cells(text, "90% 1x4, 1 x 16") == ["1.0", "2.0", "16.0 (32)"]


def test_loading(written):
    text = written({"native-loads": report([]) | {"shapes": []}})
    assert "| optkit baked, 90% 1x4 | 0.50 | 10.0 | 30.0 |" in text


def test_cost_is_of_throughput(written):
    # 40 and 200 a second: a million take 25,000 and 5,000 seconds, at 0.36 dollars an hour 2.5 dollars and half a dollar.
    rows = [*dense(), row("optkit", "90% 1x4", 5.0)]
    text = written({"native-streams": report(rows, streams=2)})
    costs = text[text.index("### Cost") :]
    assert "| OpenVINO int8, dense | 40.0 | 2.50 | 2.50 |  |" in costs
    assert "| OpenVINO fp32 IR, dense | 10.0 | 10.00 | 10.00 | -300% |" in costs
    assert "| optkit, 90% 1x4 | 200.0 | 0.50 | 0.50 | 80% |" in costs
    assert "Prices of 2026-01-02, a list." in costs
    assert cells(text, "optkit, 90% 1x4") == ["5.0 (200/s)"]


def test_without_a_list_of_prices_there_are_no_dollars(written):
    text = written({"native-streams": report([*dense(), row("optkit", "90% 1x4", 5.0)], streams=2)}, priced=False)
    assert "5.0 (200/s)" in text and "ollars" not in text and "Cost" not in text


def test_a_file_of_another_version_is_measured_again(written):
    with pytest.raises(ValueError, match=r"native.json: not written by --json of this bench_runtime.py: measure again"):
        written({"native": {"format": 1, "shapes": []}})


def test_a_result_is_one_of_the_benchmark():
    result = read_result(report([*dense(), row("optkit", "90% 1x4", 5.0)]))
    assert result.shapes[0].ratios[Variant("pruned", "int8", "optkit")] == [5.0]
