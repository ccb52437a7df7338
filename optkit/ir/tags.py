"""The sparsity tags inside an IR: the one place that knows their layout, which docs/ir-tags.md writes down for others.

They are strings under ``optkit`` in the model's rt_info, so they travel inside ``openvino_model.xml`` and any program
that reads IRs can see them. What is read back is untrusted: every value is checked, and a newer layout is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.counting.zeros import DENSE
from optkit.errors import OptkitError
from optkit.ir.io import read_model
from optkit.machine import installed

if TYPE_CHECKING:
    import openvino

ROOT = "optkit"
FORMAT_VERSION = 1

# Half of a layer's bytes: OpenVINO's sparse path stores a bit per weight and a byte per non-zero, and unpacks at each
# use, so near 0 it reads more than the dense layer does. Where it begins to pay depends on the machine's memory.
LOWEST_RATE = 0.5
# Layers of exactly this shape crash OpenVINO 2026.4.1 on this path, or come out as wrong numbers.
BROKEN_SHAPE = (64, 64)


@dataclass(frozen=True)
class LayerTag:
    """How sparse one linear layer is.

    Attributes:
        matmul: friendly name of the MatMul in this IR.
        parameter: the checkpoint's parameter; several MatMuls may share one.
        shape: (out, in), in this IR.
        structure: ``dense``, or the groups that the zeros come in: ``element``, ``RxC`` (R outputs x C inputs),
            ``row``, ``column``, or ``N:M`` (of M adjacent inputs N are not zero).
        sparsity: share of zero weights in the checkpoint.
        block_sparsity: share of all-zero blocks of ``structure`` in the checkpoint.
        int8_sparsity: share of zero integers in this IR, where rounding adds zeros; None in an IR that is not int8.
        original_shape: (out, in) before compaction made the layer smaller; None where it did not.

    Shares are kept to six decimals, as they are written.
    """

    matmul: str
    parameter: str
    shape: tuple[int, int]
    structure: str
    sparsity: float
    block_sparsity: float
    int8_sparsity: float | None = None
    original_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("sparsity", "block_sparsity", "int8_sparsity"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, round(value, 6))

    @property
    def original_sparsity(self) -> float:
        """Share of the weights before compaction that are zero or gone."""
        left = prod(self.shape) / prod(self.original_shape or self.shape)
        return round(1.0 - (1.0 - self.sparsity) * left, 6)


@dataclass(frozen=True)
class Tags:
    """What an IR says about itself.

    Attributes:
        layers: in natural order of their parameters (layer 2 before layer 10).
        decompression_rate: suggested CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE; 1 switches OpenVINO's sparse path off.
        recipe_hash: of the recipe that made the model, where one did.
        optkit_version: of the optkit that wrote the tags.
        removed: linear weights that compaction took out altogether, by parameter, with their shapes (out, in).
    """

    layers: tuple[LayerTag, ...]
    decompression_rate: float
    recipe_hash: str | None = None
    optkit_version: str = ""
    removed: tuple[tuple[str, tuple[int, int]], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(sorted(self.layers, key=_natural_order)))
        object.__setattr__(self, "removed", tuple(sorted(self.removed)))
        object.__setattr__(self, "decompression_rate", round(self.decompression_rate, 2))


def _natural_order(layer: LayerTag) -> list[Any]:
    text = f"{layer.parameter}/{layer.matmul}"
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def suggest_decompression_rate(layers: Iterable[LayerTag]) -> float:
    """The value of CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE that serves ``layers`` best.

    OpenVINO has one threshold for the whole model, and packs each int8 layer whose own share of zeros reaches it. So
    the threshold is the lowest int8 sparsity among the pruned layers, rounded down to two decimals: every pruned layer
    is packed, layers that were not pruned stay dense. A layer with less than half its weights gone does not count: it
    would pull the threshold down to where packing costs more than it saves. Nor does a shape that is no multiple of 64
    either way, which OpenVINO never packs. 1 (off) when none is left, and when a layer of ``BROKEN_SHAPE`` would be
    packed.
    """
    layers = list(layers)
    pruned = [layer for layer in layers if layer.structure != DENSE and not any(size % 64 for size in layer.shape)]
    worth = [share for layer in pruned if (share := layer.int8_sparsity or 0.0) >= LOWEST_RATE]
    rate = math.floor(min(worth) * 100 + 1e-9) / 100 if worth else 1.0
    broken = [layer for layer in layers if layer.shape == BROKEN_SHAPE and (layer.int8_sparsity or 0) >= rate]
    return 1.0 if broken else rate


def optkit_version() -> str:
    """The installed optkit's version, or ``unknown`` when it runs from a folder that was never installed."""
    return installed("optkit") or "unknown"


