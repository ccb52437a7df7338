"""How sparse a model is: checkpoints, OpenVINO IRs, ONNX models, runs and sparse folders are read, and counted.

``optkit.counting.zeros`` counts, ``optkit.counting.result`` is what comes out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from optkit.adapters import onnx
from optkit.checkpoints.files import has_weights, tensors
from optkit.checkpoints.plain import plain_folder
from optkit.counting.encoder import encoder_of
from optkit.counting.parameters import former_shapes, parameter_kinds
from optkit.counting.result import DENOMINATORS, Layer, Report, Totals, count_zeros, denominators_of, measure
from optkit.errors import OptkitError, UsageError, why_not
from optkit.export.sparse_folder import unpack_sparse
from optkit.export.sparse_folder.index import read_index
from optkit.ir import layers
from optkit.ir.io import read_model
from optkit.ir.tags import pairs_to_tags, read_tags

if TYPE_CHECKING:
    from optkit.ir.layers import LinearLayer, Weight
    from optkit.ir.tags import LayerTag, Tags

#: The files by which a folder is told to hold a model, and what may be counted.
_FILES = ("model.safetensors", "pytorch_model.bin", "openvino_model.xml", "model.onnx", "sparse.json")
_WAY_OUT = (
    "give the folder of a checkpoint, an OpenVINO IR or an ONNX model (file or folder), a run folder or a sparse folder"
)


def sparsity(path: str | Path) -> Report:
    """Counts the zeros of a checkpoint folder, an IR (folder or xml), an ONNX model (folder or file), a run folder (its
    pruned/ and openvino/), or a sparse folder.

    Raises:
        UsageError: if nothing is there, or it is no model.
        OptkitError: if it is damaged, or a weight is NaN.
    """
    path = Path(path)
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
    raise UsageError(f"{path}: {why_not(path, _no_model(path))}: {_WAY_OUT}{_on_the_hub(path)}")


def _no_model(path: Path) -> str:
    if path.is_dir():
        return f"no model in this folder, none of {', '.join(_FILES)}, and no pruned/ or openvino/ of a run"
    return "not a model: its name ends neither in .xml nor in .onnx"


def _on_the_hub(path: Path) -> str:
    """What else to say of a path that may be meant as the Hub's name of a model."""
    name = str(path)
    hub = not path.exists() and name.count("/") == 1 and name[0] not in "./~" and not path.suffix
    return f"; for a model of the Hub, download it first: optkit pull {name}" if hub else ""


def _read_run(path: Path) -> Report:
    """The pruned checkpoint of a run with the int8 sparsity of its IR; the IR alone where there is no checkpoint."""
    checkpoint, folder = path / "pruned", path / "openvino"
    if not checkpoint.is_dir():
        return replace(_read_ir(folder), path=str(path), kind="run")
    ir = _read_ir(folder) if folder.is_dir() else None
    report = _read_checkpoint(checkpoint)
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
    totals = Totals()
    seen: set[str] = set()
    for role, weight in parameters:
        name = names.get(weight.constant, weight.constant)
        if name not in seen:
            seen.add(name)
            known = found.get(name)
            zeros, size = (known.zeros, known.size) if known else count_zeros(name, weight.values)
            removed = known.removed if known else 0
            totals.add(denominators_of(role, name in encoder), zeros + removed, size + removed)
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


def _read_checkpoint(path: Path) -> Report:
    plain = plain_folder(path)
    kinds = parameter_kinds(plain)
    reduced, removed = former_shapes(plain)
    totals = Totals()
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
        zeros, size = count_zeros(name, array)
        removed_here = 0
        if kind == "linear":
            layers[name] = replace(measure(name, array, dtype), original_shape=reduced.get(name))
            removed_here = layers[name].removed
        totals.add(denominators_of(kind, kinds.in_encoder(name)), zeros + removed_here, size + removed_here)
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
