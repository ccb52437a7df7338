"""What is said of OpenVINO's default precision where nothing is scored."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.export import precision
from optkit.ir.io import save_model

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
    outputs = precision._outputs

    def moved(compiled, samples):
        """In f32 as it is; at the default a tenth of the largest off, and the first sample decides otherwise."""
        found = outputs(compiled, samples)
        asked.append(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        if len(asked) == 2:
            return [np.array([[1.0, 0.0]]) for _ in found]
        return [np.array([[0.0, 0.1]]), *(np.array([[0.9, 0.0]]) for _ in found[1:])]

    asked: list[str] = []
    monkeypatch.setattr(precision, "_outputs", moved)
    said = precision.advice(xml, SAMPLES)
    assert asked[1] == "f32"
    assert "outputs are up to 100.0% of the largest off those with INFERENCE_PRECISION_HINT=f32, and 1 of 5" in said


def test_inputs_that_no_sample_has_are_zero(make_encoder, tmp_path):
    from optkit.ir.io import import_openvino

    save_model(make_encoder(), tmp_path)
    compiled = import_openvino().Core().compile_model(tmp_path / "openvino_model.xml", "CPU")
    whole = precision._outputs(compiled, SAMPLES)
    assert [each.shape for each in whole] == [(1, 2)] * 5
    unmasked = precision._outputs(compiled, [{"input_ids": each["input_ids"]} for each in SAMPLES])
    zeros = precision._outputs(compiled, [each | {"attention_mask": [0, 0, 0]} for each in SAMPLES])
    assert np.array_equal(unmasked, zeros) and not np.array_equal(unmasked, whole)


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 1)])
def test_what_is_no_logit_of_a_whole_input_decides_nothing(monkeypatch, encoder_folder, shape):
    monkeypatch.setattr(precision, "default_precision", lambda: "bf16")
    monkeypatch.setattr(precision, "_outputs", lambda compiled, samples: [np.ones(shape) for _ in samples])
    assert "decide otherwise" not in precision.advice(encoder_folder / "openvino_model.xml", SAMPLES)
