"""How sparse a model is: the zeros of each linear layer, and of the four totals that the literature knows.

Checkpoints and OpenVINO IRs are brought to ``optkit.counting.zeros``, which counts. What reading them needs is imported
when it is called, the definitions of a linear layer that the rest of optkit uses included.

"80 % sparse" has four denominators in the literature, so a report has all four, the first being the headline:
``encoder_linear`` (nn.Linear weights of the encoder's layers, see ``optkit.counting.encoder``), ``linear`` (all
nn.Linear weights), ``matmul_conv`` (all matrix-product and convolution weights) and ``all`` (all parameters).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters import onnx
from optkit.checkpoints.files import has_weights, tensors
from optkit.checkpoints.plain import plain_folder
from optkit.counting.encoder import Encoder, encoder_of
from optkit.counting.parameters import former_shapes, parameter_kinds
from optkit.counting.zeros import block_shares, count, detect_structure
from optkit.errors import OptkitError, UsageError
from optkit.export.sparse_folder import unpack_sparse
from optkit.export.sparse_folder.index import read_index
from optkit.ir import layers
from optkit.ir.io import read_model
from optkit.ir.tags import pairs_to_tags, read_tags

if TYPE_CHECKING:
    from optkit.ir.layers import LinearLayer, Weight
    from optkit.ir.tags import LayerTag, Tags

DENOMINATORS = ("encoder_linear", "linear", "matmul_conv", "all")


@dataclass(frozen=True)
class Layer:
    """Zeros of one linear layer.

    Attributes:
        name: of the parameter; of the MatMul in an IR that does not say.
        shape: (out, in).
        dtype: stored number type: ``f32``, ``f16``, ``bf16``, ``i8`` ...
        blocks: share of all-zero rows, columns, and blocks of each standard shape that tiles the weight.
        structure: what explains the zeros, see ``optkit.counting.zeros.detect_structure``.
        int8_sparsity: share of zero integers, of a layer whose int8 form is known.
        tagged_sparsity: share of zeros before quantization, as the tags of an IR say.
        original_shape: (out, in) before compaction, None where it took nothing. What it took counts as zeros in
            ``original_sparsity`` and in no other share.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    zeros: int
    size: int
    blocks: dict[str, float]
    structure: str
    int8_sparsity: float | None = None
    tagged_sparsity: float | None = None
    original_shape: tuple[int, int] | None = None

    @property
    def sparsity(self) -> float:
        return self.zeros / self.size

    @property
    def removed(self) -> int:
        """Weights that compaction took."""
        return prod(self.original_shape) - self.size if self.original_shape else 0

    @property
    def original_sparsity(self) -> float:
        return (self.zeros + self.removed) / (self.size + self.removed)

    @property
    def block_sparsity(self) -> float:
        """Share of all-zero blocks of the layer's own structure."""
        return self.blocks.get(self.structure, self.sparsity)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        shares = {name: getattr(self, name) for name in ("sparsity", "block_sparsity", "original_sparsity")}
        shapes = {"shape": list(self.shape), "original_shape": self.original_shape and list(self.original_shape)}
        return {**asdict(self), **shapes, **shares}


def measure(name: str, array: np.ndarray, dtype: str, extra_blocks: Iterable[str] = ()) -> Layer:
    """The ``Layer`` of a weight ``array`` (out, in).

    Raises:
        OptkitError: if a weight is NaN.
    """
    zeros, size = _count(name, array)
    shares = block_shares(array, extra_blocks)
    return Layer(name, tuple(array.shape), dtype, zeros, size, shares, detect_structure(array, shares))


def _count(name: str, array: np.ndarray) -> tuple[int, int]:
    try:
        return count(array)
    except ValueError as error:
        raise OptkitError(f"{name}: {error}: the training diverged, take an earlier checkpoint") from None


@dataclass(frozen=True)
class Report:
    """Sparsity of a model.

    Attributes:
        path: what was read.
        kind: ``checkpoint``, ``ir``, ``onnx``, ``run`` or ``sparse folder``.
        layers: every linear layer, shared ones once.
        denominators: by the names of ``DENOMINATORS``: ``{zeros, size, sparsity}``, None where the model does not tell.
        notes: what could not be told, in words.
    """

    path: str
    kind: str
    layers: tuple[Layer, ...]
    denominators: dict[str, dict[str, float] | None]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "path": self.path,
            "kind": self.kind,
            "denominators": self.denominators,
            "layers": [layer.to_dict() for layer in self.layers],
            "notes": list(self.notes),
        }


