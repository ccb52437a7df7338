"""IRs that the tests of the rewriting share, exported once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))

_SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_DISTILBERT = {
    "vocab_size": 64,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
}
_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
}
#: (transformers class, configuration)
ARCHITECTURES = {
    "bert": ("BertForSequenceClassification", _SMALL),
    "roberta": ("RobertaForSequenceClassification", _SMALL),
    "distilbert": ("DistilBertForSequenceClassification", _DISTILBERT),
    "electra": ("ElectraForSequenceClassification", {**_SMALL, "embedding_size": 16}),
    "albert": ("AlbertForSequenceClassification", {**_SMALL, "embedding_size": 16, "hidden_act": "gelu_new"}),
    "mpnet": ("MPNetForSequenceClassification", _SMALL),
    "deberta": ("DebertaV2ForSequenceClassification", {**_SMALL, **_DEBERTA}),
    "vit": ("ViTForImageClassification", _VIT),
}


@pytest.fixture(scope="session")
def ir(tmp_path_factory):
    """Returns the folder of an IR by architecture and precision, ``fp32`` or ``int8``; every parameter is random."""
    folder = tmp_path_factory.mktemp("irs")

    def get(architecture: str, precision: str) -> Path:
        path = folder / architecture / precision
        if not path.exists():
            path.mkdir(parents=True)
            if precision == "fp32":
                _export(architecture, path)
            else:
                _quantize(get(architecture, "fp32"), path)
        return path

    return get


def _export(architecture: str, path: Path) -> None:
    import torch
    import transformers

    from optkit.adapters import optimum

    name, config = ARCHITECTURES[architecture]
    model_class = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**config)).eval()
        for name, parameter in model.named_parameters():
            gain = "norm" in name.lower() and name.endswith("weight")
            parameter.data = gain + 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(path / "checkpoint")
    task = "image-classification" if architecture == "vit" else "text-classification"
    optimum.convert(path / "checkpoint", path, task=task)


def _quantize(source: Path, path: Path) -> None:
    from optkit.adapters import nncf, quiet
    from optkit.ir.io import read_model, save_model

    model, rng = read_model(source), np.random.default_rng(0)
    if any("pixel_values" in port.get_names() for port in model.inputs):
        import nncf as library

        images = [{"pixel_values": rng.normal(size=(1, 3, 32, 32)).astype(np.float32)} for _ in range(3)]
        kind = library.ModelType.TRANSFORMER
        with quiet():
            quantized = library.quantize(model, library.Dataset(images), subset_size=3, model_type=kind)
    else:
        samples = [{"input_ids": rng.integers(2, 60, 20).tolist()} for _ in range(3)]
        quantized = nncf.quantize_int8(model, samples, target="optkit")
    save_model(quantized, path)
