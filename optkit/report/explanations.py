"""Why a model is no faster than the dense one, by the measurements and shapes of its run."""

from __future__ import annotations

import re

from optkit.benchmark.result import BenchmarkResult, Shape
from optkit.report.schema import Facts
from optkit.report.speed import Speedup, ratio_text, ratios
from optkit.variant import DENSE

#: Multiplications of an inference in the pruned layers, below which they are too little work to gain on.
SMALL = 50e6
PLAIN = "plain OpenVINO: "
_INT8_SETS = ("avx_vnni", "avx512_vnni", "amx_int8")


def explanations(facts: Facts, found: Speedup) -> list[str]:
    """Reasons, the most certain first; none where nothing that was recorded explains it.

    Args:
        found: the measured speedup, which is no gain.
    """
    benchmark, layers = facts.benchmark, facts.sparse_layers
    if benchmark is None:
        return []
    said = []
    if found.noisy:
        said.append("the machine was too noisy to tell the times apart")
    if not layers:
        said.append("no layer has zeros to skip")
    elif found.of.engine == "optkit":
        if (plan := benchmark.runtime or "").startswith(PLAIN):
            # Where it was measured is said of the whole model already.
            plan = re.sub(r" at [^,:]+ threads$", "", plan.removeprefix(PLAIN))
            said.append(f"optkit's plan left all layers to OpenVINO ({plan})")
    elif why := _runtime_left_out(benchmark):
        said.append(f"the sparse runtime did not run ({why})")
    else:
        said.append("only the sparse runtime skips zeros, and it was not measured")
    said += _slow_int8(facts, benchmark, found)
    if layers:
        said += _layer_sizes(facts, found)
    return said + _gains_at_other_inputs(benchmark, found)


def _shape(benchmark: BenchmarkResult, found: Speedup) -> Shape:
    return next(shape for shape in benchmark.shapes if shape.inputs == found.inputs and found.of in shape.milliseconds)


def _runtime_left_out(benchmark: BenchmarkResult) -> str | None:
    """Why optkit's runtime was not timed; None where the benchmark does not say it."""
    return next((each.why for each in benchmark.left_out if each.variant and each.variant.engine == "optkit"), None)


def _slow_int8(facts: Facts, benchmark: BenchmarkResult, found: Speedup) -> list[str]:
    sets, shape = facts.machine.instruction_sets, _shape(benchmark, found)
    ratio = ratios(shape).get(found.of.on("openvino")) if found.of.precision == "int8" else None
    if shape.against != DENSE.on("openvino") or ratio is None or (ratio[2] if len(ratio) == 3 else ratio[0]) >= 1:
        return []
    slower = f"int8 is slower than {'fp32' if found.precision == 'f32' else found.precision} in OpenVINO on this CPU"
    if sets and not set(sets) & set(_INT8_SETS):
        return [f"{slower}, which has no VNNI instructions"]
    return [slower]


def _layer_sizes(facts: Facts, found: Speedup) -> list[str]:
    """Reasons from the shapes of layers and inputs; none for images, whose number of tokens is not known."""
    if found.seq is None:
        return []
    layers = [layer for layer in facts.sparse_layers if layer.structure != "dense"]
    weights = sum(layer.size or 0 for layer in layers)
    left = sum((layer.size or 0) * (1 - layer.sparsity) for layer in layers)
    tokens, said = found.batch * found.seq, []
    if 0 < weights * tokens < SMALL:
        work = f"{weights / 1e6:.1f} million weights at {found.inputs}"
        said.append(f"the pruned layers are too small for their zeros to save much ({work})")
    # A transformer block of width d has about 12 d^2 weights, and attends with 2 n d multiplications a token.
    width = min((min(layer.shape, default=0) for layer in layers), default=0)
    if left and width and (attention := found.seq / (6 * width) * weights / left) > 1:
        said.append(
            f"at {found.seq} tokens attention, which zeros in weights do not shorten, is about {attention:.1f} times "
            "the work of the weights that are left"
        )
    return said


def _gains_at_other_inputs(benchmark: BenchmarkResult, found: Speedup) -> list[str]:
    """The inputs with the best gain, if there is one."""
    gains = []
    for shape in benchmark.shapes:
        ratio = ratios(shape).get(found.of)
        if ratio and shape.against == found.against and min(ratio) > 1:
            gains.append((ratio[0], shape.inputs))
    if not gains:
        return []
    ratio, where = max(gains)
    return [f"at {where} it is {ratio_text(ratio)} times as fast"]
