"""What OpenVINO's default precision does to a model's outputs, where nobody scores it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from optkit.adapters import nncf
from optkit.adapters.conversion_check import largest_difference
from optkit.ir.io import import_openvino, read_model
from optkit.ir.precision import F32, HINT, default_precision
from optkit.quantization.differences import outputs
from optkit.runtime.loading import compile_for_cpu

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
    begin = f"precision: OpenVINO computes in {default} by default on this CPU: on calibration texts outputs are"
    if not math.isfinite(off):
        return f"{begin} not finite where those with {_HINT} are: serve it so"
    decided = "" if others is None else f", and {others} of {len(samples[:SAMPLES])} decide otherwise"
    return (
        f"{begin} up to {off:.1%} of the largest off those with {_HINT}{decided}: score both, and serve the better one"
    )


def _difference(xml: Path, samples: Sequence[Mapping[str, Sequence[int]]]) -> tuple[float, int | None]:
    """How far the first outputs lie apart, as a share of the largest, where those in f32 are finite, infinite where the
    others are not there; and on how many samples the largest logit is another one, None for outputs that are no logits
    of a whole input.
    """
    core, model = import_openvino().Core(), read_model(xml)
    feeds = nncf.feeds(model, samples)
    plain, exact = (
        [found[0] for found in outputs(compile_for_cpu(core, model, config), feeds)] for config in ({}, F32)
    )
    whole = [torch.from_numpy(np.concatenate([one.ravel() for one in each])) for each in (plain, exact)]
    off = largest_difference(*whole)
    if exact[0].ndim != 2 or exact[0].shape[1] < 2:
        return off, None
    return off, sum(int(one.argmax()) != int(two.argmax()) for one, two in zip(plain, exact, strict=True))
