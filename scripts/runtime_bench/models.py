"""Models with random weights: pruned in one shot, exported, quantized, and kept for the next run."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from optkit.adapters import quiet
from optkit.errors import OptkitError


@dataclass(frozen=True)
class Shape:
    """transformers' class of a model, what its configuration is given, and optimum's task to export it for."""

    class_name: str
    config: dict[str, Any]
    task: str = "text-classification"


_BERT = "BertForSequenceClassification"
MODELS: dict[str, Shape] = {
    "base": Shape(_BERT, {}),
    "minilm": Shape(
        _BERT, {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    ),
    "tiny": Shape(
        _BERT,
        {
            "hidden_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 512,
            "max_position_embeddings": 512,
        },
    ),
    # ModernBERT-base is the default of its configuration.
    "modernbert": Shape("ModernBertForSequenceClassification", {}),
    # DeBERTa-v3-base, with a quarter of its vocabulary, which costs memory alone.
    "deberta": Shape(
        "DebertaV2ForSequenceClassification",
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": 32768,
            "max_position_embeddings": 512,
            "type_vocab_size": 0,
            "pad_token_id": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
        },
    ),
    # Of Qwen3-Embedding-0.6B six of 28 layers, and a fifth of the vocabulary, which costs memory alone.
    "qwen3": Shape(
        "Qwen3Model",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 6,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "vocab_size": 32768,
            "pad_token_id": 0,
        },
        "feature-extraction",
    ),
}
LONGEST = 512  # tokens, of every model
CALIBRATION = (4, 128)  # samples x tokens
RECIPE = 1  # of what follows: another number builds everything again
_STAMP = "built.json"


@dataclass(frozen=True)
class Case:
    """How a model is pruned: ``percent`` of each encoder layer's weights, in blocks of ``structure``."""

    percent: float
    structure: str

    @classmethod
    def parse(cls, text: str) -> Case:
        """Reads ``90:1x4``, ``95:element`` or ``0:dense``; raises ValueError on anything else."""
        match = re.fullmatch(r"(\d{1,2}(?:\.\d+)?):(dense|element|[1-9]\d?x[1-9]\d?)", text)
        if not match or (match[2] == "dense") != (float(match[1]) == 0):
            raise ValueError(f"'{text}' is no case: write percent:structure as in 90:1x4 or 95:element, or 0:dense")
        return cls(float(match[1]), match[2])

    def __str__(self) -> str:
        return "dense" if self.structure == "dense" else f"{self.percent:g}% {self.structure}"

    def folder(self, model: str) -> str:
        return f"{model}-{self.percent:g}-{self.structure}"


DENSE = Case(0, "dense")


@lru_cache(maxsize=1)
def random_model(name: str) -> Any:
    """The dense model: the same weights at every call, all of them random, biases and norms too.

    A bias of zeros or a gamma of ones would be folded away when the model is converted, and a real one is not.
    """
    import torch
    import transformers

    model_class = getattr(transformers, MODELS[name].class_name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**MODELS[name].config)).eval()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if parameter_name.lower().endswith("norm.weight"):
                    parameter.normal_(1.0, 0.1)
                elif parameter_name.endswith("bias"):
                    parameter.normal_(0.0, 0.05)
    return model


def prune(model: Any, case: Case) -> None:
    """Zeroes the blocks of least magnitude in each linear layer of the encoder, in place.

    Raises:
        ValueError: if blocks do not divide a layer.
    """
    import torch

    from optkit.pruning.config import Structure
    from optkit.pruning.structures import grid_of

    structure = Structure.parse(case.structure)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.search(r"(^|\.)layers?\.\d+\.", name) and parameter.ndim == 2:
                grid, weights = grid_of(structure, tuple(parameter.shape)), [parameter.abs()]
                everything = [torch.ones_like(parameter, dtype=torch.bool)]
                scores = grid.pool(weights, everything)
                keep = torch.ones_like(scores, dtype=torch.bool)
                keep[scores.argsort()[: round(scores.numel() * case.percent / 100)]] = False
                parameter[~grid.masks(keep, weights, everything)[0]] = 0.0


