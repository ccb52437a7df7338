"""From a checkpoint with zeros to a tagged OpenVINO IR, int8 if asked, each step checked against the checkpoint.

convert (fp32 IR, weights equal to the checkpoint's) -> quantize -> tag -> save -> read back from disk and check again:
what is verified is the file that the user gets.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from optkit.adapters import nncf, optimum
from optkit.checkpoints import former_shapes, parameter_kinds, tensors
from optkit.errors import ExportError
from optkit.ir.io import read_model, save_model
from optkit.ir.layers import LinearLayer, linear_layers, map_parameters, verify_quantized
from optkit.ir.tags import DENSE, LayerTag, Tags, optkit_version, read_tags, suggest_decompression_rate, write_tags
from optkit.pruning.config import Rule
from optkit.sparsity import Layer, count, measure


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        xml: the IR.
        tags: as read back from it.
        seconds: by step: ``convert``, ``quantize`` (0 without int8), ``verify``.
    """

    xml: Path
    tags: Tags
    seconds: dict[str, float]

    @property
    def layers(self) -> tuple[LayerTag, ...]:
        return self.tags.layers

    @property
    def decompression_rate(self) -> float:
        return self.tags.decompression_rate


def export_openvino(
    checkpoint: Path,
    output: Path,
    *,
    export_task: str,
    rules: Sequence[Rule] = (),
    calibration: Sequence[Mapping[str, Sequence[int]]] = (),
    target: str | None = None,
    recipe_hash: str | None = None,
    seed: int = 0,
) -> ExportResult:
    """Writes ``checkpoint`` as an IR that ``OVModelFor...`` loads, with tags that say how sparse each layer is.

    Args:
        checkpoint: folder of a plain checkpoint, its zeros in place, or of a compacted one.
        output: folder to write into, empty or not there yet; worthless if this raises.
        export_task: optimum's name of the task, such as ``text-classification``.
        rules: that pruned the model: they name structures to look for, and a checkpoint that holds no zeros and was not
            compacted either is refused.
        calibration: tokenised unpadded samples for int8, see ``adapters.nncf.quantize_int8``.
        target: ``any``, ``vnni`` or ``optkit`` for int8, None for fp32.
        recipe_hash: written into the tags.
        seed: of the random inputs that the model is traced with.

    Raises:
        ExportError: if a weight of the IR is not what the checkpoint holds: another value in fp32; in int8 a zero that
            is none any more or a sign that changed.
        OptkitError: if the checkpoint is damaged or holds NaN.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    weights = _linear_weights(checkpoint)
    reduced, removed = former_shapes(checkpoint)
    facts = {
        name: replace(measure(name, *weight, _structures(rules)), original_shape=reduced.get(name))
        for name, weight in weights.items()
    }
    pruned = {name for name, layer in facts.items() if layer.structure != DENSE}
    if rules and not (pruned or reduced or removed):
        raise ExportError(f"{checkpoint}: no linear layer has zeros although it was pruned: were its masks folded in?")
    arrays = {name: array for name, (array, _) in weights.items()}

    clock = _Clock()
    with tempfile.TemporaryDirectory(dir=output, prefix="fp32-") as folder:
        optimum.convert(checkpoint, Path(folder), task=export_task, seed=seed)
        model = read_model(Path(folder))
        mapping = map_parameters(linear_layers(model), arrays, required=pruned)
        clock.lap("convert")
        if target is not None:
            model = nncf.quantize_int8(model, calibration, target=target)
        clock.lap("quantize")
        layers = linear_layers(model)
        verify_quantized(layers, mapping, arrays)
        tags = _make_tags(layers, mapping, facts, removed, recipe_hash)
        write_tags(model, tags)
        xml = save_model(model, output)
        for name in optimum.COMPANIONS:
            if (Path(folder) / name).is_file():
                shutil.move(Path(folder) / name, output / name)
        del model, layers
    _verify_saved(xml, tags, mapping, arrays)
    clock.lap("verify")
    return ExportResult(xml, tags, clock.laps)


def _structures(rules: Sequence[Rule]) -> list[str]:
    return [str(rule.structure) for rule in rules if rule.structure.kind == "block"]


def _linear_weights(checkpoint: Path) -> dict[str, tuple[np.ndarray, str]]:
    """The checkpoint's linear weights (out, in) with their stored types, by parameter name."""
    kinds = parameter_kinds(checkpoint)
    return {
        name: (array, dtype)
        for name, array, dtype in tensors(checkpoint)
        if kinds.of(name, array.shape) == "linear" and array.ndim == 2
    }


def _make_tags(
    layers: Sequence[LinearLayer],
    mapping: Mapping[str, str],
    facts: Mapping[str, Layer],
    removed: Mapping[str, tuple[int, int]],
    recipe_hash: str | None,
) -> Tags:
    tags = []
    for layer in layers:
        if layer.matmul not in mapping:
            continue
        fact = facts[mapping[layer.matmul]]
        zeros, size = count(layer.weight.values)
        tag = LayerTag(
            matmul=layer.matmul,
            parameter=fact.name,
            shape=fact.shape,
            structure=fact.structure,
            sparsity=fact.sparsity,
            block_sparsity=fact.block_sparsity,
            int8_sparsity=zeros / size if layer.weight.dtype in ("i8", "u8") else None,
            original_shape=fact.original_shape,
        )
        tags.append(tag)
    rate = suggest_decompression_rate(tags)
    return Tags(tuple(tags), rate, recipe_hash, optkit_version(), tuple(removed.items()))


def _verify_saved(xml: Path, tags: Tags, mapping: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks the written file against the checkpoint, and its tags against its weights.

    Raises:
        ExportError: if it does not hold what was put into it.
    """
    model = read_model(xml)
    if read_tags(model) != tags:
        raise ExportError(f"{xml}: its tags are not those that were written")
    layers = linear_layers(model)
    if all(tag.int8_sparsity is None for tag in tags.layers):
        map_parameters(layers, arrays, required=mapping.values())
    verify_quantized(layers, mapping, arrays)
    stored = {layer.matmul: layer.weight for layer in layers}
    for tag in tags.layers:
        zeros, size = count(stored[tag.matmul].values)
        if tag.int8_sparsity is not None and abs(zeros / size - tag.int8_sparsity) > 1e-6:
            raise ExportError(f"{xml}: {tag.parameter} has {zeros} zeros in {size} weights, its tag says otherwise")


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