class _Totals:
    """Running sums of the denominators, each parameter counted into the groups it belongs to."""

    def __init__(self) -> None:
        self.sums = {name: [0, 0] for name in DENOMINATORS}

    def add(self, groups: Iterable[str], zeros: int, size: int) -> None:
        for group in groups:
            self.sums[group][0] += zeros
            self.sums[group][1] += size

    def add_removed(self, removed: Mapping[str, tuple[int, int]], encoder: Encoder) -> str:
        """Counts linear weights that compaction removed, and says so."""
        for name, shape in removed.items():
            self.add(_groups("linear", name in encoder), prod(shape), prod(shape))
        return f"compaction removed {len(removed)} linear weights altogether: they count as zeros"

    def shares(self, known: Iterable[str] = DENOMINATORS) -> dict[str, dict[str, float] | None]:
        return {
            name: {"zeros": zeros, "size": size, "sparsity": zeros / size if size else 0.0} if name in known else None
            for name, (zeros, size) in self.sums.items()
        }


def sparsity(path: str | Path) -> Report:
    """Counts the zeros of a checkpoint folder, an IR (folder or xml), an ONNX model (folder or file), a run folder (its
    pruned/ and openvino/), or a sparse folder.

    Raises:
        UsageError: if nothing is there, or it is no model.
        OptkitError: if it is damaged, or a weight is NaN.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: not found")
    if (path / "sparse.json").is_file():
        return _read_sparse(path)
    if path.suffix == ".xml" or (path / "openvino_model.xml").is_file():
        return _read_ir(path)
    if path.suffix == ".onnx" or (path / "model.onnx").is_file():
        return _read_onnx(path)
    if has_weights(path):
        return _read_checkpoint(path)
    if (path / "pruned").is_dir() or (path / "openvino").is_dir():
        return _read_run(path)
    raise UsageError(
        f"{path}: no model here: give a checkpoint folder, an OpenVINO IR, an ONNX model, a run or a sparse folder"
    )


def _read_run(path: Path) -> Report:
    """The pruned checkpoint of a run with the int8 sparsity of its IR; the IR alone where there is no checkpoint."""
    pruned, exported = path / "pruned", path / "openvino"
    if not pruned.is_dir():
        return replace(_read_ir(exported), path=str(path), kind="run")
    ir = _read_ir(exported) if exported.is_dir() else None
    report = _read_checkpoint(pruned)
    int8 = {layer.name: layer.int8_sparsity for layer in ir.layers} if ir else {}
    layers = tuple(replace(layer, int8_sparsity=int8.get(layer.name)) for layer in report.layers)
    return replace(report, path=str(path), kind="run", layers=layers)


def _read_sparse(path: Path) -> Report:
    """A sparse folder, by the dense files that it stands for."""
    files = read_index(path)
    with tempfile.TemporaryDirectory() as dense:
        for folder, of in (("pruned", ".safetensors"), ("openvino", ".bin")):
            if names := [name for name in files if name.endswith(of)]:
                unpack_sparse(path, Path(dense) / folder, only=names)
        report = _read_run(Path(dense))
    stored = sum((path / file.data).stat().st_size for file in files.values())
    whole = sum(file.size for file in files.values())
    note = f"{stored:,} bytes of weights here, {whole:,} in the dense files"
    return replace(report, path=str(path), kind="sparse folder", notes=(*report.notes, note))


def _read_ir(path: Path) -> Report:
    """An IR: weights as they are stored; parameter names and fp32 sparsity come from optkit's tags, if it has any."""
    model = read_model(path)
    return _of_graph(path, "ir", layers.linear_layers(model), layers.parameters(model), read_tags(model))


def _read_onnx(path: Path) -> Report:
    """The same of an ONNX model."""
    model, pairs = onnx.read(path)
    tags = pairs_to_tags(pairs, str(path))
    return _of_graph(path, "onnx", onnx.linear_layers(model), onnx.parameters(model), tags)


