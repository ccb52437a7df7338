"""Reads the files of a checkpoint folder without building the model.

Tensors come from safetensors straight into numpy; from PyTorch's pickles by its reader that runs no code.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from optkit.errors import OptkitError
from optkit.json_files import read_json

#: File of weights of a compacted checkpoint that only optkit loads.
COMPACTED = "compact.safetensors"

_WHOLE = ("model.safetensors", COMPACTED, "pytorch_model.bin")

# BERT's names of TensorFlow days, which transformers 5 reads, and writes again for a model that it loaded.
_OLD_NAMES_NOW = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_OLD_NAMES = r"LayerNorm\.(gamma|beta)$"


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray, str]]:
    """Every tensor of a checkpoint, a sharded one too, as (name, array, stored type in lower case).

    Types that numpy lacks (bf16 and 8-bit floats) come as float32, by way of torch.

    Raises:
        OptkitError: if there is none, a file is missing or damaged, or a pickle holds more than tensors.
    """
    for file in weight_files(folder):
        yield from _read_pickled(file) if file.suffix == ".bin" else _read_safetensors(file)


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint, from the headers of its files.

    Raises:
        OptkitError: as ``tensors``.
    """
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        if file.suffix == ".bin":
            shapes |= {name: tuple(tensor.shape) for name, tensor in _load_pickle(file, "meta").items()}
            continue
        with _whole(file), safe_open(file, framework="numpy") as opened:
            shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
    return shapes


def state_dict(file: Path) -> dict[str, Any]:
    """The tensors of one file of weights, as torch's, by name.

    Raises:
        OptkitError: as ``tensors``.
    """
    if file.suffix == ".bin":
        return _load_pickle(file, "cpu")
    from safetensors.torch import load_file

    with _whole(file):
        return load_file(file)


def present_name(name: str) -> str:
    """What transformers calls the tensor ``name`` of a checkpoint today."""
    return re.sub(_OLD_NAMES, lambda match: _OLD_NAMES_NOW[match[0]], name)


def has_weights(folder: Path) -> bool:
    """Whether ``folder`` holds a file of weights, or an index of such files."""
    names = (*_WHOLE, *(f"{name}.index.json" for name in _WHOLE))
    return any((Path(folder) / name).is_file() for name in names)


def weight_files(folder: Path) -> list[Path]:
    """The files of weights of a checkpoint; of safetensors and PyTorch's pickles the former where both are there.

    Raises:
        OptkitError: if there is none, or one is missing that the index names.
    """
    folder = Path(folder)
    for name in _WHOLE:
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            return _list_shards(folder / f"{name}.index.json")
    raise OptkitError(f"{folder}: no weights here: expected {_WHOLE[0]}")


def _list_shards(index: Path) -> list[Path]:
    folder = index.parent
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise OptkitError(f"{index}: not an index of files of weights: copy it again") from None
    for name in names:
        plain = isinstance(name, str) and Path(name).name == name and len(name) <= 200
        if not plain or not name.endswith(index.suffixes[0]):
            raise OptkitError(f"{index}: names what is no file of this checkpoint: {str(name)[:120]}")
        if not (folder / name).is_file():
            raise OptkitError(f"{folder}: {name} is missing, which {index.name} names: copy the whole checkpoint")
    return [folder / name for name in names]


def _read_safetensors(file: Path) -> Iterator[tuple[str, np.ndarray, str]]:
    from safetensors import safe_open

    with _whole(file):
        with safe_open(file, framework="numpy") as opened:
            names = list(opened.keys())
            types = {name: opened.get_slice(name).get_dtype().lower() for name in names}
            plain = [name for name, dtype in types.items() if not dtype.startswith(("bf", "f8"))]
            for name in plain:
                yield name, opened.get_tensor(name), types[name]
        if len(plain) < len(types):
            with safe_open(file, framework="pt") as opened:
                for name in types.keys() - set(plain):
                    yield name, opened.get_tensor(name).float().numpy(), types[name]


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise OptkitError(f"{file}: damaged or only half written ({error}): copy or train it again") from error


def _read_pickled(file: Path) -> Iterator[tuple[str, np.ndarray, str]]:
    for name, tensor in _load_pickle(file, "cpu").items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        short = re.sub(r"^float8.*", "f8", dtype).replace("bfloat", "bf").replace("float", "f").replace("uint", "u")
        numpy_lacks_it = short.startswith(("bf", "f8"))
        yield name, (tensor.float() if numpy_lacks_it else tensor).numpy(), re.sub(r"^int", "i", short)


def _load_pickle(file: Path, device: str) -> dict[str, Any]:
    """The tensors of a file of ``torch.save``, on ``device``. torch's reader runs no code that a pickle asks for."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, about which we say more
            loaded = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        global_name = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"asks for {global_name[1]}" if global_name else "holds other things than tensors"
        raise OptkitError(
            f"{file}: {what}, which may be code: nothing of it was run; ask for safetensors instead"
        ) from error
    except Exception as error:  # torch raises what its reader of zip files does
        cause = str(error).strip().partition("\n")[0].partition(". ")[0] or "it ends early"
        raise OptkitError(f"{file}: damaged or only half written ({cause}): copy or train it again") from error
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    ):
        raise OptkitError(f"{file}: no plain state dict, tensors by name: save the model with save_pretrained")
    for name, value in loaded.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise OptkitError(
                f"{file}: {name} is no plain tensor of numbers: save the dense model with save_pretrained"
            )
    return loaded
