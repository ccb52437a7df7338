"""The engines of `optkit bench`, on models that are pruned here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runtime_bench.machine import exact_int8
from runtime_bench.models import DENSE, Case, random_model, ready, ready_onnx, ready_tvm

from optkit.benchmark.backends import BACKENDS, Backend
from optkit.benchmark.backends import missing as missing_backend
from optkit.benchmark.engines.base import Engine
from optkit.benchmark.engines.base import Setting as Shared
from optkit.benchmark.engines.onnxruntime import OnnxRuntime
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.engines.torch import Torch
from optkit.benchmark.engines.tvm import Tvm
from optkit.variant import Variant

# Engine to what it is, in the order of tables. Those on DENSE_ONLY gain nothing from zeros, on any model. OpenVINO
# computes at its default precision; where that is not f32 it runs with the hint as well.
ENGINES = {
    "torch": "torch, fp32",
    "onnxruntime": "ONNX Runtime, fp32",
    "openvino-fp32": "OpenVINO, fp32 IR",
    "openvino-fp32-f32": "OpenVINO, fp32 IR, f32 hint",
    "openvino-int8": "OpenVINO, int8",
    "openvino-int8-f32": "OpenVINO, int8, f32 hint",
    "tvm": "TVM, fp32",
    "optkit": "optkit, int8",
    "optkit-fp32": "optkit, fp32 weights",
}
#: What each stands for.
VARIANTS = {
    **{name: BACKENDS[name] for name in ("torch", "onnxruntime", "openvino-int8", "openvino-int8-f32", "tvm")},
    "openvino-fp32": BACKENDS["openvino"],
    "openvino-fp32-f32": BACKENDS["openvino-f32"],
    "optkit": Backend("optkit", "int8"),
    "optkit-fp32": Backend("optkit", "fp32"),
}
DENSE_ONLY = ("torch", "onnxruntime", "openvino-fp32", "openvino-fp32-f32")
STREAMED = tuple(name for name in ENGINES if name not in ("torch", "onnxruntime", "tvm"))
#: Those that run only where they are named: TVM compiles each case for each shape.
UNUSUAL = ("tvm", "optkit-fp32")
#: What ratios are against, both on the dense model: int8 where OpenVINO has fast instructions for it, and the fp32 IR.
INT8, FP32 = "openvino-int8", "openvino-fp32"


def reference() -> str:
    """The engine that ratios are against."""
    return INT8 if exact_int8() else FP32


def runs_of(engines: Sequence[str], cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Which of ``engines`` runs the model of which case, in the order of tables; the references always run."""
    dense = [name for name in ENGINES if name in (INT8, FP32) or (name in DENSE_ONLY and name in engines)]
    pruned = [name for name in ENGINES if name in engines and name not in DENSE_ONLY]
    return list(dict.fromkeys([(name, DENSE) for name in dense] + [(name, case) for case in cases for name in pruned]))


def default_engines(precision: str) -> tuple[str, ...]:
    """Those that run where none is named and OpenVINO computes at ``precision`` by default."""
    hinted = precision != "f32"
    return tuple(name for name in ENGINES if name not in UNUSUAL and (hinted or not name.endswith("-f32")))


@dataclass(frozen=True)
class Setting:
    """What all engines of a comparison share."""

    size: str
    cache: Path
    batch: int
    seq: int
    threads: int
    streams: int
    plan: str
    static: bool
    weight_range: str
    precision: str | None = None

    def inputs(self) -> dict[str, np.ndarray]:
        """Random tokens, (batch, seq) int64; no padding."""
        shape = (self.batch, self.seq)
        ids = np.random.default_rng(1).integers(0, random_model(self.size).config.vocab_size, shape)
        ones = np.ones(shape, np.int64)
        return {"input_ids": ids.astype(np.int64), "attention_mask": ones, "token_type_ids": 0 * ones}

    def shared(self, precision: str | None = None) -> Shared:
        """The same for the engines; where neither ``precision`` nor the setting's says it, OpenVINO's default."""
        mode, streams = ("throughput", self.streams) if self.streams > 1 else ("latency", None)
        return Shared(self.threads, mode, streams, (self.batch, self.seq), self.plan, precision or self.precision)

    def config(self, **more: Any) -> dict[str, Any]:
        """OpenVINO's; the same for plain OpenVINO and for optkit."""
        return self.shared().config() | more


def variant_of(engine: str, case: Case) -> Variant:
    """What ``engine`` runs of the model of ``case``."""
    return VARIANTS[engine].variant("dense" if case == DENSE else "pruned")


def engine_of(variant: Variant) -> str:
    """The engine that runs ``variant``."""
    return next(name for name, own in VARIANTS.items() if own.variant(variant.model) == variant)


def missing(engine: str) -> str | None:
    """Why ``engine`` cannot run here, None if it can.

    Raises:
        OptkitError: if OPTKIT_ISA names kernels that cannot run here.
    """
    backend = "optkit" if engine.startswith("optkit") else engine.replace("-fp32", "")
    return missing_backend(backend)


def start(engine: str, case: Case, setting: Setting) -> Engine:
    """Loads and compiles the model of ``case``.

    Raises:
        OptkitError: if the model cannot be built, read or compiled.
    """
    if engine == "torch":
        return Torch(random_model(setting.size), setting.shared())
    if engine == "onnxruntime":
        return OnnxRuntime(ready_onnx(setting.size, setting.cache), setting.shared())
    if engine == "tvm":
        return Tvm(ready_tvm(setting.size, case, setting.cache, (setting.batch, setting.seq)), setting.shared())
    return compile_case(engine, case, setting)


def compile_case(engine: str, case: Case, setting: Setting, **config: Any) -> OpenVino:
    """The case's IR compiled, with optkit's plan if the engine is optkit; ``config`` goes on top of the setting's."""
    from optkit.ir.io import import_openvino, read_model
    from optkit.runtime.loading import compile_for_cpu

    folder = ready(setting.size, case, setting.cache, setting.weight_range) / ("fp32" if "fp32" in engine else "int8")
    model = read_model(folder)
    shape = (setting.batch, setting.seq)
    if setting.static:
        model.reshape({port: list(shape) for port in model.inputs})
    if engine.startswith("openvino"):
        hint = setting.shared("f32" if engine.endswith("-f32") else None).config()
        return OpenVino(compile_for_cpu(import_openvino().Core(), model, hint | config))
    from optkit import runtime

    # Without ``config``: what is profiled has to be what was timed.
    plan = runtime.plan(model, setting.plan, config=setting.config(), shape=shape)
    return OpenVino(runtime.compile_model(model, setting.config(**config), plan=plan), plan)
