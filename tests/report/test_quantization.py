"""The report's paragraphs on int8."""

from __future__ import annotations

from optkit.report.quantization import quantization
from optkit.report.stage_facts import Quantization


def test_what_is_said_of_int8():
    assert quantization(None) == []
    assert quantization(Quantization(method="int8_weights")) == [
        "int8 weights, floating-point activations; no layer is left in fp32."
    ]
    control = {"limit": 0.5, "reference": 0.9, "before": 2.25, "after": 0.4, "tried": 5}
    control |= {"metric": "f1", "examples": 1000, "held_out": False}
    layers = [{"module": f"m.{i}", "error": 0.5 - i / 100} for i in range(12)]
    table = {"layers": layers, "together": 0.6, "samples": 32}
    facts = {"method": "int8", "fp32": ["m.0", "head"], "control": control, "sensitivity": table}
    first, second, _, rows = quantization(Quantization.model_validate(facts))
    assert first == "int8 weights and activations; in fp32: `m.0`, `head`."
    assert second == (
        "Accuracy control: f1 on 1,000 examples of the training split is 90.00 in fp32; int8 loses 2.25 points with "
        "everything quantized and 0.40 as it is, 0.5 are allowed; 5 quantized models were tried."
    )
    lines = rows.markdown().splitlines()
    assert len(lines) == 13 and lines[2] == "| m.0 | 50.00% |" and lines[-1] == "| all together | 60.00% |"
