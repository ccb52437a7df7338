"""What OpenVINO's default precision does to a model's outputs, where nobody scores it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optkit.ir.io import import_openvino
from optkit.ir.precision import F32, HINT, default_precision

#: Samples that outputs are compared on, at most.
SAMPLES = 32
_HINT = f"{HINT}={F32[HINT]}"


def advice(xml: Path, samples: Sequence[Mapping[str, Sequence[int]]]) -> str:
    """A sentence on which precision to serve the IR with, by its outputs on ``samples`` (tokenised, unpadded) at
    OpenVINO's default precision and in f32.
    """
    default = default_precision()
    if default == F32[HINT]:
        return (
            f"precision: OpenVINO computes in {default} by default on this CPU; on CPUs with bf16 it computes in that "
            f"between int8 layers: score it there, or serve it with {_HINT}"
        )
    if not samples:
        return f"precision: OpenVINO computes in {default} by default on this CPU: score it so, and with {_HINT}"
    off, others = _difference(xml, samples[:SAMPLES])
    decided = "" if others is None else f", and {others} of {len(samples[:SAMPLES])} decide otherwise"
    return (
        f"precision: OpenVINO computes in {default} by default on this CPU: on calibration texts outputs are up to "
        f"{off:.1%} of the largest off those with {_HINT}{decided}: score both, and serve the better one"
    )


def _difference(xml: Path, samples: Sequence[Mapping[str, Sequence[int]]]) -> tuple[float, int | None]:
    """How far outputs lie apart, as a share of the largest; and on how many samples the largest logit is another one,
    None for outputs that are no logits of a whole input.
    """
    core = import_openvino().Core()
    plain, exact = (_outputs(core.compile_model(xml, "CPU", config), samples) for config in ({}, F32))
    largest = max(float(np.abs(each).max()) for each in exact)
    off = max(float(np.abs(one - two).max()) for one, two in zip(plain, exact, strict=True)) / max(largest, 1e-12)
    if exact[0].ndim != 2 or exact[0].shape[1] < 2:
        return off, None
    return off, sum(int(one.argmax()) != int(two.argmax()) for one, two in zip(plain, exact, strict=True))


def _outputs(compiled: Any, samples: Sequence[Mapping[str, Sequence[int]]]) -> list[np.ndarray]:
    """The first output for each sample as a batch of one; an input that no sample has is zero throughout."""
    found = []
    for sample in samples:
        length = len(next(iter(sample.values())))
        feed = {}
        for port in compiled.inputs:
            name = next((name for name in sample if name in port.get_names()), None)
            values = np.zeros((1, length)) if name is None else np.asarray(sample[name])[None]
            feed[port] = values.astype(port.get_element_type().to_dtype())
        found.append(np.array(compiled(feed)[0], np.float32))
    return found