def _share(value: float) -> str:
    return f"{value:.6f}"


def write_tags(model: openvino.Model, tags: Tags) -> None:
    """Puts ``tags`` into the rt_info of ``model``; saving the model writes them down."""
    for path, value in _entries(tags):
        model.set_rt_info(value, [ROOT, *path])


def tags_to_pairs(tags: Tags) -> dict[str, str]:
    """``tags`` for a format of keys and values alone: the keys are the paths, ``optkit/layers/<matmul>/shape``."""
    return {"/".join((ROOT, *path)): value for path, value in _entries(tags)}


def pairs_to_tags(pairs: Mapping[str, str], where: str) -> Tags | None:
    """What ``tags_to_pairs`` made, None where there are no tags.

    Args:
        pairs: that may hold others, too.
        where: they are from, for messages.

    Raises:
        OptkitError: if the tags are of a newer format, or a value is not what the format says.
    """
    root: dict[str, Any] = {}
    for key, value in pairs.items():
        part, _, rest = key.removeprefix(f"{ROOT}/").partition("/")
        if not key.startswith(f"{ROOT}/"):
            continue
        if not rest:
            root[part] = str(value)
            continue
        name, _, field = rest.rpartition("/")  # the name may hold slashes of its own
        of_part = root.setdefault(part, {})
        if isinstance(of_part, dict):
            of_part.setdefault(name, {})[field] = str(value)
    return _check(root, where) if root else None


