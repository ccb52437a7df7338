"""``sparse.json``: what a sparse folder holds. Written here, and checked here before anything relies on it.

docs/formats.md writes the format down for others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.export.sparse_folder.blocks import POSITIONS, index_type
from optkit.json_files import read_json

INDEX_FILE = "sparse.json"
FORMAT = 1
#: Name of the tensor that holds those bytes of a file that belong to no tensor of it.
REST = ":rest"
#: Bytes of a number by safetensors' name of its type. Types of other sizes stay among the rest.
SIZES = dict.fromkeys(("F64", "I64", "U64"), 8) | dict.fromkeys(("F32", "I32", "U32"), 4)
SIZES |= dict.fromkeys(("F16", "BF16", "I16", "U16"), 2) | dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1)
#: Types of two zeros, one of which has the highest bit alone.
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_FILE = re.compile(r"(model|compact|openvino_model)[\w-]{0,60}\.(safetensors|bin)", re.ASCII)
_LARGEST_INDEX = 1 << 28
#: How many times the stored bytes a file may have. Models have parts that are not pruned, and are far below this.
_LARGEST_RATIO = 1000


@dataclass(frozen=True)
class Packed:
    """One tensor of a file.

    Attributes:
        dtype, shape: as in the file; the type by safetensors' name (``F32``, ``BF16``, ``I8`` ...).
        offset: of its first byte in the file.
        block: rows and columns of the blocks that it is stored in, None where it is stored as it is.
        kept: number of blocks.
        positions: how their places are written, see ``blocks.Blocks``.
        minus: whether some of its zeros are -0.0 and a bit for each number says which.
        scale: name of the tensor that its integers are to be multiplied by, if it has one.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    block: tuple[int, int] | None = None
    kept: int = 0
    positions: str = ""
    minus: bool = False
    scale: str | None = None

    @property
    def nbytes(self) -> int:
        return SIZES[self.dtype] * prod(self.shape)

    def stored_tensors(self, name: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The tensors of the data file that hold it as ``name``, each with type and shape."""
        if self.block is None:
            return {name: (self.dtype, self.shape)}
        (rows, cols), down, across = self.block, self.shape[0] // self.block[0], self.shape[1] // self.block[1]
        parts = {
            "values": (self.dtype, (self.kept, rows, cols)),
            "bitmap": ("U8", (-(-down * across // 8),)),
            "counts": (index_type(across), (down,)),
            "columns": (index_type(across - 1), (self.kept,)),
            "minus": ("U8", (-(-prod(self.shape) // 8),)),
        }
        there = ("values", *POSITIONS[self.positions], *(["minus"] if self.minus else []))
        return {f"{name}:{part}": parts[part] for part in there}

    def to_json(self) -> dict[str, Any]:
        found = {"dtype": self.dtype, "shape": list(self.shape), "offset": self.offset}
        if self.block is not None:
            found |= {"block": list(self.block), "kept": self.kept, "positions": self.positions}
        if self.minus:
            found["minus"] = True
        return found | ({"scale": self.scale} if self.scale else {})


@dataclass(frozen=True)
class PackedFile:
    """One file of weights.

    Attributes:
        data: name of the safetensors file that holds it here.
        size, sha256: of the file as it was.
        tensors: by name; their bytes do not overlap.
    """

    data: str
    size: int
    sha256: str
    tensors: Mapping[str, Packed]

    @property
    def rest(self) -> int:
        """Bytes that belong to no tensor."""
        return self.size - sum(tensor.nbytes for tensor in self.tensors.values())


def is_weights(name: str) -> bool:
    """Whether a file of weights may have this name."""
    return _FILE.fullmatch(name) is not None


def data_file(name: str) -> str:
    """Name of the file that holds the packed file ``name``."""
    return f"sparse.{Path(name).stem}.safetensors"


def write_index(folder: Path, files: Mapping[str, PackedFile]) -> None:
    entries = {
        name: {
            "data": file.data,
            "size": file.size,
            "sha256": file.sha256,
            "tensors": {name: tensor.to_json() for name, tensor in file.tensors.items()},
        }
        for name, file in files.items()
    }
    text = json.dumps({"format": FORMAT, "files": entries}, indent=1)
    # A list of numbers in a line, so that a tensor is a few lines.
    text = re.sub(r"\[\s*((?:\d+,\s*)*\d+)\s*\]", lambda found: f"[{', '.join(found[1].split())}]", text)
    (folder / INDEX_FILE).write_text(text.replace(",,", ",") + "\n", encoding="utf-8")


def read_index(folder: Path) -> dict[str, PackedFile]:
    """The files of the sparse folder ``folder``, by name.

    Raises:
        OptkitError: if it is no sparse folder, of a newer format, or its index is not what the format says.
    """
    path = Path(folder) / INDEX_FILE
    try:
        if path.stat().st_size > _LARGEST_INDEX:
            raise _Fault("it is too large")
        values = read_json(path)
        found = _whole(_get(values, "format", "the index"), "format")
        if found > FORMAT:
            raise _Fault(f"format {found} is newer than this optkit reads (up to {FORMAT}): upgrade optkit")
        files = _get(values, "files", "the index", dict)
        return {name: _file(name, entry, Path(folder)) for name, entry in files.items()}
    except OSError:
        raise OptkitError(f"{path}: not found: give a sparse folder, as export.formats: [sparse] makes") from None
    except (ValueError, RecursionError):
        raise OptkitError(f"{path}: not JSON: copy it again") from None
    except _Fault as fault:
        raise OptkitError(f"{path}: {fault}") from None


class _Fault(Exception):
    """One fault of the index, in words."""


def _get(entry: Any, key: str, where: str, kind: type = object) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise _Fault(f"{where[:120]}: {key} is missing")
    if not isinstance(entry[key], kind):
        raise _Fault(f"{where[:120]}: {key} is no {kind.__name__}")
    return entry[key]


def _whole(value: Any, what: str, most: int = 1 << 48) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise _Fault(f"{what[:120]} is {str(value)[:40]!r}, not a number from 0 to {most}")
    return value


def _shape(value: Any, what: str, dimensions: int = 16) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > dimensions:
        raise _Fault(f"{what[:120]} is {str(value)[:40]!r}, no shape")
    return tuple(_whole(size, what) for size in value)


def _file(name: str, entry: Any, folder: Path) -> PackedFile:
    if not is_weights(name):
        raise _Fault(f"'{name[:60]}' is no file of weights")
    if _get(entry, "data", name) != data_file(name):
        raise _Fault(f"{name}: its data are to be in {data_file(name)}")
    size, sha256 = _whole(_get(entry, "size", name), f"{name}: size"), _get(entry, "sha256", name, str)
    stored = folder / data_file(name)
    if stored.is_file() and size > _LARGEST_RATIO * stored.stat().st_size:
        raise _Fault(f"{name}: {size} bytes cannot come from the {stored.stat().st_size} of {stored.name}")
    tensors = {of: _tensor(f"{name}: {of}", tensor, size) for of, tensor in _get(entry, "tensors", name, dict).items()}
    end = 0
    for of, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if tensor.offset < end and tensor.nbytes:
            raise _Fault(f"{name}: {of[:120]} begins at {tensor.offset}, within another tensor")
        end = max(end, tensor.offset + tensor.nbytes)
    keys = [key for of, tensor in tensors.items() for key in tensor.stored_tensors(of)] + [REST]
    if len(set(keys)) < len(keys):
        raise _Fault(f"{name}: two tensors are stored under one name")
    scales = [tensor.scale for tensor in tensors.values() if tensor.scale is not None]
    if unknown := [scale for scale in scales if scale not in tensors]:
        raise _Fault(f"{name}: there is no tensor '{unknown[0][:120]}', which is named as a scale")
    return PackedFile(data_file(name), size, sha256, tensors)


def _tensor(where: str, entry: Any, size: int) -> Packed:
    dtype, scale = _get(entry, "dtype", where), entry.get("scale")
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise _Fault(f"{where[:120]}: dtype is {str(dtype)[:40]!r}, none that this optkit reads")
    if scale is not None and not isinstance(scale, str):
        raise _Fault(f"{where[:120]}: scale is no name of a tensor")
    shape = _shape(_get(entry, "shape", where), f"{where}: shape")
    tensor = Packed(dtype, shape, _whole(_get(entry, "offset", where), f"{where}: offset"), scale=scale)
    if tensor.offset + tensor.nbytes > size:
        raise _Fault(f"{where[:120]}: it ends at byte {tensor.offset + tensor.nbytes}, the file at {size}")
    if "block" not in entry:
        return tensor
    block, positions = _shape(entry["block"], f"{where}: block"), _get(entry, "positions", where)
    if len(shape) != 2 or len(block) != 2 or 0 in (*shape, *block) or shape[0] % block[0] or shape[1] % block[1]:
        raise _Fault(f"{where[:120]}: blocks of {block} do not divide a tensor of {shape}")
    if not isinstance(positions, str) or positions not in POSITIONS:
        raise _Fault(f"{where[:120]}: positions are {str(positions)[:40]!r}, none of {', '.join(POSITIONS)}")
    most = prod(shape) // prod(block)
    kept = _whole(_get(entry, "kept", where), f"{where}: kept", most)
    minus = entry.get("minus", False)
    if type(minus) is not bool or (minus and dtype not in FLOATS):
        raise _Fault(f"{where[:120]}: minus is {str(minus)[:40]!r}, which a tensor of {dtype} cannot have")
    return Packed(dtype, shape, tensor.offset, (block[0], block[1]), kept, positions, minus, scale)
