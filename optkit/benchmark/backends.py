"""The backends of the command line: the engine and number format that each stands for, and which can run here."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from optkit.adapters import ctranslate2, tvm
from optkit.adapters.onnx_package import missing as onnx_missing
from optkit.ir.precision import default_precision
from optkit.variant import Engine, Model, Precision, Variant


class Backend(NamedTuple):
    """What a name of the command line stands for; no ``precision`` where the backend runs models of any."""

    engine: Engine
    precision: Precision | None
    f32_hint: bool = False

    def variant(self, model: Model, precision: Precision | None = None) -> Variant:
        """The variant of ``model`` that it runs; ``precision`` is that of the files, where they exist already."""
        return Variant(model, precision or self.precision or "fp32", self.engine, self.f32_hint)


#: In the order of tables.
BACKENDS = {
    "torch": Backend("torch", "fp32"),
    "torch-compile": Backend("torch-compile", "fp32"),
    "torch-compile-bf16": Backend("torch-compile", "bf16"),
    "onnxruntime": Backend("onnxruntime", "fp32"),
    "onnxruntime-int8": Backend("onnxruntime", "int8"),
    "onnxruntime-int8-dynamic": Backend("onnxruntime", "int8_dynamic"),
    "ctranslate2-int8": Backend("ctranslate2", "int8"),
    "openvino": Backend("openvino", "fp32"),
    "openvino-f32": Backend("openvino", "fp32", True),
    "openvino-int8": Backend("openvino", "int8"),
    "openvino-int8-f32": Backend("openvino", "int8", True),
    "tvm": Backend("tvm", None),
    "optkit": Backend("optkit", None),
}
#: Engines that make int8 of an fp32 model by their own default settings.
QUANTIZING = ("onnxruntime", "ctranslate2")


def backend_of(variant: Variant) -> str:
    """The backend that runs ``variant``; IRs of both kinds of int8 have the same."""
    precision = "int8" if variant.precision == "int8_weights" else variant.precision
    key = variant.engine, precision, variant.f32_hint
    return next(name for name, own in BACKENDS.items() if key == (own.engine, own.precision or precision, own.f32_hint))


def excluded_by_default(backend: str) -> str | None:
    """Why ``backend`` is measured only if it is named; None if it is measured by default."""
    found = BACKENDS[backend]
    if found.engine == "torch-compile":
        return "it compiles for half a minute or longer: name it with --backends"
    if found.f32_hint and default_precision() == "f32":
        return "f32 is OpenVINO's default precision on this CPU"
    return None


def quantized_by_engine(variant: Variant) -> bool:
    """Whether the engine of ``variant`` made its int8, by its default settings."""
    return variant.quantized and variant.engine in QUANTIZING


def computes_in_fp32(variant: Variant) -> bool:
    """Whether ``variant`` is fp32 and computed in fp32."""
    if variant.engine in ("openvino", "optkit") and not variant.f32_hint and default_precision() != "f32":
        return False
    return variant.precision == "fp32"


def missing(backend: str) -> str | None:
    """Why ``backend`` cannot run here, None if it can.

    Raises:
        OptkitError: if OPTKIT_ISA names kernels that cannot run here.
    """
    engine = BACKENDS[backend].engine
    if engine == "onnxruntime":
        return onnx_missing()
    if engine == "ctranslate2":
        return ctranslate2.missing()
    if engine == "tvm":
        return tvm.missing()
    if engine == "torch-compile":
        return compiler_missing()
    if engine == "optkit":
        from optkit import runtime
        from optkit.runtime import extension

        why = runtime.missing_reason()
        if why is None:
            extension.isa()
        return why
    return None


def compiler_missing() -> str | None:
    """Why torch.compile cannot be used here, in a line; None where it can."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if any(shutil.which(name) for name in names):
        return None
    return f"torch.compile needs a C++ compiler, and there is no {' or '.join(names)} here"