def _of_graph(
    path: Path,
    kind: str,
    layers: Iterable[LinearLayer],
    parameters: Iterable[tuple[str, Weight]],
    tags: Tags | None,
) -> Report:
    tagged = {layer.matmul: layer for layer in tags.layers} if tags else {}
    what = {"ir": "IR", "onnx": "ONNX model"}[kind]
    notes = [] if tags else [f"the {what} has no optkit tags: names and structures are told from its graph"]
    names: dict[str, str] = {}
    found: dict[str, Layer] = {}
    for layer in layers:
        tag = tagged.get(layer.matmul)
        name = tag.parameter if tag else f"{layer.module}.weight" if layer.module else layer.matmul
        if not tag and name in found and layer.weight.constant not in names:
            name = layer.matmul  # one module, two weights
        names[layer.weight.constant] = name
        if name not in found:
            found[name] = _add_tag(measure(name, layer.weight.values, layer.weight.dtype, _blocks_of(tag)), tag, notes)
    encoder = encoder_of([*found, *(name for name, _ in tags.removed)] if tags else found)
    totals = _Totals()
    counted: set[str] = set()
    for role, weight in parameters:
        name = names.get(weight.constant, weight.constant)
        if name not in counted:
            counted.add(name)
            known = found.get(name)
            zeros, size = (known.zeros, known.size) if known else _count(name, weight.values)
            removed = known.removed if known else 0
            totals.add(_groups(role, name in encoder), zeros + removed, size + removed)
    if tags and tags.removed:
        notes.append(totals.add_removed(dict(tags.removed), encoder))
    if not totals.sums["matmul_conv"][1]:
        raise OptkitError(f"{path}: no layer with weights is in this {what}: give the one of the model itself")
    return Report(str(path), kind, tuple(found.values()), totals.shares(), tuple(notes))


def _blocks_of(tag: LayerTag | None) -> list[str]:
    return [tag.structure] if tag and "x" in tag.structure else []


def _add_tag(layer: Layer, tag: LayerTag | None, notes: list[str]) -> Layer:
    """``layer`` of an IR with what its tag says of it; a tag that the weights contradict is added to ``notes``."""
    if layer.dtype in ("i8", "u8"):
        layer = replace(layer, int8_sparsity=layer.sparsity)
    if tag is None:
        return layer
    if tag.int8_sparsity is not None and abs(tag.int8_sparsity - layer.sparsity) > 1e-6:
        notes.append(f"{layer.name}: {layer.sparsity:.6f} of it is zero in int8, its tag says {tag.int8_sparsity:.6f}")
    return replace(layer, structure=tag.structure, tagged_sparsity=tag.sparsity, original_shape=tag.original_shape)


def _groups(kind: str, in_encoder: bool) -> list[str]:
    groups = {"linear": ["linear", "matmul_conv", "all"], "conv": ["matmul_conv", "all"], "other": ["all"]}[kind]
    return ["encoder_linear", *groups] if kind == "linear" and in_encoder else groups


def _read_checkpoint(path: Path) -> Report:
    plain = plain_folder(path)
    kinds = parameter_kinds(plain)
    reduced, removed = former_shapes(plain)
    totals = _Totals()
    layers: dict[str, Layer] = {}
    strange: list[str] = []
    for stored, array, dtype in tensors(plain):
        name = kinds.own(stored)
        kind = kinds.of(name, array.shape)
        if kind is None or array.dtype.kind != "f":
            strange += [name] if array.dtype.kind == "f" else []
            continue
        if kind == "linear" and (array.ndim != 2 or not array.size):
            shape = " x ".join(map(str, array.shape)) or "a single number"
            raise OptkitError(
                f"{path}: {name} is {shape}, and a linear layer's weight has rows and columns: copy it again"
            )
        zeros, size = _count(name, array)
        removed_here = 0
        if kind == "linear":
            layers[name] = replace(measure(name, array, dtype), original_shape=reduced.get(name))
            removed_here = layers[name].removed
        totals.add(_groups(kind, kinds.in_encoder(name)), zeros + removed_here, size + removed_here)
    if not layers and not totals.sums["matmul_conv"][1]:
        first = f", first {strange[0]}" if strange else ""
        raise OptkitError(
            f"{path}: none of its weights belongs to a layer of the architecture that config.json names{first}: copy "
            "the config.json that belongs to them, or save the model with save_pretrained"
        )
    notes = [kinds.problem] if kinds.problem else []
    if plain != path:
        notes.append("weights were stored in parts or under other names, and are counted as the model uses them")
    if not layers:
        notes.append("no linear layer: convolutions alone are counted")
    if strange:
        notes.append(f"{len(strange)} tensors are no parameters of the model and are not counted ({strange[0]} ...)")
    if removed:
        notes.append(totals.add_removed(removed, kinds.encoder))
    ordered = sorted(layers, key=kinds.position)
    known = ("all",) if kinds.problem else DENOMINATORS
    return Report(str(path), "checkpoint", tuple(layers[name] for name in ordered), totals.shares(known), tuple(notes))
