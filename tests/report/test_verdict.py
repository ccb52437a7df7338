"""The verdict: what is said of every outcome, and the reasons where nothing was gained."""

from __future__ import annotations

import pytest

from optkit.report.explanations import explanations
from optkit.report.reading import parse_facts
from optkit.report.speed import speedup
from optkit.report.verdict import verdict as verdict_of


def verdict(report) -> str:
    return verdict_of(parse_facts(report))


def measured(report, ratio, *, of="int8 optkit", runtime="12 of 14 linear layers on the sparse runtime", **row):
    """``report`` with times of the dense model in OpenVINO and of ``of``, whose ratio has this interval."""
    times = {"dense openvino": 10.0, of: 10.0 / ratio[0]}
    rows = [{"batch": 1, "seq": 128, "milliseconds": times, "against": "dense openvino", "ratios": {of: ratio}} | row]
    report["benchmark"] = {"rows": rows, "skipped": {}, "threads": 2, "rounds": 20, "runtime": runtime}
    return report


def test_a_gain(report):
    report["evaluate"]["max_drop"] = 2.0
    assert verdict(measured(report, [3.4, 3.3, 3.5])) == (
        "81.2 % of the encoder's weights are zero, accuracy is 1.50 points below the dense baseline (max_drop allows 2), "
        "and on optkit's runtime it answers 3.40 times (95 % interval 3.30 to 3.50) as fast as the dense model in "
        "OpenVINO fp32 on A CPU, 2 threads, 1 x 128 tokens."
    )
    noisy = measured(report, [3.4, 3.3, 3.5], noisy=["dense openvino"])
    assert verdict(noisy).endswith("2 threads, 1 x 128 tokens, though times scattered too widely to be sure.")


def test_reports_of_medians_alone_say_so(report):
    assert verdict(report).endswith(
        "and in OpenVINO it answers 3.25 times (medians of 20 rounds) as fast as the dense model in PyTorch on A CPU, "
        "2 threads, 1 x 64 tokens."
    )


@pytest.mark.parametrize(
    ("drop", "limit", "within", "said"),
    [
        (1.5, None, True, ", accuracy is 1.50 points below the dense baseline, and"),
        (-0.25, None, True, ", accuracy is 0.25 points above the dense baseline, and"),
        (0.001, None, True, ", accuracy is that of the dense baseline, and"),
        (1.5, 1.0, False, ", accuracy is 1.50 points below the dense baseline (TOO MUCH: max_drop allows 1), and"),
        (None, 1.0, True, ", there is no baseline to compare accuracy with, and"),
    ],
)
def test_what_was_lost(report, drop, limit, within, said):
    report["evaluate"] |= {"drop": drop, "max_drop": limit, "within_max_drop": within}
    assert said in verdict(report)


def test_what_was_not_pruned_or_not_measured(report):
    report |= {"benchmark": None}
    report["sparsity"]["pruned"]["layers"][0]["structure"] = "dense"
    assert verdict(report).startswith("No weights are pruned, ") and verdict(report).endswith("speed was not measured.")
    report["benchmark"] = {"rows": [{"batch": 1, "seq": 8, "milliseconds": {"int8 openvino": 2.0}}], "threads": 1}
    assert verdict(report).endswith(
        "in OpenVINO it answers in 2.00 ms on A CPU, 1 thread, 1 x 8 tokens, with no dense model's time beside."
    )


def test_models_that_came_with_their_zeros_have_no_dense_baseline(report):
    report["training"]["rules"] = []
    assert "below the baseline, and" in verdict(report) and "as fast as the baseline in PyTorch" in verdict(report)


