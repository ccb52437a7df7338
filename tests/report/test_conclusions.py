"""What follows from the facts, against numbers worked out another way."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binomtest

from optkit.report.conclusions import conclude, wilson
from optkit.report.prices import Instance, Prices
from optkit.report.reading import parse_facts, parse_report

INT8 = "pruned/int8/openvino"
PRICES = Prices("2026-01-01", "here", (Instance("m", 0.36, 8),))


def conclusions(report, prices) -> dict:
    """The report with its conclusions as JSON has it."""
    return json.loads(conclude(parse_facts(report), prices).model_dump_json())


@pytest.mark.parametrize(("right", "count"), [(885, 1000), (0, 40), (40, 40), (3, 7)])
def test_wilsons_interval(right, count):
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_only_shares_of_examples_have_intervals(report):
    report["evaluate"]["splits"]["test"]["int8"]["f1"] = 0.8
    found = conclusions(report, PRICES)["intervals"]
    assert found["validation"]["dense/fp32/torch"]["accuracy"] == list(wilson(0.9, 1000))
    assert set(found["test"][INT8]) == {"accuracy"}


def test_the_frontier_holds_what_was_scored_and_timed(report):
    times = {"dense torch": 10.0, "pruned torch": 12.0, "compact torch": 9.0, "int8 openvino": 5.0}
    report["benchmark"]["rows"] = [{"batch": 1, "seq": 64, "milliseconds": times}]
    found = conclusions(report, PRICES)["frontier"]
    assert (found["against"], found["inputs"]) == ("dense/fp32/torch", "1 x 64 tokens")
    points = {p["name"]: (round(p["drop"], 6), round(p["ratio"], 6), p["dominated"]) for p in found["points"]}
    assert points == {
        "dense, PyTorch": (0.0, 1.0, False),
        "pruned, PyTorch": (1.25, 0.833333, True),
        "int8, OpenVINO": (1.5, 2.0, False),
    }


def test_dollars_and_the_gain(report):
    found = conclusions(report, PRICES)
    # 8 cores run 4 copies of 2 threads, at 0.0001 dollars a second.
    dollars = {cost["engine"]: cost["dollars"] for cost in found["costs"]["costs"]}
    assert dollars == pytest.approx({"dense/fp32/torch": 0.0001 * 1e6 * 8.126e-3 / 4, INT8: 0.0001 * 1e6 * 2.5e-3 / 4})
    assert found["costs"]["date"] == "2026-01-01" and conclusions(report, None)["costs"] is None
    gain = found["gain"]
    assert gain["ratio"] == pytest.approx(8.126 / 2.5) and gain["gains"] and gain["why"] == []
    assert (gain["of"], gain["against"], gain["interval"]) == (INT8, "dense/fp32/torch", None)


def test_without_times_nothing_follows_from_them(report):
    report["benchmark"] = None
    found = conclusions(report, PRICES)
    assert (found["gain"], found["frontier"], found["costs"]) == (None, None, None)


def test_what_a_report_holds_already_is_kept(report):
    kept = conclusions(report, PRICES) | {"verdict": "As it was."}
    found = parse_report(kept)
    assert found.verdict == "As it was." and json.loads(found.model_dump_json()) == kept
    assert parse_report(report).costs is None


def test_dollars_of_a_report_that_made_up_its_prices_are_not_shown(report):
    whole = conclusions(report, PRICES) | {"format": 2}
    assert parse_report(whole).costs is not None
    assert parse_report(whole | {"costs": whole["costs"] | {"example": True}}).costs is None
