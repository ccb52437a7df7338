"""Finished runs as files, for what reads many of them."""

from __future__ import annotations

import json


def write_run(folder, drop, dense=100.0, ours=50.0, *, sparsity=0.8, cpu="Some CPU", recipe="seed: 1\n", **more):
    folder.mkdir(parents=True)
    scores = {"examples": 10, "dense": {"accuracy": 0.9}, "int8": {"accuracy": 0.9 - (drop or 0) / 100}}
    layer = {"name": "layer.0.weight", "structure": "1x4", "sparsity": sparsity}
    zeros = {"denominators": {"encoder_linear": {"sparsity": sparsity}}, "layers": [layer]}
    report = {
        "format": 1,
        "task": {"dataset": {"type": "files"}},
        "evaluate": {"metric": "accuracy", "splits": {"validation": scores}, "drop": drop},
        "sparsity": {"pruned": zeros, "openvino": zeros},
        "benchmark": {
            "threads": 2,
            "rounds": 20,
            "rows": [
                {"batch": 1, "seq": 128, "milliseconds": {"dense openvino": dense, "int8 optkit": ours}},
                {"batch": 8, "seq": 32, "milliseconds": {"dense openvino": dense, "int8 optkit": dense}},
            ],
        },
        "machine": {"cpu": cpu, "cores": 2},
        "versions": {"optkit": "0.1.0"},
    } | more
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "recipe.resolved.yaml").write_text(recipe)
    return folder
