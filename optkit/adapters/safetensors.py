"""safetensors' writer of tensors that are bytes, whatever their type: its form changed with release 0.8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors

#: Names of types where it writes them; in files it has others.
_WRITTEN = {"BOOL": "bool", "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"} | {
    **{f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


class StoredTensor(NamedTuple):
    """A tensor to write: its type as a file names it (``F32``), its shape, and its numbers in whatever form."""

    dtype: str
    shape: tuple[int, ...]
    array: np.ndarray


def write(tensors: Mapping[str, StoredTensor], file: Path) -> None:
    """Writes ``tensors`` by name into ``file``, their bytes as they are."""
    whole = {name: np.ascontiguousarray(tensor.array) for name, tensor in tensors.items()}
    specification = getattr(safetensors, "TensorSpec", None)
    given = {}
    for name, tensor in tensors.items():
        dtype, shape = _WRITTEN[tensor.dtype], list(tensor.shape)
        if specification is None:
            given[name] = {"dtype": dtype, "shape": shape, "data": whole[name].tobytes()}
        else:
            place = {"data_ptr": whole[name].ctypes.data, "data_len": whole[name].nbytes}
            given[name] = specification(dtype=dtype, shape=shape, **place)
    safetensors.serialize_file(given, file, None)
