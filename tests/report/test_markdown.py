"""The report as people read it."""

from __future__ import annotations

from optkit.report.reading import parse_report
from optkit.report.render.markdown import render
from optkit.report.result_tables import headline


def test_headline(report):
    assert headline(parse_report(report)) == [
        ("dense", "90.00 validation, 91.00 test", "-", "90.9 MB", "8.13 ms"),
        ("pruned", "88.75 validation, 90.00 test", "81.25%", "90.9 MB", "-"),
        ("int8 IR", "88.50 validation, 89.00 test", "-", "23.4 MB", "2.50 ms"),
    ]


def test_headline_of_an_fp32_ir_without_baseline_or_benchmark(report):
    for split in report["evaluate"]["splits"].values():
        del split["dense"]
        split["openvino"] = split.pop("int8")
    report["benchmark"] = None
    assert [row[0] for row in headline(parse_report(report))] == ["pruned", "fp32 IR"]
    assert {row[-1] for row in headline(parse_report(report))} == {"-"}


def test_render(report):
    text = render(report)
    assert text.startswith(
        f"# small\n\nA small one.\n\n{parse_report(report).verdict}\n\n"
        "| model | accuracy | sparsity | on disk | latency |\n|---|--:|--:|--:|--:|\n"
        "| dense | 90.00 validation, 91.00 test | - | 90.9 MB | 8.13 ms |\n"
    )
    for line in (
        "| int8 IR | 88.50 (86.37 to 90.33) | 1.50 | 89.00 (81.37 to 93.75) | 2.00 |",
        "| inputs | engine | milliseconds | times as fast |",
        "| 1 x 64 tokens | dense, PyTorch | 8.13 | 1 |",
        "|  | int8, OpenVINO | 2.50 | 3.25 |",
        "Median milliseconds of 20 rounds by turns, 2 threads. Times as fast as dense, PyTorch. `int8, optkit` was left out: this installation has no sparse runtime.",
        "| int8, OpenVINO | 1.50 | 3.25 | no |",
        "Checkpoint and exported IR predict the same class for 99.31% on validation, 100.00% on test.",
        "| Linear weights of the encoder | 1,664 | 2,048 | 81.25% |",
        "| all parameters | 1,700 | 17,000 | 10.00% |",
        "| encoder.0.weight | 64x32 | 1x4 | 81.25% |",
        "| train | 1 h 2 min |",
        "A CPU, 2 cores, Linux. Seed 42. python 3.11.7, optkit 0.1.0, torch 2.13.0.",
        "Recipe `0123456789abcdef`, written out in recipe.resolved.yaml.",
    ):
        assert line in text.splitlines()
    assert "all Linear weights" not in text and text.endswith("\n") and "\n\n\n" not in text


def test_render_leaves_out_what_was_not_measured(report):
    report |= {"benchmark": None, "description": ""}
    text = render(report)
    assert "## Latency" not in text and "## Cost" not in text and text.startswith("# small\n\n81.2 % of")


def test_a_chosen_model_says_by_what(report):
    report["training"] |= {"chosen": {"step": 1200, "metric": "f1", "score": 0.9142, "loss": 0.3, "examples": 1347}}
    assert (
        "The model of step 1,200 is the best of those at the target sparsity: f1 91.42 on 1,347 training examples that "
        "were held out for this alone."
    ) in render(report).splitlines()


def test_an_allocation_shows_what_was_asked_for_predicted_and_measured(report):
    layers = [{"name": "a", "sparsity": 0.5}, {"name": "b", "sparsity": 0.904}]
    report["allocation"] = {"even": {"by": "sensitivity", "sparsity": 0.8, "layers": layers}}
    text = render(report)
    assert "\neven: 2 layers at 50% to 90% by sensitivity, 80.00% in all.\n" in text
    latency = {"speedup": 6.0, "predicted": 6.12, "dense_milliseconds": 9.0, "batch": 1, "seq": 64, "threads": 2}
    latency["measured"] = None
    report["allocation"] = {"fast": {"by": "latency", "sparsity": 0.8, "layers": layers} | latency}
    said = "asked for 6x, predicted 6.12x the dense model's 9.00 ms in OpenVINO fp32 at 1 x 64 tokens on 2 threads."
    assert f"; {said}\n" in render(report)
    report["benchmark"]["rows"][0]["milliseconds"] |= {"dense openvino": 10.0, "int8 optkit": 1.6}
    assert f"; {said} Measured: 6.25x.\n" in render(report)
    report["allocation"]["fast"]["measured"] = 6.05
    measured = said.replace("predicted 6.12x", "measured before training 6.05x")
    assert f"; {measured} Measured: 6.25x.\n" in render(report)
    report["allocation"]["fast"]["measured"] = None
    # At another length nothing was measured that the prediction is of.
    report["benchmark"]["rows"][0]["seq"] = 32
    assert f"; {said}\n" in render(report)


def test_what_came_with_its_zeros_is_not_called_dense(report):
    report["training"]["rules"] = []
    assert [row[0] for row in headline(parse_report(report))] == ["baseline", "checkpoint", "int8 IR"]
    assert "dense" not in render(report)


def test_what_scatters_is_marked(report):
    row = report["benchmark"]["rows"][0]
    row |= {"against": "dense torch", "quartiles": {"dense torch": [8.0, 8.2], "int8 openvino": [2.0, 4.0]}}
    row |= {"ratios": {"int8 openvino": [3.2, 1.5, 4.1]}, "noisy": ["int8 openvino"]}
    report["benchmark"]["machine"] = {"load": [1.25], "steal": 0.031}
    text = render(report)
    for line in (
        "| 1 x 64 tokens | dense, PyTorch | 8.13 | 8.00 to 8.20 | 1 |",
        "|  | int8, OpenVINO | 2.50 | 2.00 to 4.00 | 3.20 (1.50 to 4.10), noisy |",
    ):
        assert line in text.splitlines()
    assert "The machine's load was 1.25 when it began, 3.1% of its time taken by others." in text


def test_linear_layers_outside_the_encoder_are_named_with_their_share(report):
    assert "outside:" not in render(report)
    layer = report["sparsity"]["pruned"]["layers"][0]
    report["sparsity"]["pruned"]["layers"].append(layer | {"name": "pooler.weight", "shape": [16, 32]})
    said = "encoder_linear is 80.0% of the linear weights; outside: pooler.weight (20.0%)."
    assert said in render(report).splitlines()


def test_names_of_strangers_do_not_break_tables(report):
    report["sparsity"]["pruned"]["layers"][0]["name"] = "a|b\nc"
    assert "| a\\|b c | 64x32 | 1x4 | 81.25% |" in render(report).splitlines()


def test_at_which_precision_openvino_was_timed(report):
    report["benchmark"]["rows"][0]["milliseconds"]["dense openvino"] = 5.0
    assert "OpenVINO computed with the f32 hint." in render(report)
    report["benchmark"]["precision"] = "bf16"
    assert "OpenVINO computed at its default precision on this CPU, bf16." in render(report)
