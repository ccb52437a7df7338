"""From a checkpoint with zeros to a tagged ONNX model, int8 by QuantizeLinear and DequantizeLinear if asked.

It is a second quantization of the same checkpoint, with numbers of its own, so its accuracy is its own as well. The
checks are those of the IR: fp32 weights equal the checkpoint's, int8 keeps zeros and signs, and what is checked at last
is the file that was written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.adapters import nncf, onnx
from optkit.adapters.companions import copy_companions
from optkit.adapters.onnxruntime import OnnxModel
from optkit.checkpoints.plain import plain_folder
from optkit.errors import ExportError
from optkit.export.fp32 import NamedModel, measure_weights, required_parameters
from optkit.export.openvino import make_tags, verify
from optkit.ir.layers import map_parameters, verify_quantized
from optkit.ir.tags import Tags, pairs_to_tags, tags_to_pairs
from optkit.pruning.compaction.checkpoint import write_former_config
from optkit.pruning.config import Rule
from optkit.quantization.config import Quantization
from optkit.quantization.operations import module_of


@dataclass(frozen=True)
class OnnxResult:
    """What an export made: the file, its tags as read back from it, and its opset of the default domain."""

    path: Path
    tags: Tags
    opset: int


def export_onnx(
    checkpoint: str | Path,
    output: str | Path,
    *,
    rules: Sequence[Rule] = (),
    calibration: Sequence[Mapping[str, Any]] = (),
    quantization: Quantization | None = None,
    fp32: Collection[str] = (),
    shape: tuple[int, int] | None = None,
    recipe_hash: str | None = None,
    seed: int = 0,
) -> OnnxResult:
    """Writes ``checkpoint`` as ``model.onnx``, with config and tokenizer, and the tags of docs/ir-tags.md in it.

    Args:
        checkpoint: folder of a plain checkpoint, its zeros in place, or of a compacted one.
        output: folder to write into; worthless if this raises.
        rules: that pruned the model, see ``export_openvino``.
        calibration: tokenised unpadded samples for int8.
        quantization: how to make it int8, None for fp32. Patterns and accuracy control are not looked at here, and
            ``smooth_quant: auto`` is the strength that it begins with.
        fp32: modules whose linear layers, embeddings and products of activations stay fp32.
        shape: (batch, length) of the only inputs that the model takes; None for any.
        recipe_hash: written into the tags.
        seed: of the random inputs that the model is traced with.

    Raises:
        ExportError: if a weight of the model is not what the checkpoint holds, see ``export_openvino``, or the
            architecture cannot be traced.
        OptkitError: if a package is missing, or the checkpoint is damaged or holds NaN.
    """
    checkpoint, output = plain_folder(Path(checkpoint)), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    weights, facts, removed = measure_weights(checkpoint, rules)
    model = onnx.trace(checkpoint, seed=seed)
    mapping = map_parameters(onnx.linear_layers(model), weights, required=required_parameters(checkpoint, facts))
    source = NamedModel(model, mapping, weights, facts, checkpoint, removed)
    if quantization is not None:
        stays = [node.name for node in model.graph.node if module_of(node.name) in set(fp32)]
        model = nncf.quantize_onnx(model, onnx.feeds(model, calibration), quantization=quantization, ignored=stays)
    if shape is not None:
        onnx.fix_shapes(model, *shape)
    layers = onnx.linear_layers(model)
    verify_quantized(layers, mapping, weights)
    activations = quantization is None or not quantization.weights_only
    tags = make_tags(layers, source, recipe_hash, activations=activations)
    path = onnx.save(model, output, tags_to_pairs(tags))
    copy_companions(checkpoint, output)
    write_former_config(checkpoint, output)
    return OnnxResult(path, _verify_saved(path, tags, source), _opset(path))


def read_onnx_tags(path: str | Path) -> Tags | None:
    """The tags of an ONNX file, or of the ``model.onnx`` in a folder; None when it has none.

    Raises:
        OptkitError: if there is no such file, it is damaged, or its tags are newer or not what the format says.
    """
    return pairs_to_tags(onnx.read(Path(path))[1], str(path))


def _verify_saved(path: Path, tags: Tags, source: NamedModel) -> Tags:
    model, pairs = onnx.read(path)
    found = pairs_to_tags(pairs, str(path))
    if found != tags:
        raise ExportError(f"{path}: its tags are not those that were written")
    verify(path, onnx.linear_layers(model), tags, source)
    OnnxModel(path)  # ONNX Runtime takes it
    return found


def _opset(path: Path) -> int:
    model, _ = onnx.read(path)
    return next(entry.version for entry in model.opset_import if not entry.domain)
