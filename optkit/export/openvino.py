"""From a model with zeros to a tagged OpenVINO IR, int8 if asked, each step checked against the weights it began with.

convert (``export.fp32``) -> quantize -> tag -> save -> read back from disk and check again: what is verified is the
file that the user gets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.companions import copy_companions
from optkit.counting.zeros import count
from optkit.errors import ExportError
from optkit.export.fp32 import NamedModel, convert
from optkit.ir.io import read_model, save_model
from optkit.ir.layers import LinearLayer, linear_layers, map_parameters, verify_quantized
from optkit.ir.shapes import fix_shapes
from optkit.ir.tags import LayerTag, Tags, optkit_version, read_tags, suggest_decompression_rate, write_tags
from optkit.models.tokenizer import store_longest_input
from optkit.progress import SILENT, Reporter
from optkit.pruning.config import Rule
from optkit.quantization.config import Quantization
from optkit.quantization.quantize import Control, Quantized, quantize
from optkit.quantization.sensitivity import FILE as SENSITIVITY
from optkit.quantization.sensitivity import Sensitivity
from optkit.quantization.smoothing import Smoothing

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        xml: the IR.
        tags: as read back from it.
        seconds: by step: ``convert``, ``quantize`` (0 without int8), ``verify``.
        fp32, control, sensitivity, smoothing: what quantization did, see ``quantization.quantize.Quantized``.
    """

    xml: Path
    tags: Tags
    seconds: dict[str, float]
    fp32: tuple[str, ...] = ()
    control: Control | None = None
    sensitivity: Sensitivity | None = None
    smoothing: Smoothing | None = None

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
    quantization: Quantization | None = None,
    evaluate: Callable[[Path], float] | None = None,
    shape: tuple[int, int] | None = None,
    recipe_hash: str | None = None,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> ExportResult:
    """Writes ``checkpoint`` as an IR that ``OVModelFor...`` loads, with tags that say how sparse each layer is.

    Args:
        checkpoint: folder of a plain checkpoint, its zeros in place, or of a compacted one.
        output: folder to write into, empty or not there yet; worthless if this raises.
        export_task: optimum's name of the task, such as ``text-classification``.
        rules: that pruned the model: they name structures to look for, and a checkpoint that holds no zeros and was not
            compacted either is refused.
        calibration: tokenised unpadded samples for int8, see ``adapters.nncf.quantize_int8``.
        quantization: how to make it int8, None for fp32.
        evaluate: score in [0, 1], higher is better, of the model in a folder that ``OVModelFor...`` loads; needed by
            ``quantization.max_drop``.
        shape: (batch, length) of the only inputs that the IR takes; None for any.
        recipe_hash: written into the tags.
        seed: of the random inputs that the model is traced with.
        reporter: hears of each thing that takes time, and how far it is.

    Raises:
        ExportError: if a weight of the IR is not what the checkpoint holds: another value in fp32; in int8 a zero that
            is none any more or a sign that changed.
        OptkitError: if the checkpoint is damaged or holds NaN.
    """
    clock = _Clock()
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix="fp32-") as folder:
        source = convert(Path(checkpoint), Path(folder), export_task=export_task, rules=rules, seed=seed)
        clock.lap("convert")
        how: dict[str, Any] = {"calibration": calibration, "quantization": quantization, "evaluate": evaluate}
        how |= {"shape": shape, "reporter": reporter}
        result = finish(source, output, recipe_hash=recipe_hash, **how)
    return replace(result, seconds=clock.laps | result.seconds)


def finish(
    source: NamedModel,
    output: Path,
    *,
    calibration: Sequence[Mapping[str, Sequence[int]]] = (),
    quantization: Quantization | None = None,
    evaluate: Callable[[Path], float] | None = None,
    shape: tuple[int, int] | None = None,
    recipe_hash: str | None = None,
    reporter: Reporter = SILENT,
) -> ExportResult:
    """Quantizes a model if asked, tags it, and writes it into ``output`` with its config and tokenizer.

    Args and errors are those of ``export_openvino``.
    """
    output.mkdir(parents=True, exist_ok=True)
    clock, quantized = _Clock(), Quantized(source.model)
    if quantization is not None:
        score = None if evaluate is None else lambda model: _score(model, source.setup, evaluate)
        more: dict[str, Any] = {"parameters": source.parameters, "score": score, "reporter": reporter}
        quantized = quantize(source.model, calibration, quantization, **more)
    model = quantized.model
    if shape is not None:
        fix_shapes(model, *shape)
    clock.lap("quantize")
    layers = linear_layers(model)
    verify_quantized(layers, source.parameters, source.weights)
    tags = make_tags(layers, source, recipe_hash, activations=quantization is None or not quantization.weights_only)
    write_tags(model, tags)
    xml = _save(model, source.setup, output)
    if quantized.sensitivity is not None:
        (output / SENSITIVITY).write_text(quantized.sensitivity.to_json(), encoding="utf-8")
    del model, layers
    _verify_saved(xml, tags, source)
    clock.lap("verify")
    done = quantized.fp32, quantized.control, quantized.sensitivity, quantized.smoothing
    return ExportResult(xml, tags, clock.laps, *done)


def _save(model: openvino.Model, setup: Path, output: Path) -> Path:
    """Writes a model with the config and the tokenizer in ``setup``."""
    xml = save_model(model, output)
    copy_companions(setup, output)
    store_longest_input(output)
    return xml


def _score(model: openvino.Model, setup: Path, evaluate: Callable[[Path], float]) -> float:
    with tempfile.TemporaryDirectory(dir=setup, prefix="candidate-") as folder:
        _save(model, setup, Path(folder))
        return evaluate(Path(folder))


def make_tags(layers: Sequence[LinearLayer], source: NamedModel, recipe_hash: str | None, *, activations: bool) -> Tags:
    """The tags of ``layers``: zeros as they were measured in the checkpoint, and as the integers hold them."""
    tags = []
    for layer in layers:
        if layer.matmul not in source.parameters:
            continue
        fact = source.facts[source.parameters[layer.matmul]]
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
    # OpenVINO's sparse path takes layers whose activations are quantized, too.
    rate = suggest_decompression_rate(tags if activations else ())
    return Tags(tuple(tags), rate, recipe_hash, optkit_version(), tuple(source.removed.items()))


def _verify_saved(xml: Path, tags: Tags, source: NamedModel) -> None:
    """Checks the written file against the weights it was made of, and its tags against its own weights.

    Raises:
        ExportError: if it does not hold what was put into it.
    """
    model = read_model(xml)
    if read_tags(model) != tags:
        raise ExportError(f"{xml}: its tags are not those that were written")
    verify(xml, linear_layers(model), tags, source)


def verify(path: Path, layers: Sequence[LinearLayer], tags: Tags, source: NamedModel) -> None:
    """Checks the ``layers`` of a written file as ``_verify_saved`` does.

    Raises:
        ExportError: if they do not hold what was put into them.
    """
    if all(tag.int8_sparsity is None for tag in tags.layers):
        map_parameters(layers, source.weights, required=source.parameters.values())
    verify_quantized(layers, source.parameters, source.weights)
    stored = {layer.matmul: layer.weight for layer in layers}
    for tag in tags.layers:
        zeros, size = count(stored[tag.matmul].values)
        if tag.int8_sparsity is not None and abs(zeros / size - tag.int8_sparsity) > 1e-6:
            raise ExportError(f"{path}: {tag.parameter} has {zeros} zeros in {size} weights, its tag says otherwise")


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now
