"""`quantize`: defaults by method, shorthands, and what contradicts or does not parse, a line each."""

from __future__ import annotations

import pytest

from optkit.quantization.config import Quantization


def test_defaults_are_written_out_and_build_the_same(recipes):
    plain = recipes.load(recipes.minimal).quantize
    assert (plain.smooth_quant, plain.bias_correction, plain.ignored) == ("auto", "fast", ())
    assert plain.build() == Quantization() and plain.finetune is None and plain.control.samples == 1000
    weights = recipes.load(recipes.minimal, "quantize.method=int8_weights").quantize
    assert (weights.smooth_quant, weights.bias_correction) == (False, False)
    assert weights.build() == Quantization.of_weights()
    assert type(weights).model_validate(weights.model_dump()) == weights
    assert "smooth_quant: false" in recipes.load(recipes.minimal, "quantize.method=int8_weights").resolved_yaml()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smooth_quant: null", {"smooth_quant": None}),
        ("smooth_quant: false", {"smooth_quant": None}),
        ("smooth_quant: auto", {"smooth_quant": "auto"}),
        ("smooth_quant: 1", {"smooth_quant": 1.0}),
        ("bias_correction: true", {"bias_correction": "fast"}),
        ("bias_correction: accurate", {"bias_correction": "accurate"}),
        ("bias_correction: null", {"bias_correction": None}),
        ("ignored: classifier", {"ignored": ("classifier",)}),
        ("max_drop: 1, sensitivity: true", {"max_drop": 1.0, "sensitivity": True}),
    ],
)
def test_what_can_be_written(recipes, text, expected):
    recipe = recipes.load(recipes.minimal.replace("{method: int8}", f"{{{text}}}"))
    assert recipe.quantize.build() == Quantization(**expected)


def test_fine_tuning(recipes):
    spec = recipes.load(recipes.minimal, "quantize.finetune={}").quantize.finetune
    assert (spec.steps, spec.learning_rate, spec.batch_size) == (200, 1e-5, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "smooth_quant: 1.5",
            "quantize.smooth_quant: expected a strength above 0 and up to 1, auto, or false to switch it",
        ),
        (
            "smooth_quant: 0",
            "quantize.smooth_quant: expected a strength above 0 and up to 1, auto, or false to switch it",
        ),
        (
            "smooth_quant: true",
            "quantize.smooth_quant: expected a strength above 0 and up to 1, auto, or false to switch it",
        ),
        ("bias_correction: slow", "quantize.bias_correction: unknown value 'slow', one of auto, fast, accurate"),
        ("method: int4", "quantize.method: unknown value 'int4'"),
        ("ignored: 're:('", "quantize.ignored: 're:(' is not a valid regular expression:"),
        ("max_drop: -1", "quantize.max_drop: must be at least 0, got -1"),
        ("control: {samples: 0}", "quantize.control.samples: must be at least 1, got 0"),
        ("finetune: {steps: 0}", "quantize.finetune.steps: must be at least 1, got 0"),
        ("finetune: {rate: 1}", "quantize.finetune.rate: unknown key"),
        (
            "method: int8_weights, smooth_quant: 0.5",
            "quantize.smooth_quant: is about activations, which int8_weights does not change: remove it, or write method: int8",
        ),
        (
            "method: int8_weights, bias_correction: fast",
            "quantize.bias_correction: is about activations, which int8_weights does not change: remove it, or write method: int8",
        ),
        ("method: int8_weights, weight_range: full", "quantize.weight_range: is for int8 products"),
        ("method: int8_weights, accuracy_backend: optkit", "quantize.accuracy_backend: is for int8 products"),
        (
            "method: int8_weights, finetune: {}",
            "quantize.finetune: is for method: int8 only, as int8_weights loses little: remove it, or write method: int8",
        ),
    ],
)
def test_faults(recipes, text, said):
    [problem] = recipes.problems(recipes.minimal.replace("{method: int8}", f"{{{text}}}"))
    assert f": {said}" in problem
