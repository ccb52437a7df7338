"""Rewrites models and runs them beside the originals."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import reference

from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino, read_model, save_model
from optkit.runtime import extension
from optkit.runtime.program import Kernel, Program
from optkit.runtime.rewriting import Rewrite, rewrite, sites

ov = import_openvino()
ops = ov.opset13

CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
BLOCK4, ELEMENT = Kernel("block4"), Kernel("element")


class ReferenceOp(ov.Op):
    """A program as an OpenVINO operation that the numpy reference evaluates."""

    def __init__(self, inputs=None, program: Program | None = None) -> None:
        super().__init__(self)
        self.program = program
        if inputs is not None:
            self.set_arguments(inputs)
            self.constructor_validate_and_infer_types()

    def validate_and_infer_types(self) -> None:
        self.set_output_size(len(self.program.outputs))
        for i, number in enumerate(self.program.outputs):
            shape = list(self.get_input_partial_shape(0))
            self.set_output_type(i, ov.Type.f32, ov.PartialShape([*shape[:-1], self.program.features[number]]))

    def clone_with_new_inputs(self, inputs):
        return ReferenceOp(inputs, self.program)

    def get_type_info(self):
        return ov.DiscreteTypeInfo("Program", "optkit_reference")

    def evaluate(self, outputs, inputs) -> bool:
        results = reference.run(self.program, [np.array(tensor.data) for tensor in inputs])
        for output, result in zip(outputs, results):
            output.shape = result.shape
            output.data[...] = result
        return True

    def has_evaluate(self) -> bool:
        return True


def in_numpy(inputs, program: Program, name: str):
    """Makes the node of a program that the reference computes."""
    node = ReferenceOp(inputs, program)
    node.set_friendly_name(name)
    return node


def rewrite_here(model, kernels: dict[str, Kernel], **options) -> Rewrite:
    """``rewrite`` with the compiled library, or where there is none with the reference."""
    if not extension.available():
        options.setdefault("create_node", in_numpy)
    return rewrite(model, kernels, **options)


def kernels_of(model, kernel: Kernel, but: Iterable[str] = ()) -> dict[str, Kernel]:
    """Every layer that the engine can compute, but those whose names hold a word of ``but``."""
    names = [site.matmul for site in sites(model) if site.supported]
    return {name: kernel for name in names if not any(word in name for word in but)}


def run(model, *feeds: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The model's outputs in their order, for each feed."""
    compiled = ov.Core().compile_model(model, "CPU", CONFIG)
    return [[np.array(value) for value in compiled(feed).values()] for feed in feeds]


def expected(original, *feeds: dict[str, np.ndarray]) -> list[list[np.ndarray]]:
    """The outputs of a model as it was, with FakeQuantize in float32."""
    return run(emulate_f32(original), *feeds)


def apart(wanted: list[list[np.ndarray]], got: list[list[np.ndarray]]) -> float:
    """The largest difference of any output, as a share of the output's largest number."""
    pairs = list(zip(sum(wanted, []), sum(got, []), strict=True))
    assert [one.shape for one, _ in pairs] == [other.shape for _, other in pairs]
    return max(float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-30)) for one, other in pairs)


def difference(original, rewritten, *feeds: dict[str, np.ndarray]) -> float:
    """How far the outputs of two models are apart."""
    return apart(expected(original, *feeds), run(rewritten, *feeds))


def types(model) -> list[str]:
    """Types of the model's nodes."""
    return [node.get_type_name() for node in model.get_ordered_ops()]


def steps(rewrite: Rewrite) -> list[list[str]]:
    """Types of the steps of each program, in order."""
    return [[type(step).__name__ for step in placed.program.steps] for placed in rewrite.programs]


def quantized(source: Path, path: Path) -> Path:
    """Writes the IR in ``source`` to ``path`` as int8, and returns that."""
    from optkit.adapters import nncf
    from optkit.quantization.config import Quantization

    # In half the range: what a test leaves to OpenVINO is then exact on CPUs without VNNI, too.
    model, rng = read_model(source), np.random.default_rng(0)
    if any("pixel_values" in port.get_names() for port in model.inputs):
        samples = [{"pixel_values": rng.normal(size=(3, 32, 32)).astype(np.float32)} for _ in range(3)]
    else:
        samples = [{"input_ids": rng.integers(2, 60, 20).tolist()} for _ in range(3)]
    path.mkdir(exist_ok=True)
    save_model(nncf.quantize_int8(model, samples, quantization=Quantization()), path)
    return path