@pytest.mark.parametrize(
    ("ratio", "kind"),
    [
        ([1.02, 0.97, 1.06], "not measurably faster, 1.02 times (95 % interval 0.97 to 1.06)"),
        ([0.8, 0.7, 0.9], "slower"),
    ],
)
def test_no_gain_is_said_with_the_plan_as_the_reason(report, ratio, kind):
    plan = "plain OpenVINO: the sparse runtime does not gain here, measured 8.0 ms against OpenVINO's 7.5 at 1 x 128 tokens on 2 threads"
    said = verdict(measured(report, ratio, runtime=plan))
    assert f"on optkit's runtime it is {kind}" in said
    assert (
        "1 x 128 tokens: optkit's plan left all layers to OpenVINO (the sparse runtime does not gain here, measured "
        "8.0 ms against OpenVINO's 7.5)"
    ) in said


def why(report) -> str:
    facts = parse_facts(report)
    return "; ".join(explanations(facts, speedup(facts.benchmark)))


def test_a_missing_runtime(report):
    none = measured(report, [0.9, 0.8, 0.95], of="int8 openvino")
    none["machine"]["instruction_sets"] = ["avx2", "avx512_vnni"]
    assert "only the sparse runtime skips zeros, and it was not measured" in why(none)
    none["benchmark"]["skipped"] = {"optkit": "it was not built"}
    assert why(none).startswith(
        "the sparse runtime did not run (it was not built); int8 is slower than fp32 in OpenVINO"
    )
    assert "VNNI" not in why(none)
    none["machine"]["instruction_sets"] = ["avx2"]
    assert "on this CPU, which has no VNNI instructions" in why(none)


def test_noise_and_nothing_to_skip(report):
    flat = measured(report, [1.0, 0.5, 2.0], noisy=["int8 optkit"])
    flat["sparsity"]["pruned"]["layers"][0]["structure"] = "dense"
    assert why(flat) == "the machine was too noisy to tell the times apart; no layer has zeros to skip"


def test_small_layers_and_long_texts(report):
    """2,048 weights of 64 x 32, 384 of them left: attention over 512 tokens is 512 / (6 x 32) x 2048 / 384 of their work."""
    report["sparsity"]["pruned"]["layers"][0]["size"] = 2048
    slow = measured(report, [0.9, 0.8, 1.0], seq=512)
    assert "too small for their zeros to save much (0.0 million weights at 1 x 512 tokens)" in why(slow)
    assert f"is about {512 / 192 * 2048 / 384:.1f} times the work of the weights that are left" in why(slow)
    slow["sparsity"]["pruned"]["layers"][0] |= {"size": 4096 * 1024, "shape": [4096, 1024]}
    assert not why(slow)
    assert verdict(slow).endswith("1 x 512 tokens, and what was measured does not say why.")


def test_where_it_gains_is_said(report):
    slow = measured(report, [0.9, 0.8, 0.95])
    row = {
        "batch": 1,
        "seq": 32,
        "milliseconds": {"dense openvino": 5.0, "int8 optkit": 2.0},
        "against": "dense openvino",
    }
    slow["benchmark"]["rows"].append(row | {"ratios": {"int8 optkit": [2.5, 2.4, 2.6]}})
    assert why(slow).endswith("at 1 x 32 tokens it is 2.50 times as fast")


def test_the_other_reference_and_its_precision_are_named(report):
    found = measured(report, [3.4, 3.3, 3.5], over_plain={"int8 optkit": [1.75, 1.7, 1.8]}, plain="int8 openvino")
    found["benchmark"]["precision"] = "bf16"
    assert (
        "3.40 times (95 % interval 3.30 to 3.50) as fast as the dense model in OpenVINO at its default precision (bf16) "
        "on A CPU, 2 threads, 1 x 128 tokens, 1.75 times as fast as this int8 model in plain OpenVINO."
    ) in verdict(found)
    # Where the exported model is what it is held against, there is one reference.
    plain = measured(report, [2.0, 1.9, 2.1], of="int8 openvino", over_plain={"dense openvino": [0.5, 0.4, 0.6]})
    assert "in plain OpenVINO" not in verdict(plain)


def test_a_drop_on_the_runtime_says_so(report):
    report["evaluate"]["judged"] = "int8 optkit"
    assert "accuracy is 1.50 points below the dense baseline on optkit's runtime, and" in verdict(report)