def ready(model: str, case: Case, cache: Path, weight_range: str) -> Path:
    """A folder of ``cache`` with the case's IRs in ``fp32/`` and ``int8/``, built if it is not there yet.

    Args:
        weight_range: of int8 that the weights use, ``half`` or ``full``, see ``optkit.Quantization``.

    Raises:
        OptkitError: if it cannot be built, or the folder is somebody else's.
        ValueError: if the blocks do not divide a layer.
    """
    folder = cache / f"{case.folder(model)}-{weight_range}"
    return _kept(folder, lambda into: _build(model, case, weight_range, into), _versions("nncf", "openvino"))


def ready_onnx(model: str, cache: Path) -> Path:
    """The dense model as ONNX, of any batch and length.

    Raises:
        OptkitError: if torch cannot export it.
    """
    versions = _versions("onnxscript", "onnx", "optkit")
    return _kept(cache / f"{model}-onnx", lambda folder: _export_onnx(model, folder), versions) / "model.onnx"


def ready_tvm(model: str, case: Case, cache: Path, shape: tuple[int, int]) -> Path:
    """The case's model as a library of TVM for inputs of ``shape``, (batch, tokens), by the records of a tuning in
    ``cache``/tvm-tuning, where there are some.

    Raises:
        OptkitError: if it cannot be compiled.
    """
    records = cache / "tvm-tuning"
    versions = _versions("apache-tvm", "optkit")
    versions |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(records.glob("*.json"))}
    folder = cache / f"{case.folder(model)}-tvm-{shape[0]}x{shape[1]}"
    return _kept(folder, lambda into: _compile_tvm(model, case, shape, records, into), versions)


def _versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", *packages)}


def _kept(folder: Path, build: Any, versions: dict[str, str]) -> Path:
    """``folder`` as ``build`` once filled it, with the same versions; whole or not at all."""
    stamp = {"recipe": RECIPE, "versions": versions}
    if folder.exists():
        try:
            if json.loads((folder / _STAMP).read_text()) == stamp:
                return folder
        except (OSError, ValueError) as error:
            raise OptkitError(f"{folder}: not made by this script: choose another --cache") from error
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"building {folder}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        build(made)
        (made / _STAMP).write_text(json.dumps(stamp))
        made.rename(folder)
    return folder


def _compile_tvm(name: str, case: Case, shape: tuple[int, int], records: Path, folder: Path) -> None:
    from optkit.export.tvm.compile import compile_tvm

    model = _pruned(name, case)
    with tempfile.TemporaryDirectory(dir=folder.parent) as checkpoint:
        with quiet():
            model.save_pretrained(checkpoint)
        compile_tvm(checkpoint, folder, shapes=[shape], records=records)


def _pruned(name: str, case: Case) -> Any:
    model = copy.deepcopy(random_model(name))
    if case.structure != "dense":
        prune(model, case)
    return model


def _build(name: str, case: Case, weight_range: str, folder: Path) -> None:
    from optkit.adapters import nncf
    from optkit.export import conversion
    from optkit.ir.io import read_model, save_model
    from optkit.quantization.quantize import Quantization

    model = _pruned(name, case)
    with quiet():
        model.save_pretrained(folder / "checkpoint")
    for precision in ("fp32", "int8"):
        (folder / precision).mkdir()
    conversion.convert(folder / "checkpoint", folder / "fp32", task=MODELS[name].task)
    shutil.rmtree(folder / "checkpoint")
    random = np.random.default_rng(0)
    count, length = CALIBRATION
    samples = [{"input_ids": random.integers(0, model.config.vocab_size, length).tolist()} for _ in range(count)]
    int8 = nncf.quantize_int8(read_model(folder / "fp32"), samples, quantization=Quantization(weight_range))
    save_model(int8, folder / "int8")
    shutil.copyfile(folder / "fp32" / "config.json", folder / "int8" / "config.json")


def _export_onnx(model: str, folder: Path) -> None:
    from optkit.adapters import onnx

    with tempfile.TemporaryDirectory(dir=folder.parent) as checkpoint:
        with quiet():
            random_model(model).save_pretrained(checkpoint)
        onnx.save(onnx.trace(Path(checkpoint)), folder, {})
