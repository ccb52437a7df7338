"""What several folders of tests share: tiny data and checkpoints, exactly known zeros, IRs made node by node.

Nothing asks the Hub, and nothing is kept in the home folder.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Read by the Hub's libraries when they are imported, so set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="optkit-tests-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

import numpy as np  # noqa: E402
import pytest  # noqa: E402


def pruned(rng: np.random.Generator, shape: tuple[int, int], block: tuple[int, int], share: float) -> np.ndarray:
    """A float32 weight (out, in) without zeros but for exactly round(share x blocks) blocks of ``block``."""
    rows, cols = shape[0] // block[0], shape[1] // block[1]
    keep = np.ones(rows * cols, dtype=bool)
    keep[rng.permutation(rows * cols)[: round(share * rows * cols)]] = False
    weight = rng.normal(size=shape).astype(np.float32)
    weight[weight == 0] = 1
    return weight * np.kron(keep.reshape(rows, cols), np.ones(block, dtype=bool))


@pytest.fixture(scope="session")
def prune():
    return pruned


@pytest.fixture(scope="session")
def save_checkpoint():
    """Saves a tiny model of a transformers class, its encoder's linear weights pruned, and returns their zeros."""

    def save(folder: Path, model_class: str, config: dict, block: tuple[int, int], share: float) -> dict[str, int]:
        import torch
        import transformers

        from optkit.pruning.config import Rule
        from optkit.pruning.targets import resolve_targets

        architecture = getattr(transformers, model_class)
        torch.manual_seed(0)
        model = architecture(architecture.config_class(**config))
        rng = np.random.default_rng(0)
        zeros = {}
        for name, layer in resolve_targets(model, Rule()).items() if share else ():
            weight = pruned(rng, tuple(layer.weight.shape), block, share) * 0.1
            layer.weight.data = torch.from_numpy(weight.astype(np.float32))
            zeros[f"{name}.weight"] = int((weight == 0).sum())
        model.save_pretrained(folder)
        return zeros

    return save


@pytest.fixture(scope="session")
def save_ir():
    """Saves an IR of independent MatMuls, one for each weight (out, in) by module name; int8 ones get a scale."""

    def save(folder: Path, weights: dict[str, np.ndarray], tags=None) -> Path:
        from optkit.ir.io import import_openvino, save_model
        from optkit.ir.tags import write_tags

        openvino = import_openvino()
        ops = openvino.opset13
        inputs, outputs = [], []
        for module, weight in weights.items():
            node = ops.constant(weight)
            if weight.dtype == np.int8:
                node = ops.multiply(ops.convert(node, "f32"), ops.constant(np.full((len(weight), 1), 0.5, np.float32)))
            inputs.append(ops.parameter([-1, weight.shape[1]], np.float32))
            outputs.append(ops.matmul(inputs[-1], node, False, True, name=f"__module.{module}/aten::linear/MatMul"))
        model = openvino.Model(outputs, inputs, "linear")
        if tags is not None:
            write_tags(model, tags)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(model, folder)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Tab-separated files of three splits, columns sentence and label (0 or 1): 96, 32 and 16 easy sentences."""
    folder = tmp_path_factory.mktemp("files")
    good, bad = ("fine", "lovely", "great", "sweet"), ("poor", "awful", "grim", "sour")
    things = ("soup", "song", "table", "garden", "river", "letter")
    rng = np.random.default_rng(0)
    files = {}
    for split, count in {"train": 96, "validation": 32, "test": 16}.items():
        rows = ["sentence\tlabel"]
        for i in range(count):
            word = (bad, good)[i % 2][rng.integers(4)]
            rows.append(f"the {things[rng.integers(6)]} of day {i} was {word} .\t{i % 2}")
        files[split] = folder / f"{split}.tsv"
        files[split].write_text("\n".join(rows) + "\n", encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, tiny_files) -> Path:
    """A BERT for two classes with random weights (2 layers, hidden 32) and a tokenizer trained on ``tiny_files``."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from optkit.models.wordpiece import train_wordpiece

    folder = tmp_path_factory.mktemp("tiny_checkpoint")
    texts = [line.split("\t")[0] for line in tiny_files["train"].read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = train_wordpiece(texts, vocab_size=200, max_length=64)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
