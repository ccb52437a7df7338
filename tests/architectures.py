"""Tiny models of every architecture that the table of layouts knows, with random weights, biases and norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: A tiny BERT, wide enough for 1x4 blocks.
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SMALL = {
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
_MODERNBERT = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "local_attention": 8,
}
#: A BERT wide enough for 1x4 blocks in all its layers, and one of a single layer.
BERT = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 32,
}
BERT_OF_ONE_LAYER = {**BERT, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
#: (transformers class, configuration)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", SMALL),
    "roberta": ("RobertaForSequenceClassification", SMALL),
    "distilbert": ("DistilBertForSequenceClassification", _DISTILBERT),
    "electra": ("ElectraForSequenceClassification", {**SMALL, "embedding_size": 16}),
    "albert": ("AlbertForSequenceClassification", {**SMALL, "embedding_size": 16, "hidden_act": "gelu_new"}),
    "mpnet": ("MPNetForSequenceClassification", SMALL),
    "deberta": ("DebertaV2ForSequenceClassification", {**SMALL, **_DEBERTA}),
    "deberta-apart": ("DebertaV2ForSequenceClassification", {**SMALL, **_DEBERTA, "share_att_key": False}),
    "modernbert": ("ModernBertForSequenceClassification", {**SMALL, **_MODERNBERT}),
    "modernbert-biased": (
        "ModernBertForSequenceClassification",
        {**SMALL, **_MODERNBERT, "attention_bias": True, "mlp_bias": True},
    ),
    "vit": ("ViTForImageClassification", _VIT),
    "camembert": ("CamembertForSequenceClassification", SMALL),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", SMALL),
}


def small_model(name: str, **changes: Any) -> Any:
    """A model in evaluation mode, every parameter random, the same at each call."""
    import transformers

    class_name, config = ARCHITECTURES[name]
    model_class = getattr(transformers, class_name)
    return random_parameters(lambda: model_class(model_class.config_class(**config | changes)))


def random_parameters(make: Callable[[], Any]) -> Any:
    """The model that ``make`` returns, in evaluation mode, every parameter random, the same at each call."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
        for name, parameter in model.named_parameters():
            gain = "norm" in name.lower() and name.endswith("weight")
            parameter.data = gain + 0.3 * torch.randn(parameter.shape)
    return model


def inputs_of(model: Any, batch: int = 3, length: int = 14) -> dict[str, Any]:
    """Random inputs, the sequences of different lengths."""
    import torch

    generator = torch.Generator().manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(batch, 3, 32, 32, generator=generator)}
    lengths = length - torch.arange(batch)[:, None] * (length // 4)
    ids = torch.randint(3, 60, (batch, length), generator=generator)
    return {"input_ids": ids, "attention_mask": (torch.arange(length) < lengths).long()}


def zero(model: Any, group: Any, which: Any, roles: Any = None) -> None:
    """Zeroes weights of the groups ``which``: those of ``roles``, all if None. Biases stay."""
    for member in group.members:
        weight = model.get_submodule(member.layer).weight.data
        for g in which if roles is None or member.role in roles else ():
            weight.narrow(member.axis, member.offset + g * member.size, member.size).zero_()


def emptied(name: str, heads: Any = ((), ()), neurons: Any = ((), ()), roles: Any = None, **changes: Any) -> Any:
    """A small model whose layer i lost ``heads[i]`` and ``neurons[i]``: of their weights those of ``roles``."""
    from optkit.pruning.layouts import layouts

    model = small_model(name, **changes)
    for i, layout in enumerate(layouts(model)):
        zero(model, layout.heads, heads[i], roles)
        zero(model, layout.neurons, neurons[i], roles)
    return model


def logits_of(model: Any) -> Any:
    """Logits (batch, classes) of ``inputs_of`` the model."""
    import torch

    with torch.no_grad():
        return model(**inputs_of(model)).logits


def token_samples(count: int) -> list[dict[str, list[int]]]:
    """Tokenised texts of 4 to 15 ids from 5 to 99."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 100, size).tolist() for size in rng.integers(4, 16, count)]
    return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]
