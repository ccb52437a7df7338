"""Programs lowered and compiled for a CPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.s_tir import dlight
from tvm.target import codegen

from optkit.adapters import quiet, reason
from optkit.adapters.tvm.program import Program
from optkit.adapters.tvm.rewriting import PRODUCT
from optkit.adapters.tvm.schedules import rules, schedule_products
from optkit.cpu import physical_cores
from optkit.errors import ExportError, UsageError


def cpu_target(text: str | None = None) -> Any:
    """TVM's target of this CPU, or what ``text`` names, such as ``llvm -mcpu=znver4``.

    Raises:
        UsageError: if it is none for a CPU.
    """
    words = (text or f"llvm -mcpu={codegen.llvm_get_system_cpu()}").split()
    options: dict[str, Any] = {"kind": words[0], "num-cores": physical_cores()}
    for word in words[1:]:
        found = re.fullmatch(r"-(mcpu|mtriple|mattr|num-cores|opt-level)=(\S+)", word)
        if found is None:
            raise UsageError(f"--target {text}: unknown option {word}: write such as 'llvm -mcpu=znver4'")
        name, value = found.groups()
        options[name] = value.split(",") if name == "mattr" else int(value) if value.isdecimal() else value
    if words[0] != "llvm":
        raise UsageError(f"--target {text}: only CPUs are supported: write such as 'llvm -mcpu=znver4'")
    known = codegen.llvm_get_cpu_archlist(tvm.target.Target("llvm"))
    if options.get("mcpu") and "mtriple" not in options and options["mcpu"] not in set(known):
        raise UsageError(f"--target {text}: LLVM knows no CPU {options['mcpu']}: for this one, leave --target out")
    try:
        return tvm.target.Target(options)
    except Exception as error:  # TVM's errors have many classes
        raise UsageError(f"--target {text}: TVM does not take it: {reason(error)}") from error


def describe(target: Any) -> str:
    """``target`` as ``cpu_target`` takes it."""
    attributes = target.attrs
    words = [f"-{name}={attributes[name]}" for name in ("mcpu", "mtriple", "mattr") if attributes.get(name)]
    return " ".join([target.kind.name, *words])


def has_vnni(target: Any) -> bool:
    """Whether the target multiplies bytes in vectors of 512 bits."""
    return bool(codegen.llvm_cpu_has_features("avx512vnni", target))


def vector_width(target: Any) -> int:
    """float32 numbers of the target's widest vector."""
    for features, width in (("avx512f", 16), ("avx", 8)):
        if codegen.llvm_cpu_has_features(features, target):
            return width
    return 4


def build(program: Program, target: Any, records: Path | None = None) -> tuple[Any, dict[str, np.ndarray]]:
    """The compiled program and the parameters that it takes, by their names in their order.

    What depends on parameters alone is computed here: transposed weights, and those in a layout that was tuned.

    Args:
        records: the folder of what a tuning found; None where there is none.

    Raises:
        ExportError: if TVM cannot compile it.
    """
    try:
        with quiet(), target, tvm.transform.PassContext(opt_level=3):
            module = fuse(program)
            if records is not None:
                module = relax.transform.MetaScheduleApplyDatabase(str(records))(module)
            width = vector_width(target)
            module = tvm.transform.Sequential(
                [
                    relax.transform.SplitLayoutRewritePreproc(),
                    relax.transform.LiftTransformParams(),
                    relax.transform.FoldConstant(),
                    dlight.ApplyDefaultSchedule(*rules(width)),
                ]
            )(schedule_products(module, width))
            compiled = tvm.compile(module, target)
            machine = relax.VirtualMachine(compiled, tvm.cpu())
            given = [tvm.runtime.tensor(array) for array in program.parameters.values()]
            made = [each.numpy() for each in machine["main_transform_params"](given)]
    except Exception as error:  # TVM's errors have many classes
        raise ExportError(f"TVM cannot compile it: {reason(error)}") from error
    return compiled, {f"parameter{number}": array for number, array in enumerate(made)}


def fuse(program: Program) -> Any:
    """``program`` as functions of TensorIR, each of as many operations as one pass can compute.

    Their arguments that are parameters are marked as free to be laid out otherwise, but for those whose layout a
    block-sparse product expects.
    """
    approximate = [relax.transform.FastMathTransform()] if program.fast_math else []
    module = tvm.transform.Sequential(
        [
            relax.transform.DeadCodeElimination(["main"]),
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.EliminateCommonSubexpr(),
            *approximate,
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.AttachAttrLayoutFreeBuffers(),
        ]
    )(program.module)
    for variable, function in module.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc) and PRODUCT in variable.name_hint:
            module.update_func(variable, function.without_attr("layout_free_buffers"))
    return module
