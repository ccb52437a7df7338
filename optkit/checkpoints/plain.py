"""Checkpoints whose tensors other tools renamed or split, as those that ``from_pretrained`` reads.

torch.nn.utils.prune keeps a weight and its mask apart, weight_norm a direction and a length; DistributedDataParallel,
torch.compile and Lightning put a word before each name. transformers passes over all of these names and draws the
weights by chance, so they are brought back before anything reads them.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optkit.checkpoints.architecture import named_architecture
from optkit.checkpoints.compact_config import needs_loader, read_config
from optkit.checkpoints.files import has_weights, tensors, weight_files, weight_shapes
from optkit.errors import OptkitError

#: What wrappers put first.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
#: Names that give reason to look closer.
_ODD = re.compile(r"^(module|model|_orig_mod)\.|\._orig_mod\.|_orig$|\.parametrizations\.|\.\w+_[gv]$")
_PARAMETRIZED = re.compile(r"(.*\.|)parametrizations\.(\w+)\.(original[01]?)$")
_WEIGHTS = (".safetensors", ".bin", ".h5", ".msgpack", ".pt", ".pth", ".ckpt", ".index.json")
_copies: dict[Any, Path] = {}
_given: dict[Path, Path] = {}


def plain_folder(folder: Path) -> Path:
    """``folder``, or where its weights have other names a copy under their plain ones, there until this process ends.

    Raises:
        OptkitError: if the checkpoint is damaged, or its weights are made of others in a way that only the model's own
            code knows.
    """
    folder = Path(folder)
    shapes = weight_shapes(folder) if has_weights(folder) else {}
    if not any(_ODD.search(name) for name in shapes) or _is_compacted(folder):
        return folder
    parts = sources(shapes, _known_names(folder), str(folder))
    if all(list(found) == [name] for name, found in parts.items()):
        return folder
    key = (folder.resolve(), *((file.name, file.stat().st_mtime_ns) for file in weight_files(folder)))
    if key not in _copies:
        from safetensors.numpy import save_file

        copy = Path(tempfile.mkdtemp(prefix="optkit-plain-"))
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        for file in folder.iterdir():
            if not file.name.endswith(_WEIGHTS):
                (copy / file.name).symlink_to(file.resolve())
        stored = {name: array for name, array, _ in tensors(folder)}
        arrays = {name: np.ascontiguousarray(_combine(stored, found)) for name, found in parts.items()}
        save_file(arrays, copy / "model.safetensors", metadata={"format": "pt"})
        _copies[key], _given[copy] = copy, folder
    return _copies[key]


def original_folder(folder: Path) -> Path:
    """The checkpoint that ``folder`` is a copy of, see ``plain_folder``, for messages; any other is itself."""
    return _given.get(folder, folder)


def sources(names: Collection[str], known: Collection[str], where: str) -> dict[str, tuple[str, ...]]:
    """By the plain name of each tensor, the stored ones that it is made of: itself, a weight and its mask, or a length
    and a direction.

    Args:
        names: of what is stored.
        known: what the architecture calls its tensors, so that a name of its own is left alone; empty if unknown.
        where: the checkpoint, for messages.

    Raises:
        OptkitError: if a weight is made of others by code that is not in the checkpoint.
    """
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for name in names:
        if name in known or name in taken:
            continue
        parts = _parts(name, names, where)
        if parts is not None:
            plain, stored = parts
            found[_strip_wrappers(plain, known)] = stored
            taken |= set(stored)
    return {**{_strip_wrappers(name, known): (name,) for name in names if name not in taken}, **found}


def _parts(name: str, names: Collection[str], where: str) -> tuple[str, tuple[str, ...]] | None:
    """The plain name of what ``name`` is the first part of, and all its parts; None for a tensor of its own."""
    if name.endswith("_orig"):
        plain = name.removesuffix("_orig")
        if f"{plain}_mask" in names:
            return plain, (name, f"{plain}_mask")
        if f"{plain}_u" in names:
            way_out = f"torch.nn.utils.remove_spectral_norm(module, '{plain.rpartition('.')[2]}')"
            raise OptkitError(f"{where}: {name} is divided by a norm in use: call {way_out}, and save it again")
    if name.endswith("_g") and f"{name.removesuffix('_g')}_v" in names:
        return name.removesuffix("_g"), (name, f"{name.removesuffix('_g')}_v")
    match = _PARAMETRIZED.match(name)
    if match and match[3] == "original0" and f"{name[:-1]}1" in names:
        return f"{match[1]}{match[2]}", (name, f"{name[:-1]}1")
    if match and match[3] == "original":
        way_out = f"torch.nn.utils.parametrize.remove_parametrizations(module, '{match[2]}')"
        raise OptkitError(f"{where}: {name} is the input of a parametrization: call {way_out}, and save it again")
    return None


def _strip_wrappers(name: str, known: Collection[str]) -> str:
    """``name`` without what wrappers put before it; as it is where the architecture knows it so, or in no form."""
    plain = name.replace("._orig_mod.", ".")
    while known and plain not in known:
        wrapper = next((word for word in _WRAPPERS if plain.startswith(word)), None)
        if wrapper is None:
            return name.replace("._orig_mod.", ".")
        plain = plain.removeprefix(wrapper)
    if not known:
        plain = re.sub(r"^((module|_orig_mod)\.)+", "", plain)
    return plain


def _combine(stored: Mapping[str, np.ndarray], parts: tuple[str, ...]) -> np.ndarray:
    if len(parts) == 1:
        return stored[parts[0]]
    first, second = (stored[name] for name in parts)
    if parts[1].endswith("_mask"):
        return first * second.astype(first.dtype)
    # A length for each row, or along whichever axes it has one number: w = g * v / |v|.
    axes = tuple(axis for axis, size in enumerate(first.shape) if size == 1 and second.shape[axis] > 1)
    norm = np.sqrt(np.square(second.astype(np.float64)).sum(axis=axes, keepdims=True))
    return (first * (second / norm)).astype(second.dtype)


def _is_compacted(folder: Path) -> bool:
    """Whether optkit alone wrote the checkpoint, and loads it."""
    try:
        return needs_loader(read_config(folder))
    except OptkitError:
        return False


def _known_names(folder: Path) -> set[str]:
    """Names of the tensors of the architecture in config.json, with and without the word before those of its body."""
    try:
        model = plain_architecture(folder)
    except Exception:  # a config may name any architecture, and each fails in its own way
        return set()
    names = set(model.state_dict())
    body = f"{model.base_model_prefix}."
    return names | {name.removeprefix(body) for name in names} | set(_with_old_names(names))


def plain_architecture(folder: Path) -> Any:
    """The model that the config.json of a plain checkpoint names, on torch's meta device; each failure is of its own
    class.
    """
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not config.architectures:
        raise OptkitError("config.json names no architecture")
    architecture = named_architecture(config.architectures[0], config.model_type)
    if architecture is None:
        raise OptkitError(f"transformers {transformers.__version__} does not know {config.architectures[0]}")
    with torch.device("meta"):
        return architecture(config)


def _with_old_names(names: Collection[str]) -> Iterator[str]:
    for name in names:
        yield re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name))
