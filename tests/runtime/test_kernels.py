"""Every instruction set computes what a Program means, over shapes, densities, block sizes and extremes."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import kernel_cases
import numpy as np
import pytest
import reference
from capabilities import lack

from optkit.runtime.program import Attention, Bias, RelativePositions

WORKER = Path(kernel_cases.__file__)
#: Cases whose outputs can be compared with the reference, each by the engine's own sources of its step.
STEP_BY_STEP = [name for name in kernel_cases.cases() if not re.search("fused|no numbers", name)]

#: Cases, and the digests of outputs of theirs that were found right.
_RIGHT: set[tuple[str, bytes]] = set()


def runnable() -> tuple[str, ...]:
    """Instruction sets that this CPU and this build of the library have."""
    from optkit.runtime import extension

    return extension.isas() if extension.available() else ("scalar",)


def rows() -> tuple[str, ...]:
    """All instruction sets of the library's table."""
    from optkit.runtime import extension

    return tuple(row.name for row in extension.instruction_sets()) if extension.available() else ("scalar",)


@pytest.fixture(scope="module")
def computed(extension, tmp_path_factory):
    """Every case's outputs by an instruction set, by case, list of inputs and output."""
    done: dict[str, dict[str, np.ndarray]] = {}

    def compute(isa: str) -> dict[str, np.ndarray]:
        if isa not in done:
            path = tmp_path_factory.mktemp(isa) / "outputs.npz"
            process = subprocess.run(
                [sys.executable, WORKER, path], env={**os.environ, "OPTKIT_ISA": isa}, capture_output=True, text=True
            )
            assert process.returncode == 0, process.stderr[-3000:]
            with np.load(path) as arrays:
                done[isa] = dict(arrays)
            assert done[isa].pop("isa") == isa
        return done[isa]

    return compute


@pytest.mark.parametrize("isa", rows())
def test_instruction_set_is_tried(extension, isa):
    if isa not in extension.compiled_isas():
        lack("instruction-sets", f"the library was built without {isa}")
    if isa not in extension.isas():
        lack("instruction-sets", f"this CPU has no {isa}: compiled and untried")
    assert isa in runnable()


def test_sums_of_exact_cases_fit_float32():
    for name, case in kernel_cases.cases().items():
        # Those of the saturation cases are larger, and have few bits set.
        assert kernel_cases.fits(case) or not case.exact or name.startswith("saturation"), name


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("name", STEP_BY_STEP)
def test_kernels(computed, name, isa):
    """Each output is within float32's reach of the reference, which is given the engine's own sources of the step."""
    case = kernel_cases.cases()[name]
    assert_steps(case, computed(isa), name, None if case.exact else tolerance_of(case))


def tolerance_of(case, *, bf16: bool = False):
    def tolerance(step, values):
        if isinstance(step, Attention):
            return reference.attention_tolerance(step, values, bf16=bf16, integer_scores=case.integer_scores)
        if isinstance(step, RelativePositions):
            return reference.relative_tolerance(step, values, bf16=bf16)
        return reference.tolerance(step, values)

    return tolerance


def has_bf16(isa: str) -> bool:
    from optkit.runtime import extension

    return isa == "amx_emulated" or "avx512_bf16" in extension.instruction_set(isa).features


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("name", [*filter(kernel_cases.in_bfloat16, STEP_BY_STEP)])
def test_attention_where_bfloat16_is_allowed(computed, name, isa):
    """Within what rounding to 8 bits costs, where there are such products; elsewhere the bits of float32."""
    case, outputs = kernel_cases.cases()[name], computed(isa)
    if has_bf16(isa):
        return assert_steps(case, outputs, f"bf16 {name}", tolerance_of(case, bf16=True))
    for number, position in np.ndindex(len(case.inputs), len(case.program.outputs)):
        np.testing.assert_array_equal(
            outputs[f"bf16 {name}|{number}|{position}"], outputs[f"{name}|{number}|{position}"]
        )


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("name", ["attention 1x128, 12 heads of 64, keys", "integer attention 3x33, 3 heads of 20"])
def test_bfloat16_is_used_where_there_are_such_products(computed, name, isa):
    outputs = computed(isa)
    keys = [key for key in outputs if key.startswith(name)]
    assert keys
    for key in keys:
        assert np.array_equal(outputs[key], outputs[f"bf16 {key}"]) != has_bf16(isa)


@pytest.mark.parametrize(
    ("isa", "other"),
    [
        (isa, other)
        for isa, other in (("avx512bf16", "avx512vnni"), ("amx", "avx512bf16"), ("amx_emulated", "scalar"))
        if isa in runnable()
    ],
)
def test_at_float32_a_set_gives_the_bits_of_the_one_that_it_extends(computed, isa, other):
    """By products of bfloat16, which float32 does not use, or by other kernels for products of int8, which are exact."""
    without, found = computed(other), computed(isa)
    assert without.keys() == found.keys()
    for key in found:
        if not key.startswith("bf16 "):
            np.testing.assert_array_equal(found[key], without[key], key)


