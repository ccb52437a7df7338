"""A report as a run would gather it."""

from __future__ import annotations

import copy

import pytest

LAYER = {"name": "encoder.0.weight", "shape": [64, 32], "structure": "1x4", "sparsity": 0.8125}
REPORT = {
    "format": 2,
    "name": "small",
    "description": "A small one.",
    "recipe_hash": "0123456789abcdef" * 4,
    "resolved_recipe": "# Resolved recipe.\noptkit: 1\nname: small\n",
    "seed": 42,
    "origin": {"base": ["org/base"], "local": False, "datasets": ["glue"], "license": "mit"},
    "task": {
        "type": "text-classification",
        "ov_class": "OVModelForSequenceClassification",
        "pair": False,
        "shape": None,
        "dataset": {"type": "glue", "name": "glue sst2", "config": "sst2"},
    },
    "quantized": True,
    "training": {"steps": 10, "rules": [{"name": "encoder"}]},
    "evaluate": {
        "baseline": "start",
        "metric": "accuracy",
        "drop": 1.5,
        "agrees": "predict the same class for",
        "max_drop": None,
        "within_max_drop": True,
        "splits": {
            "validation": {
                "examples": 1000,
                "dense": {"accuracy": 0.9},
                "pruned": {"accuracy": 0.8875},
                "int8": {"accuracy": 0.885},
                "agreement": 0.9931,
            },
            "test": {
                "examples": 100,
                "dense": {"accuracy": 0.91},
                "pruned": {"accuracy": 0.9},
                "int8": {"accuracy": 0.89},
                "agreement": 1.0,
            },
        },
    },
    "sparsity": {
        "pruned": {
            "denominators": {
                "encoder_linear": {"zeros": 1664, "size": 2048, "sparsity": 0.8125},
                "linear": None,
                "matmul_conv": {"zeros": 1664, "size": 4096, "sparsity": 0.40625},
                "all": {"zeros": 1700, "size": 17000, "sparsity": 0.1},
            },
            "layers": [LAYER],
        },
        "openvino": {"denominators": {"encoder_linear": None}, "layers": [LAYER]},
    },
    "bytes": {"dense": 90_900_000, "pruned": 90_900_000, "openvino": 23_400_000},
    "benchmark": {
        "rows": [{"batch": 1, "seq": 64, "milliseconds": {"dense torch": 8.126, "int8 openvino": 2.5}}],
        "skipped": {"optkit": "this installation has no sparse runtime"},
        "threads": 2,
        "rounds": 20,
    },
    "export": {},
    "history": [{"step": step, "loss": 1.0 / step, "sparsity": step / 12.3} for step in range(1, 11)],
    "seconds": {"plan": 2.2, "train": 3725.0},
    "versions": {"python": "3.11.7", "optkit": "0.1.0", "torch": "2.13.0"},
    "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux"},
}


@pytest.fixture
def report():
    """As report.json of the second format holds it: what reads it migrates it, too."""
    return copy.deepcopy(REPORT)