def _entries(tags: Tags) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every value of the layout with its path."""
    head = {"format_version": str(FORMAT_VERSION), "optkit_version": tags.optkit_version or optkit_version()}
    head["sparse_weights_decompression_rate"] = f"{tags.decompression_rate:.2f}"
    if tags.recipe_hash:
        head["recipe_hash"] = tags.recipe_hash
    for key, value in head.items():
        yield (key,), value
    for layer in tags.layers:
        entry = {
            "parameter": layer.parameter,
            "shape": f"{layer.shape[0]}x{layer.shape[1]}",
            "structure": layer.structure,
            "sparsity": _share(layer.sparsity),
            "block_sparsity": _share(layer.block_sparsity),
        }
        if layer.int8_sparsity is not None:
            entry["int8_sparsity"] = _share(layer.int8_sparsity)
        if layer.original_shape is not None:
            entry["original_shape"] = "{}x{}".format(*layer.original_shape)
            entry["original_sparsity"] = _share(layer.original_sparsity)
        for key, value in entry.items():
            yield ("layers", layer.matmul, key), value
    for parameter, shape in tags.removed:
        yield ("removed", parameter, "shape"), "{}x{}".format(*shape)


def read_tags(source: Path | str | openvino.Model) -> Tags | None:
    """The tags of an IR (a model, an xml, or a folder with ``openvino_model.xml``), None when it has none.

    Raises:
        OptkitError: if there is no IR, the tags are of a newer format, or a value is not what the format says.
    """
    where = str(source) if isinstance(source, (str, Path)) else "model"
    model = read_model(Path(source)) if isinstance(source, (str, Path)) else source
    if not model.has_rt_info(ROOT):
        return None
    return _check(_plain(model.get_rt_info()[ROOT]), where)


def _check(root: Any, where: str) -> Tags:
    try:
        return _parse(root)
    except _Fault as fault:
        raise OptkitError(f"{where}: its optkit tags cannot be used: {fault}") from None


class _Fault(Exception):
    """One fault of the tags, in words."""


def _plain(value: Any) -> Any:
    """Nested dicts of strings from what OpenVINO returns, which wraps the leaves."""
    value = getattr(value, "value", value)
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else str(value)


def _parse(root: Any) -> Tags:
    if not isinstance(root, Mapping):
        raise _Fault("they are no mapping")
    found = _text(root, "format_version", "the tags")
    if not found.isdecimal() or len(found) > 9:
        raise _Fault(f"format_version is '{found[:40]}', not a number")
    if int(found) > FORMAT_VERSION:
        raise _Fault(f"format {found} is newer than this optkit reads (up to {FORMAT_VERSION}): upgrade optkit")
    layers, removed = root.get("layers", {}), root.get("removed", {})
    for name, part in (("layers", layers), ("removed", removed)):
        if not isinstance(part, Mapping):
            raise _Fault(f"{name} is no mapping")
        for of, entry in part.items():
            if not isinstance(entry, Mapping):
                raise _Fault(f"{of[:120]} is no mapping")
    return Tags(
        layers=tuple(_parse_layer(matmul, entry) for matmul, entry in layers.items()),
        decompression_rate=_parse_share(root, "sparse_weights_decompression_rate", "the tags"),
        recipe_hash=_text(root, "recipe_hash", "the tags") if "recipe_hash" in root else None,
        optkit_version=_text(root, "optkit_version", "the tags"),
        removed=tuple((name, _parse_shape(entry, "shape", name)) for name, entry in removed.items()),
    )


def _parse_layer(matmul: str, entry: Mapping[str, Any]) -> LayerTag:
    shape = _parse_shape(entry, "shape", matmul)
    structure = _text(entry, "structure", matmul)
    if not re.fullmatch(rf"{DENSE}|element|row|column|[1-9]\d{{0,4}}[x:][1-9]\d{{0,4}}", structure):
        raise _Fault(f"{matmul[:120]}: structure is '{structure[:40]}', not dense, element, row, column, RxC or N:M")
    original = _parse_shape(entry, "original_shape", matmul) if "original_shape" in entry else None
    if original is not None and (original[0] < shape[0] or original[1] < shape[1]):
        raise _Fault(f"{matmul[:120]}: original_shape is smaller than shape")
    return LayerTag(
        matmul=matmul,
        parameter=_text(entry, "parameter", matmul),
        shape=shape,
        structure=structure,
        sparsity=_parse_share(entry, "sparsity", matmul),
        block_sparsity=_parse_share(entry, "block_sparsity", matmul),
        int8_sparsity=_parse_share(entry, "int8_sparsity", matmul) if "int8_sparsity" in entry else None,
        original_shape=original,
    )


def _parse_shape(entry: Mapping[str, Any], key: str, where: str) -> tuple[int, int]:
    text = _text(entry, key, where)
    match = re.fullmatch(r"([1-9]\d{0,8})x([1-9]\d{0,8})", text)
    if match is None:
        raise _Fault(f"{where[:120]}: {key} is '{text[:40]}', not OUTxIN")
    return int(match[1]), int(match[2])


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _Fault(f"{where[:120]}: {key} is missing")
    return value


def _parse_share(entry: Mapping[str, Any], key: str, where: str) -> float:
    text = _text(entry, key, where)
    if not re.fullmatch(r"[01](\.\d{1,17})?", text) or float(text) > 1:
        raise _Fault(f"{where[:120]}: {key} is '{text[:40]}', not a share between 0 and 1")
    return float(text)
