"""The section on int8: layers that stayed fp32, accuracy control, the most sensitive layers."""

from __future__ import annotations

from optkit.report.render.blocks import Block, Table
from optkit.report.stage_facts import Quantization

_SHOWN = 10
_METHODS = {"int8": "int8 weights and activations", "int8_weights": "int8 weights, floating-point activations"}


def quantization(found: Quantization | None) -> list[Block]:
    """Paragraphs and a table; none of a model that is not quantized."""
    if found is None:
        return []
    kept = ", ".join(f"`{name}`" for name in found.fp32)
    method = _METHODS.get(found.method, found.method)
    parts: list[Block] = [f"{method}; {f'in fp32: {kept}' if kept else 'no layer is left in fp32'}."]
    if found.smoothing and len(found.smoothing.trials) > 1:
        tried = ", ".join(f"{_smoothed(trial.strength)} {trial.error:.1%}" for trial in found.smoothing.trials)
        parts.append(f"SmoothQuant: {_smoothed(found.smoothing.strength)}; error of the outputs by strength: {tried}.")
    if control := found.control:
        held = "held-out examples" if control.held_out else "examples"
        said = f"{control.metric} on {control.examples:,} {held} of the training split is"
        parts.append(
            f"Accuracy control: {said} {100 * control.reference:.2f} in fp32; int8 loses {control.before:.2f} "
            f"points with everything quantized and {control.after:.2f} as it is, {control.limit:g} are allowed; "
            f"{control.tried} quantized models were tried."
        )
    if table := found.sensitivity:
        rows = [(layer.module, f"{layer.error:.2%}") for layer in table.layers[:_SHOWN]]
        rows.append(("all together", f"{table.together:.2%}"))
        parts += [
            f"Error of the outputs with one layer in int8, on {table.samples} samples; all layers are in "
            "sensitivity.json beside the IR.",
            Table(("layer", "error"), rows),
        ]
    return parts


def _smoothed(strength: float | None) -> str:
    return "none" if strength is None else f"{strength:g}"
