"""Packs the weight files of a model folder into a sparse folder, and gives them back byte for byte.

A file of weights is a row of bytes in which tensors lie. Those that take less room in blocks are stored so, the others
as they are, and whatever lies between them (the header of a safetensors file) beside them: so the same bytes come back,
which a digest proves.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from optkit.adapters import safetensors
from optkit.adapters.companions import copy_companions
from optkit.deprecation import renamed_arguments
from optkit.errors import OptkitError
from optkit.export.sparse_folder import blocks, sources
from optkit.export.sparse_folder.index import (
    FLOATS,
    INDEX_FILE,
    REST,
    SIZES,
    Packed,
    PackedFile,
    data_file,
    is_weights,
    read_index,
    write_index,
)

_UNSIGNED = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"} | {
    f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)
}
#: Beside the weights, what a model folder is made of.
_GRAPH, _SHARDS = "openvino_model.xml", "model.safetensors.index.json"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a packed file.

    Attributes:
        array: of its own type; of types that numpy lacks (BF16, 8-bit floats), the bits as unsigned integers.
        packed: how it is stored.
        stored: bytes that it takes in the sparse folder.
    """

    array: np.ndarray
    packed: Packed
    stored: int


@renamed_arguments(source="model")
def pack_sparse(model: str | Path | Sequence[str | Path], output: str | Path) -> dict[str, PackedFile]:
    """Writes the model in ``model`` into ``output``, its sparse matrices without their zeros, and reads it back once.

    Args:
        model: folder of a checkpoint (safetensors) or of an IR, or several whose files have different names.
        output: folder to write into, empty or not there yet.

    Returns:
        what was packed, by file name.

    Raises:
        OptkitError: if there are no weights, a file is damaged, or ``output`` is not empty.
    """
    folders = [Path(model)] if isinstance(model, (str, Path)) else [Path(folder) for folder in model]
    output = _empty(Path(output))
    packed: dict[str, PackedFile] = {}
    for folder in folders:
        files = _weights(folder)
        for file, tensors in files.items():
            if file.name in packed:
                raise OptkitError(f"{file}: another file of this name is packed already: pack it into its own folder")
            packed[file.name] = _pack_file(file, tensors, output)
        copy_companions(folder, output, more=[_GRAPH, _SHARDS], replace=False)
    write_index(output, packed)
    for name, file in read_index(output).items():
        _rebuild(output, name, file)
    return packed


def unpack_sparse(folder: str | Path, output: str | Path, *, only: Sequence[str] | None = None) -> list[Path]:
    """Writes the files that a sparse folder was made of, byte for byte, with config and tokenizer.

    Args:
        folder: a sparse folder.
        output: folder to write into, empty or not there yet.
        only: names of weight files, such as ``model.safetensors``; the data files of others need not be there.

    Returns:
        the files of weights.

    Raises:
        OptkitError: if the folder is not whole or not what its index says; ``output`` then holds no file that is wrong.
    """
    folder = Path(folder)
    files = _choose_files(folder, only)
    output = _empty(Path(output))
    for name, file in files.items():
        beside = output / f".{name}.tmp"
        try:
            beside.write_bytes(_rebuild(folder, name, file))
            os.replace(beside, output / name)
        finally:
            beside.unlink(missing_ok=True)
    graph = [_GRAPH] if "openvino_model.bin" in files else []
    shards = [_SHARDS] if any(name.startswith("model-") for name in files) else []
    copy_companions(folder, output, more=[*graph, *shards])
    return [output / name for name in files]


def read_sparse(folder: str | Path, file: str = "model.safetensors") -> dict[str, Tensor]:
    """The dense tensors of ``file`` by name, exactly as they were.

    Args:
        folder: a sparse folder.
        file: ``model.safetensors`` for the checkpoint, ``openvino_model.bin`` for the int8 IR: there linear weights are
            int8 under their parameter's name, and ``packed.scale`` names the float32 tensor (out, 1) to multiply by.

    Raises:
        OptkitError: if the folder is not whole or not what its index says.
    """
    folder = Path(folder)
    packed = _choose_files(folder, [file])[file]
    stored = _read_tensors(folder / packed.data, packed)
    return {name: _tensor(folder / packed.data, name, entry, stored) for name, entry in packed.tensors.items()}


