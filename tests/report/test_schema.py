"""The schema of report.json: what is written is in it, what earlier releases wrote is read, faults are one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

import optkit.report
from optkit.errors import OptkitError, UsageError
from optkit.report.migrations import FORMAT, migrate
from optkit.report.reading import load_report, parse_report
from optkit.report.render.markdown import render
from optkit.report.schema import json_schema
from optkit.variant import Variant

#: Parts whose further keys are facts of stages that no page shows.
OPEN = {"Allocation", "LayerShare", "RuleResult", "Load"}


def unknown(part: BaseModel, path: str = "report") -> list[str]:
    """The keys below ``part`` that the schema does not name."""
    found = [f"{path}.{key}" for key in part.model_extra or () if type(part).__name__ not in OPEN]
    for name in type(part).model_fields:
        value = getattr(part, name)
        inside = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [value])
        for key, each in inside:
            if isinstance(each, BaseModel):
                found += unknown(each, f"{path}.{name}.{key}")
    return found


def test_the_schema_on_disk_is_that_of_the_model():
    file = Path(optkit.report.__file__).with_name("report.schema.json")
    assert file.read_text(encoding="utf-8") == json_schema(), "run scripts/report_schema"


def test_what_a_run_writes_is_in_the_schema_and_read_as_it_is(finished_run):
    written = json.loads((finished_run.folder / "report.json").read_text())
    report = load_report(finished_run.folder)
    assert written["format"] == FORMAT and json.loads(report.model_dump_json()) == written
    assert unknown(report) == []


def test_names_of_earlier_formats_become_ids(report):
    found = migrate(report)
    split = found["evaluate"]["splits"]["validation"]
    assert found["format"] == FORMAT and split["examples"] == 1000 and split["agreement"] == 0.9931
    assert list(split["scores"]) == ["dense/fp32/torch", "pruned/fp32/torch", "pruned/int8/openvino"]
    [shape] = found["benchmark"]["shapes"]
    assert [row["variant"] for row in shape["rows"]] == ["dense/fp32/torch", "pruned/int8/openvino"]
    assert found["evaluate"]["judged"] == "pruned/int8/openvino" and migrate(found) == found


@pytest.mark.parametrize("number", [3, FORMAT])
def test_the_benchmark_of_the_third_format_is_a_result(report, number):
    """Figures by variant become rows, words for engines variants, and the machine is that of the stage; also where an
    earlier release did the stage and this one writes the report.
    """
    dense, plain, ours = "dense/fp32/openvino", "pruned/fp32/openvino", "pruned/fp32/optkit"
    row = {
        "batch": 4,
        "seq": 16,
        "milliseconds": {dense: 8.0, plain: 5.0, ours: 2.0},
        "quartiles": {dense: [7.5, 8.5]},
        "against": dense,
        "ratios": {plain: [1.6, 1.5, 1.7], ours: [4.0, 3.9, 4.1]},
        "plain": plain,
        "over_plain": {dense: [0.6, 0.5, 0.7], ours: [2.5, 2.4, 2.6]},
        "noisy": [ours],
    }
    benchmark = {"rows": [row], "threads": 2, "rounds": 7, "precision": "bf16", "runtime": "all of it"}
    benchmark |= {"skipped": {"optkit": "no library", "dense openvino": "refused", "tvm": "none"}}
    benchmark |= {"machine": {"load": [0.5], "steal": 0.25}}
    measured = {"benchmark": {"machine": {"cpu": "Another CPU"}, "versions": {"openvino": "2026.1"}}}
    found = parse_report(migrate(report) | {"format": number, "benchmark": benchmark, "measured": measured}).benchmark
    [shape] = found.shapes
    assert [(each.variant.id, each.per_second, each.plan) for each in shape.rows] == [
        (dense, 500.0, None),
        (plain, 800.0, None),
        (ours, 2000.0, "all of it"),
    ]
    assert (shape.against.id, shape.plain.id, [own.id for own in shape.noisy]) == (dense, plain, [ours])
    assert shape.ratios[Variant.parse(ours)] == [4.0, 3.9, 4.1] and list(shape.quartiles.values()) == [[7.5, 8.5]]
    assert (found.threads, found.rounds, found.precision, found.runtime) == (2, 7, "bf16", "all of it")
    assert (found.machine.cpu, found.machine.load, found.machine.steal) == ("Another CPU", [0.5], 0.25)
    assert found.versions == {"openvino": "2026.1"}
    left_out = [(each.variant and each.variant.id, each.backend, each.why) for each in found.left_out]
    assert left_out == [(ours, None, "no library"), (dense, None, "refused"), (None, "tvm", "none")]


def test_int8_weights_has_its_own_name(report):
    report["export"] = {"quantization": {"method": "int8_weights", "fp32": []}}
    found = parse_report(report)
    assert Variant("pruned", "int8_weights", "openvino") in found.evaluate.first
    assert "| int8 weights IR | 88.50 validation, 89.00 test |" in render(found)


def test_keys_that_a_newer_release_added_are_kept(report):
    report |= {"added": {"later": 1}}
    report["machine"]["sockets"] = 2
    found = json.loads(parse_report(report).model_dump_json())
    assert found["added"] == {"later": 1} and found["machine"]["sockets"] == 2
    assert json.loads(parse_report(found).model_dump_json()) == found


@pytest.mark.parametrize("number", [None, "3", True, 0, FORMAT + 1, [3]])
def test_another_format_is_one_line(report, number):
    with pytest.raises(OptkitError, match="the report: a report of another optkit: it has .*: run the recipe again"):
        parse_report(report | {"format": number})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", "3", "seed is no whole number"),
        ("bytes", {"pruned": 1.5}, "bytes.pruned is no whole number"),
        ("history", 3, "history is no list"),
        ("sparsity", {}, "sparsity.openvino is missing"),
        ("seconds", {"plan": float("inf")}, "seconds.plan is no number"),
    ],
)
def test_a_wrong_type_names_file_and_key(report, tmp_path, key, value, said):
    (tmp_path / "report.json").write_text(json.dumps(report | {key: value}))
    with pytest.raises(OptkitError) as raised:
        load_report(tmp_path)
    assert str(raised.value) == f"{tmp_path}/report.json: damaged or edited: {said}: run the recipe again"


def test_what_is_no_report_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no report.json here"):
        load_report(tmp_path)
    for text in ("[]", "{", "\xff"):
        (tmp_path / "report.json").write_text(text, encoding="latin-1")
        with pytest.raises(OptkitError, match="not a report that this optkit can read: run the recipe again"):
            load_report(tmp_path)
