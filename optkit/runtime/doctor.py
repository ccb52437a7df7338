"""What the sparse runtime finds on this machine: processor, library, OpenVINO, and whether a program computes."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Any

from optkit import __version__
from optkit.cpu import cpu_flags, cpu_name, cpu_quota
from optkit.errors import OptkitError
from optkit.machine import INSTRUCTION_SETS, installed
from optkit.runtime import extension
from optkit.runtime.instruction_sets import InstructionSet
from optkit.runtime.structures import suited_structure

PACKAGES = ("openvino", "torch", "transformers", "nncf", "optimum-intel", "numpy")


def examine() -> dict[str, Any]:
    """Looks at everything and runs a small program, without importing torch.

    Returns:
        Plain data: ``cpu`` (name, instruction_sets, cores), ``kernels`` (used; wanted: ``OPTKIT_ISA`` or None;
        compiled; unsupported: compiled, but not for this CPU; for_tests: compiled, and used only where
        ``OPTKIT_ISA`` names it), ``structure`` (what to prune in for these kernels: isa, structure, why, measured; None
        without kernels), ``library`` (path or None, built_for), ``versions`` (of optkit, Python and ``PACKAGES``; None
        for what is not installed), and ``problems``, one line each: none when the runtime works.
    """
    versions: dict[str, str | None] = {"optkit": __version__, "python": platform.python_version()}
    versions |= {package: installed(package) for package in PACKAGES}
    kernels: dict[str, Any] = {
        "used": None,
        "wanted": os.environ.get("OPTKIT_ISA") or None,
        "compiled": [],
        "unsupported": [],
        "for_tests": [],
    }
    library: dict[str, str | None] = {"path": None, "built_for": None}
    problems: list[str] = []
    table: tuple[InstructionSet, ...] = ()
    try:
        library["path"] = str(extension.extension_path())
        table = extension.instruction_sets()
        library["built_for"] = extension.built_for()
        kernels["compiled"] = [row.name for row in table if row.compiled]
        kernels["unsupported"] = [row.name for row in table if row.compiled and not row.supported]
        kernels["for_tests"] = [row.name for row in table if row.compiled and row.for_tests]
        kernels["used"] = extension.isa()
        _run_program()
    except OptkitError as error:
        problems.append(str(error))
    suited = suited_structure()
    return {
        "cpu": {"name": cpu_name(), "instruction_sets": _instruction_sets(table), "cores": cpu_quota()},
        "kernels": kernels,
        "structure": None if suited is None else asdict(suited),
        "library": library,
        "versions": versions,
        "problems": problems,
    }


def _run_program() -> None:
    """Runs an int8 layer whose result is a whole number in OpenVINO, with the kernels that any model would use."""
    import numpy as np

    from optkit.ir.io import import_openvino, last_line
    from optkit.runtime.packing import encode, pack
    from optkit.runtime.program import Kernel, Linear, Program, Quantization

    openvino = import_openvino()
    weights = np.arange(-32, 32, dtype=np.int8).reshape(8, 8)
    layer = Linear(0, 1, pack(weights, Kernel("block4")), np.ones(8, np.float32), None, Quantization(0.0, 255.0))
    parameter = openvino.opset13.parameter([-1, 8], np.float32)
    node = extension.create_node([parameter.output(0)], encode(Program([8, 8], [0], [1], [layer])), "trial")
    model = openvino.Model([node.output(0)], [parameter], "trial")
    x = np.arange(40, dtype=np.float32).reshape(5, 8)
    try:
        result = openvino.Core().compile_model(model, "CPU")(x)[0]
    except RuntimeError as error:
        raise OptkitError(f"OpenVINO cannot run a program: {last_line(error)}: install optkit again") from error
    if not np.array_equal(result, x @ weights.T.astype(np.float32)):
        raise OptkitError("the kernels compute wrong results here: set OPTKIT_ISA=scalar, and report this with the CPU")


def _instruction_sets(table: tuple[InstructionSet, ...]) -> list[str]:
    """CPU features of INSTRUCTION_SETS and of the kernels' table; where the system names none, the kernels that run."""
    flags = cpu_flags()
    if not flags:
        return [row.name for row in table if row.supported and row.features]
    known = dict.fromkeys([*INSTRUCTION_SETS, *(feature for row in table for feature in row.features)])
    return [name for name in known if name in flags]
