"""What the quantization of each layer alone does to a model's outputs.

One layer at a time is quantized and everything else is left in fp32, so the error is that layer's own: the other way
round, with one layer kept in fp32, a small difference would have to be told from the noise of all others. Ranges come
from one calibration, without bias correction, which would make up for layers that are not quantized here. It costs one
compilation and one pass over the samples for each layer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optkit.adapters import nncf
from optkit.errors import ExportError
from optkit.ir.layers import MOVING_OR_SCALING
from optkit.quantization.differences import SAMPLES, Reference
from optkit.quantization.operations import operations, select

if TYPE_CHECKING:
    import openvino

    from optkit.quantization.config import Quantization

FILE = "sensitivity.json"


@dataclass(frozen=True)
class LayerSensitivity:
    """One module's quantized operations.

    Attributes:
        module: dotted name of the torch module.
        error: root mean square of the difference in the outputs over that of the fp32 outputs.
    """

    module: str
    error: float


@dataclass(frozen=True)
class Sensitivity:
    """Errors of each layer alone, the highest first.

    Attributes:
        layers: that can be quantized, and by ``ignored`` were not taken out.
        together: the error with all of them quantized at once, without bias correction.
        samples: how many examples the outputs were compared on.
    """

    layers: tuple[LayerSensitivity, ...]
    together: float
    samples: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def render(self, most: int = 20) -> Any:
        """The first rows as something rich prints."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        title = f"error of the outputs with one layer in int8, {self.samples} samples"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("layer", overflow="fold")
        table.add_column("error", justify="right", no_wrap=True)
        for layer in self.layers[:most]:
            table.add_row(layer.module, f"{layer.error:.2%}")
        if len(self.layers) > most:
            table.add_row(f"{len(self.layers) - most} more", f"up to {self.layers[most].error:.2%}")
        table.add_row("all together", f"{self.together:.2%}")
        return table


def measure_sensitivity(
    model: openvino.Model,
    samples: Sequence[Mapping[str, Any]],
    quantization: Quantization,
    *,
    parameters: Mapping[str, str] | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """How far each layer's quantization alone moves the outputs of ``model``.

    Args:
        model: fp32.
        samples: for calibration; the first ``SAMPLES`` of them are compared.
        quantization: what the quantization is.
        parameters: the checkpoint's parameter by the MatMul's name, which gives layers their names.
        tell: hears how many layers are done, of how many.

    Raises:
        ExportError: if there are no samples, or they cannot be used, or NNCF fails.
    """
    if not samples:
        raise ExportError("sensitivity compares outputs on calibration samples, and there are none")
    of_modules = operations(model, parameters or {}, weights_only=quantization.weights_only)
    taken_out = set(select(quantization.ignored, of_modules))
    modules = {module: names for module, names in of_modules.items() if module not in taken_out}
    fixed = [name for module in taken_out for name in of_modules[module]]
    feeds = nncf.feeds(model, samples[:SAMPLES])
    if quantization.weights_only:
        every = [name for names in of_modules.values() for name in names]

        def variant(kept: Collection[str]) -> openvino.Model:
            ignored = [name for name in every if name not in kept]
            return nncf.quantize_int8(model, (), quantization=quantization, ignored=ignored)
    else:
        plain = replace(quantization, bias_correction=None)
        simulated = nncf.quantize_int8(model, samples, quantization=plain, ignored=fixed, simulated=True)

        def variant(kept: Collection[str]) -> openvino.Model:
            return only(simulated, {name for names in modules.values() for name in names}, kept)

    reference, errors = Reference(model, feeds), []
    for module, names in modules.items():
        errors.append(LayerSensitivity(module, reference.error(variant(set(names)))))
        tell(len(errors), len(modules))
    together = reference.error(variant({name for names in modules.values() for name in names}))
    return Sensitivity(tuple(sorted(errors, key=lambda layer: -layer.error)), together, len(feeds))


def only(simulated: openvino.Model, operations: Collection[str], kept: Collection[str]) -> openvino.Model:
    """A copy of a model with FakeQuantize in which those that feed ``kept`` alone act.

    One that feeds several operations acts for those of them that are kept.

    Args:
        simulated: what ``adapters.nncf.quantize_int8`` makes so.
        operations: names of all operations that are quantized.
        kept: names of some of them.
    """
    model = simulated.clone()
    # From the last to the first, so that of two in a row the second is taken out before it is asked what it feeds.
    for node in reversed(model.get_ordered_ops()):
        if node.get_type_name() != "FakeQuantize":
            continue
        for consumer in node.output(0).get_target_inputs():
            if not _fed(consumer.get_node(), operations) & set(kept):
                consumer.replace_source_output(node.input_value(0))
    return model


def _fed(node: openvino.Node, operations: Collection[str]) -> set[str]:
    """Names of the ``operations`` that what ``node`` takes is for."""
    if node.get_friendly_name() in operations:
        return {node.get_friendly_name()}
    if node.get_type_name() not in MOVING_OR_SCALING | {"FakeQuantize"}:
        return set()
    consumers = [consumer.get_node() for output in node.outputs() for consumer in output.get_target_inputs()]
    return set().union(*(_fed(consumer, operations) for consumer in consumers))
