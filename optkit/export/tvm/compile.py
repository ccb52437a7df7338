"""From a checkpoint, or a run's folder, to libraries that TVM compiled, one for each shape of inputs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import save_file

from optkit.adapters import conversion, library_errors, tvm
from optkit.adapters.companions import copy_companions
from optkit.adapters.conversion_check import random_texts
from optkit.checkpoints.files import has_weights, tensors
from optkit.checkpoints.plain import plain_folder
from optkit.counting.sparsity import sparsity
from optkit.errors import ExportError, UsageError
from optkit.export.conversion import makes_segments
from optkit.export.tvm.index import INDEX, PARAMETERS, CompiledLayer, CompiledModel, CompiledShape
from optkit.export.tvm.model import TvmModel
from optkit.export.tvm.packing import PackedLayer, pack
from optkit.export.tvm.rounding import rounded
from optkit.machine import installed
from optkit.models import longest_input
from optkit.progress import Reporter
from optkit.pruning.compaction.checkpoint import load_compact

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Layers with fewer zeros are not looked at: no block of them is worth a sparse product.
_SPARSE = 0.5
#: What a tokenizer makes of texts.
_TEXTS = ("input_ids", "attention_mask", "token_type_ids")
#: How far outputs may be off, as a share of the largest, and with how many inputs that is seen.
_TOLERANCE, _TRIALS = 1e-3, 3
#: In int8, where torch computes the same with rounded numbers, but numbers next to a step may be rounded otherwise.
_INT8_TOLERANCE = 1e-2


def compile_tvm(
    source: str | Path,
    output: str | Path,
    *,
    shapes: Sequence[tuple[int, int]] = ((1, 128),),
    target: str | None = None,
    minutes: float = 0,
    records: Path | None = None,
    fast_math: bool = True,
    sparse: bool = True,
    int8: bool = False,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> CompiledModel:
    """Compiles a model with Apache TVM, its sparse layers as block-sparse products.

    Args:
        source: folder of a checkpoint, pruned by anybody, or of a run, whose pruned checkpoint is taken and whose IR's
            tags say how sparse each layer is.
        output: folder, empty or new.
        shapes: (batch, tokens) of the inputs; a library is compiled for each.
        target: TVM's, such as ``llvm -mcpu=znver4``; None for this CPU. For another CPU nothing can be checked here.
        minutes: to tune schedules, in all; 0 for those that come with optkit, or that ``records`` hold.
        records: folder that keeps what tuning found, for other models and shapes as well; None for one in ``output``.
        fast_math: whether exp, erf and tanh may be approximations that vectors compute.
        sparse: whether layers may be block-sparse products; False compiles the same model dense, to compare with.
        int8: whether the block-sparse products are in int8: weights with a scale for each output, inputs with one for
            each token. It needs AVX-512 VNNI, and batch x tokens a multiple of 16.
        seed: of the inputs that the outputs are checked with, and of tuning.

    Raises:
        UsageError: if the source, the shapes or the target are wrong.
        ExportError: if it cannot be compiled, or computes something else than torch does.
    """
    reporter = reporter or Reporter(quiet=True)
    if (why := tvm.missing()) is not None:
        raise UsageError(why)
    checkpoint, output = _checkpoint(Path(source)), _empty(Path(output))
    for batch, seq in shapes:
        if batch < 1 or seq < 1:
            raise UsageError(f"{batch} x {seq}: batch and tokens are at least 1")
    found = tvm.cpu_target(target)
    if int8:
        _refuse_int8(found, shapes)
    layers, packed = _layers(Path(source), checkpoint, sparse, int8)
    model, outputs = _load(checkpoint)
    names = _input_names(model, checkpoint, shapes)
    width, kept = tvm.vector_width(found), records or output / "tuning"
    arrays: dict[str, np.ndarray] = {}
    compiled_shapes: list[CompiledShape] = []
    output.mkdir(parents=True, exist_ok=True)
    for batch, seq in shapes:
        inputs = _inputs(model, names, batch, seq, seed)
        program = tvm.rewrite(tvm.trace(model, inputs, outputs), packed, width, fast_math=fast_math)
        if minutes:
            tvm.tune(program, found, kept, minutes=minutes / len(shapes), seed=seed, say=reporter.say)
        used = kept if kept.is_dir() and any(kept.iterdir()) else None
        reporter.say(f"  compiling {batch} x {seq}")
        library, parameters = tvm.build(program, found, used)
        name = f"model-{batch}x{seq}.so"
        tvm.save(library, output / name)
        order = [_add(arrays, parameter, array) for parameter, array in parameters.items()]
        compiled_shapes.append(CompiledShape(batch=batch, seq=seq, library=name, parameters=order))
    index = CompiledModel(
        format=1,
        target=tvm.describe(found),
        versions={name: installed(name) or "" for name in ("optkit", "apache-tvm", "torch", "transformers")},
        inputs=names,
        outputs=list(outputs),
        limits=_limits(model, names),
        tuned=float(minutes),
        fast_math=fast_math,
        int8=int8,
        layers=layers,
        shapes=compiled_shapes,
    )
    save_file(arrays, output / PARAMETERS)
    copy_companions(checkpoint, output)
    with tempfile.TemporaryDirectory(dir=output) as folder:  # the index comes last: without it nothing loads
        staged = Path(folder) / INDEX
        staged.write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
        staged.replace(output / INDEX)
    if target is None:
        try:
            _check(output, model, packed, seed)
        except BaseException:  # of TVM's own, and ctrl-C
            (output / INDEX).unlink()
            raise
    return index


def _checkpoint(source: Path) -> Path:
    """The folder of the weights of ``source``."""
    folder = source / "pruned" if has_weights(source / "pruned") else source
    if not has_weights(folder):
        raise UsageError(f"{source}: no checkpoint: give the folder of a checkpoint, or of a run that has pruned/")
    return plain_folder(folder)


def _empty(output: Path) -> Path:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: not an empty folder: choose another with --output")
    return output


def _refuse_int8(target: Any, shapes: Sequence[tuple[int, int]]) -> None:
    if not tvm.has_vnni(target):
        raise UsageError(f"int8 needs a CPU with AVX-512 VNNI, which {tvm.describe(target)} has not: leave it out")
    for batch, seq in shapes:
        if batch * seq % 16:
            raise UsageError(f"{batch} x {seq}: int8 takes a multiple of 16 tokens: choose another length")


def _layers(
    source: Path, checkpoint: Path, sparse: bool, int8: bool
) -> tuple[dict[str, CompiledLayer], dict[str, PackedLayer]]:
    """How each linear layer is computed, its zeros counted by the tags where there are some; and those that are worth a
    sparse product, packed.
    """
    report = sparsity(source)
    shares = {
        layer.name: layer.sparsity if layer.tagged_sparsity is None else layer.tagged_sparsity
        for layer in report.layers
    }
    weights = {name: array for name, array, _ in tensors(checkpoint)}
    if absent := set(shares) - set(weights):  # an IR that names MatMuls
        report = sparsity(checkpoint)
        shares = {layer.name: layer.sparsity for layer in report.layers}
        absent = set(shares) - set(weights)
    layers: dict[str, CompiledLayer] = {}
    packed: dict[str, PackedLayer] = {}
    for name, share in shares.items():
        if name in absent:
            continue
        shape, layer = weights[name].shape, None
        if sparse and share >= _SPARSE:
            layer = pack(np.asarray(weights[name], dtype=np.float32), int8=int8)
        form, stored = ("dense", 1.0) if layer is None else (layer.form, layer.density)
        layers[name] = CompiledLayer(shape=list(shape), form=form, sparsity=share, stored=stored)
        if layer is not None:
            packed[name] = layer
    return layers, packed


def _load(checkpoint: Path) -> tuple[PreTrainedModel, tuple[str, ...]]:
    with library_errors(f"{checkpoint}: transformers cannot load it"):
        model = load_compact(checkpoint).float().eval()
    if model.base_model is model:
        return model, ("last_hidden_state",)
    questions = "QuestionAnswering" in type(model).__name__
    return model, ("start_logits", "end_logits") if questions else ("logits",)


def _input_names(model: PreTrainedModel, checkpoint: Path, shapes: Sequence[tuple[int, int]]) -> list[str]:
    """The names of its inputs.

    Raises:
        UsageError: if it does not take inputs of one of ``shapes``.
        ExportError: if it takes something else than texts.
    """
    longest = longest_input(model.config)
    for _, seq in shapes:
        if longest is not None and seq > longest:
            raise UsageError(f"--seq {seq}: the model takes up to {longest} tokens")
    names = conversion.input_names(model, segments=makes_segments(checkpoint))
    if unknown := [name for name in names if name not in _TEXTS]:
        raise ExportError(f"{checkpoint}: it takes {', '.join(unknown)}: only models of texts are compiled for TVM")
    return names


def _inputs(model: PreTrainedModel, names: Sequence[str], batch: int, seq: int, seed: int) -> dict[str, torch.Tensor]:
    """Random texts, the first whole and the others padded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ids, mask = random_texts(model.config, batch, seq)
        if batch == 1 and seed % 2:
            mask[:, seq - seq // 4 :] = 0
        texts = dict(zip(_TEXTS, (ids, mask, torch.zeros_like(ids))))
    return {name: texts[name] for name in names}


def _add(arrays: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    """Adds an array under ``name``, or another one where a different array has it; returns the name that it has."""
    number = 0
    while True:
        tried = f"{name}.{number}" if number else name
        if tried not in arrays:
            arrays[tried] = np.ascontiguousarray(array)
            return tried
        if arrays[tried].shape == array.shape and np.array_equal(arrays[tried], array):
            return tried
        number += 1


def _limits(model: PreTrainedModel, names: Sequence[str]) -> dict[str, int]:
    sizes = {"input_ids": model.config.vocab_size, "token_type_ids": getattr(model.config, "type_vocab_size", None)}
    return {name: int(sizes[name]) for name in names if sizes.get(name)}


def _check(output: Path, model: PreTrainedModel, packed: Mapping[str, PackedLayer], seed: int) -> None:
    """Refuses what computes something else than torch does, on inputs of every shape.

    Raises:
        ExportError: naming the layer whose product is off, where it is one.
    """
    compiled = TvmModel(output)
    for shape in compiled.index.shapes:
        for trial in range(_TRIALS):
            inputs = _inputs(model, compiled.index.inputs, shape.batch, shape.seq, seed + trial)
            with torch.no_grad(), rounded(model, packed):
                reference = model(**inputs)
            found = compiled({name: tensor.numpy() for name, tensor in inputs.items()})
            for name, ours in found.items():
                theirs = reference[name].numpy()
                if theirs.ndim == 3 and theirs.shape[:2] == (shape.batch, shape.seq):  # of padding nobody asks
                    seen = inputs["attention_mask"].numpy().astype(bool)
                    ours, theirs = ours[seen], theirs[seen]
                off = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
                if not off <= (_INT8_TOLERANCE if compiled.index.int8 else _TOLERANCE):
                    layer = _wrong_layer(model, packed)
                    where = f"{layer}: its product is wrong" if layer else f"{name} is off by {off:.2g}"
                    raise ExportError(f"{output}: with inputs of {shape.batch} x {shape.seq}: {where}")


def _wrong_layer(model: PreTrainedModel, packed: Mapping[str, PackedLayer]) -> str | None:
    """The first layer whose packed form is not its weight."""
    for name, weight in model.named_parameters():
        if name not in packed:
            continue
        layer = packed[name]
        step = 0 if layer.scales is None else layer.scales[:, None] * 0.51
        if (np.abs(layer.unpack() - weight.detach().numpy()) > step).any():
            return name
    return None
