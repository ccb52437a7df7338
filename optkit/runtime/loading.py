"""Reads and compiles IRs that may be baked: that hold our operation, and need the extension to be read at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.cpu import held_below_avx512
from optkit.errors import OptkitError
from optkit.ir.io import find_xml, import_openvino, last_line, read_model
from optkit.ir.precision import F32, HINT
from optkit.runtime import extension
from optkit.runtime.gated_layers import unfused

if TYPE_CHECKING:
    import openvino

#: Attribute of our operation: what it may compute in between int8 products, f32 or bf16.
PRECISION = "inference_precision"


def new_core() -> openvino.Core:
    """A Core that knows our operation, where the extension can be used."""
    core = import_openvino().Core()
    if extension.available():
        extension.add_to(core)
    return core


def read(path: Path, core: openvino.Core) -> openvino.Model:
    """Reads the IR at ``path`` (an xml, or a folder with ``openvino_model.xml``) with ``core``, baked or not.

    Raises:
        OptkitError: if there is no IR, OpenVINO cannot read it, or it is baked and its programs are damaged or the
            extension is missing.
    """
    xml = find_xml(path)
    if xml is None or not is_baked(xml):
        return read_model(path)
    check_extension(xml)
    if not xml.with_suffix(".bin").is_file():
        raise OptkitError(f"{xml}: its weights {xml.stem}.bin are missing: copy them beside it, or bake again")
    try:
        return core.read_model(xml)
    except RuntimeError as error:
        raise OptkitError(f"{xml}: OpenVINO cannot read it ({last_line(error)}): bake it again") from error


def check_extension(xml: Path) -> None:
    """Raises OptkitError if the IR is baked and the extension is missing."""
    if is_baked(xml) and not extension.available():
        raise OptkitError(
            f"{xml}: baked for optkit's sparse runtime, which is missing: {extension.missing_reason()}; or use the "
            "portable IR that it was made from"
        )


def compile_for_cpu(core: openvino.Core, model: openvino.Model, config: Mapping[Any, Any]) -> openvino.CompiledModel:
    """``core.compile_model`` for the CPU, its errors in a line; the result may be called from several threads at once.

    Our operations are told the precision of ``core`` and ``config``, in a copy where they were made for another. An
    OpenVINO that is held below the CPU is told f32 where ``config`` says nothing.

    Raises:
        OptkitError: if OpenVINO cannot compile the model, or not with this ``config``.
    """
    from optkit.runtime.threaded import ThreadedModel

    try:
        if held_below_avx512():
            config = F32 | {str(key): value for key, value in config.items()}
        bf16 = _allows_bf16(core, config)
        told = _with_precision(model, "bf16" if bf16 else "f32")
        return ThreadedModel(core.compile_model(unfused(told, config) if bf16 else told, "CPU", dict(config)))
    except (RuntimeError, TypeError) as error:
        raise OptkitError(f"OpenVINO cannot compile the model: {last_line(error)}") from error


def _allows_bf16(core: openvino.Core, config: Mapping[Any, Any]) -> bool:
    """Whether OpenVINO computes in bfloat16 between int8 layers, as it does by default on CPUs that have it."""
    said = {str(key): value for key, value in config.items()}
    if HINT in said:
        return _type_name(said[HINT]) == "bf16"
    if "ACCURACY" in str(said.get("EXECUTION_MODE_HINT", "")).upper():
        return False
    return _type_name(core.get_property("CPU", HINT)) == "bf16"


def _type_name(precision: Any) -> str:
    return str(precision.get_type_name() if hasattr(precision, "get_type_name") else precision)


def _with_precision(model: openvino.Model, precision: str) -> openvino.Model:
    """``model``, or a copy whose programs may compute in ``precision``."""
    if all(program.get_attributes()[PRECISION] == precision for program in _programs(model)):
        return model
    copy = model.clone()
    for program in _programs(copy):
        program.set_attribute(PRECISION, precision)
    return copy


def is_baked(xml: Path) -> bool:
    """Whether the file declares an operation of ours, in what it says of its layers."""
    try:
        return b'version="optkit"' in xml.read_bytes()
    except OSError:
        return False


def holds_programs(model: openvino.Model) -> bool:
    """Whether ``model`` holds our operation."""
    return bool(_programs(model))


def _programs(model: openvino.Model) -> list[openvino.Node]:
    return [node for node in model.get_ops() if node.get_type_name() == extension.OPERATION]
