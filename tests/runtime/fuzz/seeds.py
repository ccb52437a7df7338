"""Writes packed programs of every kind of step, from which the fuzz program starts, into a folder:
``python seeds.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from programs import (
    INT8,
    SINGLE,
    Grid,
    attention_program,
    chain,
    encoder_layer,
    f32,
    gated_layer,
    linear_program,
    relative_program,
    scales,
    weights,
)

from optkit.runtime.packing import encode
from optkit.runtime.program import (
    Activation,
    Add,
    Affine,
    Attention,
    FakeQuantize,
    Kernel,
    LayerNorm,
    Linear,
    Program,
    Quantization,
)


def programs() -> dict[str, Program]:
    """Small ones: what is damaged is then seldom a weight."""
    rng = np.random.default_rng(0)
    found = {
        "layer": encoder_layer(rng, 12, 3, 20, density=0.5),
        "layer_values": encoder_layer(rng, 12, 3, 20, density=0.5, every_value=True),
        "layer_dynamic": encoder_layer(rng, 8, 2, 12, INT8[6], 0.5, quantization="dynamic"),
        "layer_smooth": encoder_layer(rng, 8, 2, 12, INT8[8], 0.5, quantization="smooth"),
        "layer_integer": encoder_layer(rng, 12, 3, 20, density=0.5, quantized_keys=True),
        "layer_f32": encoder_layer(rng, 8, 2, 12, None, 0.5),
        "attention": attention_program(2, 5, mask=True),
        "gated": gated_layer(rng, 8, 4, 2, 6, 12),
        "gated_values": gated_layer(rng, 8, 2, 1, 4, 12, interleaved=True, every_value=True),
        "relative": relative_program(2, 5, masks=2),
    }
    for single, kernel in [*((False, kernel) for kernel in INT8), *((True, kernel) for kernel in SINGLE)]:
        name = f"{kernel.name}{kernel.rows}_{'f32' if single else 'int8'}"
        packed = weights(rng, (21, 10), kernel, 0.6, single=single)
        quantization = None if single else Grid().quantization
        layer = {"weights": packed, "scales": scales(rng, packed), "bias": f32(rng, 21), "quantization": quantization}
        found[name] = linear_program([layer], 10)

    # Several steps of the kernels with tile registers, and two ranges of inputs: the panel does not fit the first cache.
    for rows in (16, 32):
        packed = weights(rng, (33, 1000), Kernel("block4", rows), 0.8)
        layer = {"weights": packed, "scales": scales(rng, packed), "bias": None, "quantization": Grid().quantization}
        found[f"wide_{rows}"] = linear_program([layer], 1000)

    def middle(source: int, target: int, out: int, width: int) -> Linear:
        packed = weights(rng, (out, width), INT8[0], 0.5)
        return Linear(source, target, packed, scales(rng, packed), None, Quantization(-1.0, 1.5))

    numbers = f32(rng, 9)
    found["steps"] = chain(
        6,
        lambda s, t: Affine(s, t, f32(rng, 6), None),
        (9, lambda s, t: middle(s, t, 9, 6)),
        lambda s, t: Activation(s, t, "silu"),
        lambda s, t: Affine(s, t, numbers, f32(rng, 9)),
        lambda s, t: FakeQuantize(s, t, -1.0, 1.0, 16),
        lambda s, t: LayerNorm(s, t, numbers, None, 1e-5),
        lambda s, t: Add(s, 2, t),
        (7, lambda s, t: middle(s, t, 7, 9)),
    )
    # Layers of one model share a mask.
    two = Program([12, 12, 12, 0], [0, 3], [1, 2])
    two.steps = [Attention(0, 0, 0, 3, 1, 3, 0.4), Attention(1, 0, 1, 3, 2, 3, 0.5)]
    found["attentions"] = two
    return found


def write(folder: Path) -> list[Path]:
    """The files written."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, program in programs().items():
        files.append(folder / f"{name}.bin")
        files[-1].write_bytes(encode(program))
    return files


if __name__ == "__main__":
    write(Path(sys.argv[1]))