def assert_steps(case, outputs, name, tolerance):
    """Every output of a case under ``name`` is right, given the engine's own sources of its step where these are
    outputs; exactly so if ``tolerance`` is None. Outputs that another set gave bit for bit are not computed anew."""
    found = [
        {value: outputs[f"{name}|{number}|{i}"] for i, value in enumerate(case.program.outputs)}
        for number in range(len(case.inputs))
    ]
    bits = hashlib.sha256()
    for array in (array for got in found for array in got.values()):
        bits.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    if (name, bits.digest()) in _RIGHT:
        return
    for number, (inputs, got) in enumerate(zip(case.inputs, found, strict=True)):
        values = dict(zip(case.program.inputs, inputs))
        for step in case.program.steps:
            result = got.get(step.target)
            expected = reference.compute(step, values)
            if result is not None:
                where = f"{type(step).__name__} {step.target}, inputs {number}: {[array.shape for array in inputs]}"
                assert result.dtype == np.float32 and result.shape == expected.shape, where
                allowed = np.zeros(()) if tolerance is None else tolerance(step, values)
                assert_within(result, expected, allowed, where)
            values[step.target] = expected if result is None else result
            if isinstance(step, RelativePositions | Bias):
                values[-1 - step.target] = (tolerance or reference.tolerance)(step, values)
    _RIGHT.add((name, bits.digest()))


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("kind", ["gelu_erf", "gelu_tanh"])
def test_gelu_is_as_exact_as_its_comment_says(computed, kind, isa):
    name = f"all of {kind}"
    case = kernel_cases.cases()[name]
    (x,) = case.inputs[0]
    exact = reference.ACTIVATION_FUNCTIONS[kind](x.astype(np.float64))
    off = np.abs(computed(isa)[f"{name}|0|0"] - exact) / np.maximum(1, np.abs(x))
    assert off.max() < 5e-7
    assert computed(isa)["activation gelu_erf|0|0"].ravel()[-8] == 0  # of 0


@pytest.mark.parametrize("isa", runnable())
def test_no_numbers(computed, isa):
    """A quantizer makes NaN its lowest step; GELU, SiLU and LayerNorm carry it on, within its token."""
    outputs = computed(isa)
    np.testing.assert_array_equal(outputs["no numbers, quantized|0|0"][0, :, 3], [0, -64, -64, 63.5, 63.5])
    for name in ("gelu_erf", "gelu_tanh", "silu", "LayerNorm"):
        token = np.isnan(outputs[f"no numbers, {name}|0|0"][0, 1])
        assert token[3] and (name == "LayerNorm" or token.sum() == 1), name
    np.testing.assert_array_equal(outputs["no numbers, relu|0|0"][0, :, 3], np.float32([0, 0, 0, np.inf, 1e30]))
    for name in ("gelu_erf", "gelu_tanh"):
        got = outputs[f"no numbers, {name}|0|0"][0, :, 3]
        assert got[0] == 0 and -1e-6 < got[2] <= 0, got
        np.testing.assert_array_equal(got[3:], np.float32([np.inf, 1e30]))


def assert_within(result, expected, allowed, where):
    off = np.abs(result.astype(np.float64) - expected)
    # Below float32's normal numbers, where the engine may flush to zero, nothing is asked.
    wrong = ~(off <= allowed + 1e-37)
    if wrong.any():
        at = np.unravel_index(np.argmax(np.where(wrong, off, -1)), off.shape)
        allowed = np.broadcast_to(allowed, off.shape)[at]
        pytest.fail(
            f"{where}: {wrong.sum()} of {wrong.size} are off, first {np.argwhere(wrong)[0]}, the furthest at {at}: "
            f"{result[at]!r} for {expected[at]!r} (allowed {allowed:.3g})",
            pytrace=False,
        )


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("name", [name for name in kernel_cases.cases() if re.search("(?<!integer), fused", name)])
def test_what_is_fused_gives_the_same(computed, name, isa):
    """With only some values asked for, so that the others may stay in registers, these have the bits they had.

    Not so queries and keys that meet as integers, and as floats when they are asked for.
    """
    outputs, case = computed(isa), kernel_cases.cases()[name]
    whole = name.replace("fused", "every value")
    positions = kernel_cases.cases()[whole].program.outputs
    for precision in ("", "bf16 ") if kernel_cases.in_bfloat16(name) else ("",):
        for number in range(len(case.inputs)):
            for i, value in enumerate(case.program.outputs):
                apart = outputs[f"{precision}{whole}|{number}|{positions.index(value)}"]
                found = outputs[f"{precision}{name}|{number}|{i}"]
                np.testing.assert_array_equal(found, apart, f"{precision}value {value}, inputs {number}")


@pytest.mark.parametrize("isa", runnable())
@pytest.mark.parametrize("name", [name for name in kernel_cases.cases() if re.match("layer .* fused", name)])
def test_layers_as_a_whole(computed, name, isa):
    """Against the reference of the whole layer. A number that rounds the other way early is carried on: each is worth
    a step of 1/64 of the range times a weight, and LayerNorm brings all to unit variance."""
    outputs, case = computed(isa), kernel_cases.cases()[name]
    for number, inputs in enumerate(case.inputs):
        off = np.abs(outputs[f"{name}|{number}|0"] - reference.run(case.program, inputs)[0])
        assert off.max() < 0.1 and off.mean() < 0.004