def _empty(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptkitError(f"{folder}: is not empty: name another folder to write into")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _choose_files(folder: Path, only: Sequence[str] | None) -> dict[str, PackedFile]:
    files = read_index(folder)
    for name in only or ():
        if name not in files:
            raise OptkitError(f"{folder}: holds no {name}, only {', '.join(files) or 'nothing'}")
    return {name: file for name, file in files.items() if only is None or name in only}


def _weights(folder: Path) -> dict[Path, dict[str, Packed]]:
    """The weight files of a checkpoint or an IR with their tensors."""
    if (folder / INDEX_FILE).is_file():
        raise OptkitError(f"{folder}: is a sparse folder already: give the model that it was made of")
    found = {}
    for file in sorted(file for file in folder.glob("*.safetensors") if is_weights(file.name)):
        found[file] = sources.of_safetensors(file)
    if (folder / _GRAPH).is_file():
        found[folder / "openvino_model.bin"] = sources.of_ir(folder / _GRAPH)
    if not found:
        raise OptkitError(f"{folder}: no weights here: give a checkpoint folder (safetensors) or an OpenVINO IR")
    return found


def _pack_file(file: Path, tensors: Mapping[str, Packed], output: Path) -> PackedFile:
    whole = np.fromfile(file, dtype=np.uint8)
    packed: dict[str, Packed] = {}
    stored: dict[str, safetensors.StoredTensor] = {}
    covered = np.zeros(whole.size, dtype=bool)

    def store(name: str, dtype: str, shape: Sequence[int], array: np.ndarray) -> None:
        if name in stored:
            raise OptkitError(f"{file}: two tensors would be stored as '{name}': rename one")
        stored[name] = safetensors.StoredTensor(dtype, tuple(shape), array)

    for name, tensor in tensors.items():
        raw = whole[tensor.offset : tensor.offset + tensor.nbytes]
        covered[tensor.offset : tensor.offset + tensor.nbytes] = True
        parts = None
        if len(tensor.shape) == 2 and tensor.nbytes:
            # A copy where the file does not align the numbers.
            bits = raw.copy().view(_UNSIGNED[SIZES[tensor.dtype]]).reshape(tensor.shape)
            parts = blocks.pack(bits, floats=tensor.dtype in FLOATS)
        if parts is not None:
            entry = {"block": parts.block, "kept": parts.kept, "positions": parts.positions}
            tensor = replace(tensor, **entry, minus="minus" in parts.arrays)
        packed[name] = tensor
        for key, (dtype, shape) in tensor.stored_tensors(name).items():
            store(key, dtype, shape, raw if parts is None else parts.arrays[key.removeprefix(f"{name}:")])
    store(REST, "U8", [int(whole.size - np.count_nonzero(covered))], whole[~covered])
    safetensors.write(stored, output / data_file(file.name))
    return PackedFile(data_file(file.name), whole.size, hashlib.sha256(whole).hexdigest(), packed)


def _read_tensors(path: Path, file: PackedFile) -> dict[str, np.ndarray]:
    """The tensors of a data file, in their own shapes and as unsigned integers of their numbers' size.

    Raises:
        OptkitError: if the file is missing, damaged, or holds other tensors than the index says.
    """
    try:
        found = dict(deserialize(path.read_bytes()))
    except OSError:
        raise OptkitError(f"{path}: not found: copy the whole sparse folder") from None
    except SafetensorError as error:
        raise OptkitError(f"{path}: not a whole safetensors file ({error}): copy it again") from None
    expected = {REST: ("U8", (file.rest,))}
    for name, tensor in file.tensors.items():
        expected |= tensor.stored_tensors(name)
    for name in expected.keys() | found.keys():
        if name not in found or name not in expected:
            raise OptkitError(f"{path}: '{name[:120]}' is not both in it and in {INDEX_FILE}: copy both again")
        is_now = (found[name]["dtype"], tuple(found[name]["shape"]))
        if is_now != expected[name]:
            raise OptkitError(
                f"{path}: '{name[:120]}' is {is_now}, {INDEX_FILE} says {expected[name]}: copy both again"
            )
    return {
        name: np.frombuffer(entry["data"], _UNSIGNED[SIZES[entry["dtype"]]]).reshape(entry["shape"])
        for name, entry in found.items()
    }


def _tensor(path: Path, name: str, packed: Packed, stored: Mapping[str, np.ndarray]) -> Tensor:
    names = list(packed.stored_tensors(name))
    if packed.block is None:
        bits = stored[name]
    else:
        arrays = {key.removeprefix(f"{name}:"): stored[key] for key in names}
        try:
            bits = blocks.unpack(blocks.Blocks(packed.shape, packed.block, packed.kept, packed.positions, arrays))
        except blocks.BadBlocks as error:
            raise OptkitError(f"{path}: {name[:120]}: {error}: copy it again") from None
    return Tensor(bits.view(_NUMPY.get(packed.dtype, bits.dtype)), packed, sum(stored[key].nbytes for key in names))


def _rebuild(folder: Path, name: str, file: PackedFile) -> np.ndarray:
    path = folder / file.data
    stored = _read_tensors(path, file)
    whole, rest = np.empty(file.size, dtype=np.uint8), stored[REST]
    end = taken = 0
    for of, packed in sorted(file.tensors.items(), key=lambda item: item[1].offset):
        between = packed.offset - end
        if between > 0:
            whole[end : packed.offset] = rest[taken : taken + between]
            taken += between
        end = packed.offset + packed.nbytes
        tensor = _tensor(path, of, packed, stored)
        whole[packed.offset : end] = np.ascontiguousarray(tensor.array).reshape(-1).view(np.uint8)
    whole[end:] = rest[taken:]
    if hashlib.sha256(whole).hexdigest() != file.sha256:
        raise OptkitError(f"{path}: {name} as rebuilt from it is not the file that was packed: copy the folder again")
    return whole
