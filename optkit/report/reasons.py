"""Why a model is no faster than the dense one, as far as a run's own measurements and shapes say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from optkit.report.speed import Speedup, inputs, ratios, reference, times
from optkit.report.words import counted, sparse_layers

#: Multiplications of an inference in the pruned layers, below which they are too little work to gain on.
SMALL = 50e6
PLAIN = "plain OpenVINO: "
_INT8_SETS = ("avx_vnni", "avx512_vnni", "amx_int8")


def reasons(report: Mapping[str, Any], found: Speedup) -> list[str]:
    """Clauses, the surest first; none where nothing that was recorded explains it.

    Args:
        found: the speedup that is none.
    """
    benchmark, layers = report["benchmark"], sparse_layers(report)
    said = []
    if found.noisy:
        said.append("the machine was too noisy to tell the times apart")
    if not layers:
        said.append("no layer has zeros to skip")
    elif found.of.endswith("optkit"):
        if (plan := benchmark.get("runtime", "")).startswith(PLAIN):
            # Where it was measured is said of the whole model already.
            plan = re.sub(r" at [^,:]+ threads$", "", plan.removeprefix(PLAIN))
            said.append(f"optkit's plan left all layers to OpenVINO ({plan})")
    elif why := benchmark["skipped"].get("optkit"):
        said.append(f"the sparse runtime did not run ({why})")
    else:
        said.append("only the sparse runtime skips zeros, and it was not measured")
    said += _int8(report, found)
    if layers:
        said += _sizes(report, found)
    said += _elsewhere(report, found)
    return said


def _row(report: Mapping[str, Any], found: Speedup) -> Mapping[str, Any]:
    rows = report["benchmark"]["rows"]
    return next(row for row in rows if inputs(row) == found.inputs and found.of in row["milliseconds"])


def _int8(report: Mapping[str, Any], found: Speedup) -> list[str]:
    sets, row = report["machine"].get("instruction_sets"), _row(report, found)
    ratio = ratios(row).get("int8 openvino")
    if reference(row) != "dense openvino" or ratio is None or (ratio[2] if len(ratio) == 3 else ratio[0]) >= 1:
        return []
    slower = f"int8 is slower than {'fp32' if found.precision == 'f32' else found.precision} in OpenVINO on this CPU"
    if sets and not set(sets) & set(_INT8_SETS):
        return [f"{slower}, which has no VNNI instructions"]
    return [slower]


def _sizes(report: Mapping[str, Any], found: Speedup) -> list[str]:
    """What the shapes say of the work; of tokens only, images having become an unknown number of them."""
    if found.seq is None:
        return []
    layers = [layer for layer in counted(report)["layers"] if layer["structure"] != "dense"]
    weights = sum(layer.get("size") or 0 for layer in layers)
    left = sum((layer.get("size") or 0) * (1 - layer["sparsity"]) for layer in layers)
    tokens, said = found.batch * found.seq, []
    if 0 < weights * tokens < SMALL:
        work = f"{weights / 1e6:.1f} million weights at {found.inputs}"
        said.append(f"the pruned layers are too small for their zeros to save much ({work})")
    # A transformer block of width d has about 12 d^2 weights, and attends with 2 n d multiplications a token.
    width = min((min(layer["shape"]) for layer in layers), default=0)
    if left and width and (attention := found.seq / (6 * width) * weights / left) > 1:
        said.append(
            f"at {found.seq} tokens attention, which zeros in weights do not shorten, is about {attention:.1f} times "
            "the work of the weights that are left"
        )
    return said


def _elsewhere(report: Mapping[str, Any], found: Speedup) -> list[str]:
    """Where it does gain, the best of what was measured."""
    gains = []
    for row in report["benchmark"]["rows"]:
        ratio = ratios(row).get(found.of)
        if ratio and reference(row) == found.against and min(ratio) > 1:
            gains.append((ratio[0], inputs(row)))
    if not gains:
        return []
    ratio, where = max(gains)
    return [f"at {where} it is {times(ratio)} times as fast"]
