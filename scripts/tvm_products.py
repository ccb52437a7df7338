"""Measures the products of `optkit compile` on this machine: milliseconds, and time for each stored weight.

    scripts/tvm_products.py --tokens 128 --threads 2

The dense product is TVM's with the schedule that comes with optkit. ``cost`` is what ``optkit/export/tvm/packing.py``
holds: the time for a stored weight of a block-sparse product, with the transpositions around it, over that of a weight
of the dense one. Products are timed in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from optkit.adapters.tvm import building, library
from optkit.adapters.tvm.program import trace
from optkit.adapters.tvm.rewriting import rewrite
from optkit.export.tvm.packing import COSTS, INT8_COSTS, pack_blocks, quantized


class Layer(torch.nn.Module):
    """A linear layer as a model with one input."""

    def __init__(self, weight: np.ndarray):
        super().__init__()
        self.linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        self.linear.weight.data = torch.from_numpy(weight)
        self.config = argparse.Namespace(attention_type=None)

    def set_attn_implementation(self, name: str) -> None:
        """What is asked of models of transformers."""

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"outputs": self.linear(inputs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--shapes", default="768x768,3072x768,768x3072")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    library.set_threads(args.threads)
    target = building.cpu_target()
    offered = INT8_COSTS if building.has_vnni(target) else {}
    width, rng = building.vector_width(target), np.random.default_rng(0)
    costs: dict[str, list[float]] = {}
    for shape in (tuple(map(int, text.split("x"))) for text in args.shapes.split(",")):
        inputs = torch.from_numpy(rng.standard_normal((args.tokens, shape[1]), dtype=np.float32))
        runs, stored = {}, {}
        forms = [(None, False), *((block, False) for block in COSTS), *((block, True) for block in offered)]
        for block, int8 in forms:
            rows, cols = block or (1, 1)
            keep = rng.random((shape[0] // rows, shape[1] // cols)) < (args.density if block else 1)
            weight = rng.standard_normal(shape, dtype=np.float32) * keep.repeat(rows, 0).repeat(cols, 1)
            packed = pack_blocks(weight, block) if block else None
            layers = {"linear.weight": quantized(packed) if int8 else packed} if packed else {}
            program = rewrite(trace(Layer(weight), {"inputs": inputs}, ["outputs"]), layers, width)
            compiled, parameters = building.build(program, target)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "layer.so"
                library.save(compiled, path)
                loaded = library.Library(path, list(library.tensors(parameters).values()))
            name = layers["linear.weight"].form if block else "dense"
            runs[name] = loaded.prepare([inputs.numpy()])
            stored[name] = layers["linear.weight"].density if block else 1.0
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                run()
                begun = time.perf_counter()
                for _ in range(10):
                    run()
                times[name].append((time.perf_counter() - begun) / 10)
        for name, seconds in times.items():
            middle, dense = statistics.median(seconds), statistics.median(times["dense"])
            cost = middle / dense / stored[name]
            costs.setdefault(name, []).append(cost)
            rate = args.tokens * shape[0] * shape[1] * stored[name] / middle / 1e9
            print(f"{shape[0]} x {shape[1]}  {name:9} {1e3 * middle:7.3f} ms  {rate:6.1f} G/s  cost {cost:.2f}")
    print(", ".join(f"{name} {statistics.mean(each):.1f}" for name, each in costs.items()))


if __name__ == "__main__":
    main()
