"""Finds and loads the compiled library: the operation that runs sparse programs inside OpenVINO.

The library lies in ``lib`` beside this file, in an installed package and in a checkout alike. It is linked to one
version of OpenVINO, the one that optkit's requirements pin; every function here says in one line what is wrong with it
and the way out, or answers.
"""

from __future__ import annotations

import ctypes
import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, last_line
from optkit.runtime.instruction_sets import InstructionSet, parse

if TYPE_CHECKING:
    import openvino
    from openvino.utils.node_factory import NodeFactory

FOLDER = Path(__file__).parent / "lib"
NAME = "liboptkit_openvino.so"
OPERATION = "Program"

_CHECKOUT = Path(__file__).parents[2]
_lock = Lock()


def available() -> bool:
    """Whether the library is there and can be used."""
    return missing_reason() is None


def missing_reason() -> str | None:
    """Why the library cannot be used, and the way out, in one line; None if it can."""
    try:
        library()
    except OptkitError as error:
        return str(error)
    return None


def extension_path() -> Path:
    """The library, for ``core.add_extension`` of any OpenVINO program.

    Raises:
        OptkitError: if this optkit was installed without it.
    """
    path = FOLDER / NAME
    if path.is_file():
        return path
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise OptkitError(
            f"the sparse runtime is for Linux on x86-64, this is {sys.platform} on {platform.machine()}: "
            "run the model in OpenVINO as it is"
        )
    raise OptkitError(f"{path}: the sparse runtime was not built: where there is a C++ compiler, run {_reinstall()}")


def add_to(core: openvino.Core) -> None:
    """Lets ``core`` read and compile models that hold our operation.

    Raises:
        OptkitError: if the library cannot be used.
    """
    library()
    try:
        core.add_extension(str(extension_path()))
    except RuntimeError as error:
        raise OptkitError(f"{FOLDER / NAME}: OpenVINO refuses it: {last_line(error)}") from error


def create_node(inputs: Sequence[openvino.Output], blob: bytes, name: str) -> openvino.Node:
    """A node that runs a program.

    Args:
        inputs: what the program's inputs are, in their order.
        blob: the packed program (``packing.encode``).
        name: the node's friendly name.

    Raises:
        OptkitError: if the library cannot be used, if the program is not valid or does not fit the inputs, or if
            ``OPTKIT_ISA`` names kernels that cannot run here.
    """
    import numpy as np

    library()
    constant = import_openvino().op.Constant(np.frombuffer(blob, dtype=np.uint8))
    constant.set_friendly_name(f"{name}/packed")
    try:
        with _lock:
            node = _factory().create(OPERATION, [*inputs, constant.output(0)])
    except RuntimeError as error:
        raise OptkitError(f"{name}: the program cannot be used: {last_line(error)}") from error
    node.set_friendly_name(name)
    return node


def isa() -> str:
    """The instruction set of the kernels in use: the best that this CPU has, or what ``OPTKIT_ISA`` says.

    Raises:
        OptkitError: if the library cannot be used, or ``OPTKIT_ISA`` names kernels that cannot run here.
    """
    name = _text(library().optkit_isa())
    if not name:
        names = " or ".join(row.name for row in instruction_sets() if row.supported and not row.for_tests)
        raise OptkitError(f"OPTKIT_ISA names no kernels that run here: unset it, or set it to {names}")
    return name


def instruction_sets() -> tuple[InstructionSet, ...]:
    """The library's table of instruction sets, slowest first.

    Raises:
        OptkitError: if the library cannot be used.
    """
    try:
        return parse(_text(library().optkit_instruction_sets()))
    except ValueError as error:
        raise _other_sources(extension_path()) from error


def instruction_set(name: str) -> InstructionSet:
    """The row of that name.

    Raises:
        OptkitError: if there is none, or the library cannot be used.
    """
    rows = {row.name: row for row in instruction_sets()}
    if name not in rows:
        names = ", ".join(row.name for row in rows.values() if not row.for_tests)
        raise OptkitError(f"unknown instruction set '{name}': the kernels are for {names}")
    return rows[name]


def isas() -> tuple[str, ...]:
    """Names of the instruction sets whose kernels run on this CPU, slowest first, those for tests included.

    Raises:
        OptkitError: if the library cannot be used.
    """
    return tuple(row.name for row in instruction_sets() if row.supported)


def compiled_isas() -> tuple[str, ...]:
    """Names of the instruction sets that the library holds kernels for, slowest first.

    Raises:
        OptkitError: if the library cannot be used.
    """
    return tuple(row.name for row in instruction_sets() if row.compiled)


