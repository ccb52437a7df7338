"""What is said of OpenVINO's default precision where nothing is scored."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.export import precision

SAMPLES = [{"input_ids": [5, 6, 7 + i], "attention_mask": [1, 1, 1]} for i in range(5)]


def test_where_f32_is_the_default_other_cpus_are_named(monkeypatch, encoder_folder):
    monkeypatch.setattr(precision, "default_precision", lambda: "f32")
    said = precision.advice(encoder_folder / "openvino_model.xml", SAMPLES)
    assert said.startswith("precision: OpenVINO computes in f32 by default on this CPU; on CPUs with bf16 ")
    assert said.endswith("or serve it with INFERENCE_PRECISION_HINT=f32")


def test_outputs_are_compared_where_it_is_not(monkeypatch, encoder_folder):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    xml = encoder_folder / "openvino_model.xml"
    assert precision.advice(xml, ()).endswith(
        "by default on this CPU: score it so, and with INFERENCE_PRECISION_HINT=f32"
    )
    outputs = precision.outputs

    def moved(compiled, feeds):
        """In f32 as it is; at the default a tenth of the largest off, and the first sample decides otherwise."""
        found = outputs(compiled, feeds)
        assert [each[0].shape for each in found] == [(1, 2)] * 5
        asked.append(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        if len(asked) == 2:
            return [[np.array([[1.0, 0.0]])] for _ in found]
        return [[np.array([[0.0, 0.1]])], *([np.array([[0.9, 0.0]])] for _ in found[1:])]

    asked: list[str] = []
    monkeypatch.setattr(precision, "outputs", moved)
    said = precision.advice(xml, SAMPLES)
    assert asked[1] == "f32"
    assert "outputs are up to 100.0% of the largest off those with INFERENCE_PRECISION_HINT=f32, and 1 of 5" in said


def test_a_mask_that_samples_lack_is_all_ones_as_in_calibration(monkeypatch, encoder_folder):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    xml, found = encoder_folder / "openvino_model.xml", []
    outputs = precision.outputs
    monkeypatch.setattr(precision, "outputs", lambda *given: found.append(outputs(*given)) or found[-1])
    precision.advice(xml, SAMPLES)
    precision.advice(xml, [{"input_ids": each["input_ids"]} for each in SAMPLES])
    precision.advice(xml, [each | {"attention_mask": [0, 0, 0]} for each in SAMPLES])
    whole, unmasked, zeros = found[1::2]
    assert np.array_equal(unmasked, whole) and not np.array_equal(zeros, whole)


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 1)])
def test_what_is_no_logit_of_a_whole_input_decides_nothing(monkeypatch, encoder_folder, shape):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    monkeypatch.setattr(precision, "outputs", lambda compiled, feeds: [[np.ones(shape)] for _ in feeds])
    assert "decide otherwise" not in precision.advice(encoder_folder / "openvino_model.xml", SAMPLES)


@pytest.mark.parametrize(
    ("default", "f32", "said"),
    [
        ([[1.0, -np.inf]], [[1.0, -np.inf]], "up to 0.0% of the largest off"),
        ([[1.0, 3.0]], [[4.0, -np.inf]], "up to 75.0% of the largest off"),
        ([[np.nan, 1.0]], [[1.0, 1.0]], "outputs are not finite where those with INFERENCE_PRECISION_HINT=f32 are: "),
        ([[np.inf, 1.0]], [[1.0, 1.0]], "outputs are not finite where those with INFERENCE_PRECISION_HINT=f32 are: "),
    ],
)
def test_outputs_that_are_not_finite(monkeypatch, encoder_folder, default, f32, said):
    """In the last sample."""
    turns = iter(([default], [f32]))

    def outputs(compiled, feeds):
        last = next(turns)
        return [*([np.ones((1, 2))] for _ in feeds[1:]), [np.array(part) for part in last]]

    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    monkeypatch.setattr(precision, "outputs", outputs)
    assert said in precision.advice(encoder_folder / "openvino_model.xml", SAMPLES)
