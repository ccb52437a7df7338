"""The precision that OpenVINO computes in between int8 layers and wherever else numbers are floating-point.

An IR cannot say it: of ``runtime_options`` in its rt_info the CPU plugin reads others, and optimum-intel keeps no
``ov_config``. So whoever compiles a model passes ``F32`` or gets the CPU's default.
"""

from __future__ import annotations

from optkit.cpu import held_below_avx512
from optkit.ir.io import import_openvino

HINT = "INFERENCE_PRECISION_HINT"
#: OpenVINO's configuration for float32 on every CPU.
F32 = {HINT: "f32"}


def default_precision() -> str:
    """What OpenVINO computes in on this CPU where nobody says it: ``f32``, ``bf16`` or ``f16``. Held below what the CPU
    has, OpenVINO is told ``f32``.
    """
    if held_below_avx512():
        return "f32"
    return str(import_openvino().Core().get_property("CPU", HINT).get_type_name())
