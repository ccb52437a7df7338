"""How sparse a compiled model is, as `optkit inspect` shows it."""

from __future__ import annotations

from pathlib import Path

from optkit.counting.encoder import encoder_of
from optkit.counting.result import Layer, Report, Totals, denominators_of
from optkit.export.tvm.index import read_index


def compiled_sparsity(folder: Path) -> Report:
    """The linear layers of a folder that `optkit compile` made, by its index: ``structure`` is the form in which a
    layer is computed, and the share of its blocks is that of the weights that are not multiplied by.

    Raises:
        OptkitError: if the index is damaged.
    """
    index = read_index(folder)
    encoder, totals, layers = encoder_of(index.layers), Totals(), []
    for name, layer in index.layers.items():
        outputs, inputs = layer.shape
        size = outputs * inputs
        zeros = round(layer.sparsity * size)
        totals.add(denominators_of("linear", name in encoder), zeros, size)
        blocks = {layer.form: 1 - layer.stored}
        layers.append(Layer(name, (outputs, inputs), "f32", zeros, size, blocks, layer.form))
    shapes = ", ".join(f"{shape.batch} x {shape.seq}" for shape in index.shapes)
    versions = ", ".join(f"{name} {version}" for name, version in index.versions.items())
    tuned = f"tuned for {index.tuned:g} minutes" if index.tuned else "not tuned"
    notes = f"a library of Apache TVM for {index.target}, inputs of {shapes}, {tuned}", f"made by {versions}"
    return Report(str(folder), "tvm", tuple(layers), totals.shares(("encoder_linear", "linear")), notes)