@dataclass(frozen=True)
class Schedule:
    """How one run of a program is cut into tasks.

    Attributes:
        split: whether threads share the work on a tile, a slice of outputs each; else a task is whole tiles.
        threads: that take part, of those there are.
        tile_tokens: of a full tile, 32 or 16.
        tiles: of the batch.
        tiles_of_a_task: that share the weights that it reads.
        tasks: of each step after which threads wait for each other.
        microseconds: that the cost model expects on a core of about 4 GHz: for comparing schedules with each other.
    """

    split: bool
    threads: int
    tile_tokens: int
    tiles: int
    tiles_of_a_task: int
    tasks: tuple[int, ...]
    microseconds: float


def schedule(blob: bytes, *, batch: int, length: int, threads: int) -> Schedule:
    """How a packed program runs on ``batch`` sequences of ``length`` tokens.

    Args:
        blob: the packed program (``packing.encode``).

    Raises:
        OptkitError: if the library cannot be used, or the program is not valid.
    """
    answer = library().optkit_schedule(blob, len(blob), batch, length, threads)
    if answer is None:
        raise OptkitError(f"the program cannot be used: {_text(library().optkit_validate(blob, len(blob)))}")
    facts = json.loads(_text(answer))
    return Schedule(**{**facts, "tasks": tuple(facts["tasks"])})


def built_for() -> str:
    """The OpenVINO version that the library is linked to, such as ``2026.4.1``.

    Raises:
        OptkitError: if the library cannot be used.
    """
    return _text(library().optkit_openvino_version())


def library() -> ctypes.CDLL:
    """The library, loaded for good, its functions ready to be called.

    Raises:
        OptkitError: if it is not there, does not load, or was built for another OpenVINO than the one installed.
    """
    return _load(extension_path())


@cache
def _load(path: Path) -> ctypes.CDLL:
    try:
        installed = import_openvino().__version__.partition("-")[0]
    except ImportError as error:
        raise OptkitError(f"openvino cannot be imported ({last_line(error)}): install optkit's requirements") from error
    try:
        # OpenVINO is in the process by now: the library finds it whatever folder it lies in.
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        needed = re.search(r"libopenvino\.so\.(\d\d)(\d)(\d+): cannot open", str(error))
        if needed:
            # The file's ending is the version without its century and dots.
            raise _other_openvino(path, "20{}.{}.{}".format(*needed.groups()), installed) from error
        raise OptkitError(f"{path}: cannot be loaded ({last_line(error)}): run {_reinstall()}") from error
    try:
        _declare(loaded)
    except AttributeError as error:
        raise _other_sources(path) from error
    wanted = _text(loaded.optkit_openvino_version())
    if wanted != installed:
        raise _other_openvino(path, wanted, installed)
    try:
        parse(_text(loaded.optkit_instruction_sets()))
    except ValueError as error:
        raise _other_sources(path) from error
    return loaded


def _declare(loaded: ctypes.CDLL) -> None:
    """Says what the library's functions take and return."""
    for name in ("openvino_version", "isa", "instruction_sets", "validate", "schedule"):
        getattr(loaded, f"optkit_{name}").restype = ctypes.c_char_p
    loaded.optkit_validate.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    loaded.optkit_schedule.argtypes = [ctypes.c_char_p, *[ctypes.c_size_t] * 3, ctypes.c_int]
    loaded.optkit_profile_enable.argtypes = [ctypes.c_int]
    loaded.optkit_profile_read.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    loaded.optkit_profile_read.restype = ctypes.c_size_t
    loaded.optkit_peak.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
    loaded.optkit_peak.restype = ctypes.c_uint64


def _other_openvino(path: Path, wanted: str, installed: str) -> OptkitError:
    return OptkitError(
        f"{path}: built for OpenVINO {wanted}, but {installed} is installed: run pip install openvino=={wanted}"
    )


def _other_sources(path: Path) -> OptkitError:
    return OptkitError(f"{path}: made from other sources than this optkit: run {_reinstall()}")


def _reinstall() -> str:
    if (_CHECKOUT / "CMakeLists.txt").is_file():
        return f"pip install --editable {_CHECKOUT}"
    # A wheel that pip made without a compiler is in its cache.
    return "OPTKIT_REQUIRE_EXTENSION=1 pip install --no-cache-dir --no-deps --force-reinstall optkit"


@cache
def _factory() -> NodeFactory:
    from openvino.utils.node_factory import NodeFactory

    factory = NodeFactory()
    factory.add_extension(str(extension_path()))
    return factory


def _text(answer: bytes) -> str:
    return answer.decode()
