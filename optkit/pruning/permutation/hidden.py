"""What reads and what writes the hidden state in models of known types: a declared table.

Every parameter must be in it, or be known to have no axis of hidden features. So a model with a part that nobody
thought of is refused, and not broken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from optkit.errors import PruningError
from optkit.pruning.layouts import LayerLayout

#: Within the encoder: (the end of a parameter's name, its axes of hidden features).
_Row = tuple[str, tuple[int, ...]]
_EMBEDDINGS: tuple[_Row, ...] = (
    (r"embeddings\.(word|position|token_type)_embeddings\.weight", (1,)),
    (r"embeddings\.LayerNorm\.(weight|bias)", (0,)),
)
_POOLER: tuple[_Row, ...] = ((r"pooler\.dense\.weight", (1,)), (r"pooler\.dense\.bias", ()))
_BERT = (
    *_EMBEDDINGS,
    *_POOLER,
    (r"encoder\.layer\.\d+\.attention\.output\.LayerNorm\.(weight|bias)", (0,)),
    (r"encoder\.layer\.\d+\.output\.LayerNorm\.(weight|bias)", (0,)),
)
_TABLE: dict[str, tuple[_Row, ...]] = {
    "bert": _BERT,
    "camembert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": (*_BERT, (r"embeddings_project\.(weight|bias)", (0,))),
    "mpnet": (
        *_BERT,
        (r"encoder\.layer\.\d+\.attention\.LayerNorm\.(weight|bias)", (0,)),
        (r"encoder\.relative_attention_bias\.weight", ()),
    ),
    "distilbert": (
        *_EMBEDDINGS,
        (r"transformer\.layer\.\d+\.(sa|output)_layer_norm\.(weight|bias)", (0,)),
    ),
    "albert": (
        *_EMBEDDINGS,
        (r"encoder\.embedding_hidden_mapping_in\.weight", (0,)),
        (r"encoder\.embedding_hidden_mapping_in\.bias", (0,)),
        (r"encoder\.albert_layer_groups\.\d+\.albert_layers\.\d+\.full_layer_layer_norm\.(weight|bias)", (0,)),
        (r"encoder\.albert_layer_groups\.\d+\.albert_layers\.\d+\.attention\.LayerNorm\.(weight|bias)", (0,)),
        (r"pooler\.weight", (1,)),
        (r"pooler\.bias", ()),
    ),
    "deberta-v2": (
        *_BERT,
        (r"encoder\.rel_embeddings\.weight", (1,)),
        (r"encoder\.LayerNorm\.(weight|bias)", (0,)),
    ),
    "modernbert": (
        (r"embeddings\.tok_embeddings\.weight", (1,)),
        (r"embeddings\.norm\.(weight|bias)", (0,)),
        (r"layers\.\d+\.(attn|mlp)_norm\.(weight|bias)", (0,)),
        (r"final_norm\.(weight|bias)", (0,)),
    ),
    "vit": (
        (r"embeddings\.(cls_token|mask_token|position_embeddings)", (2,)),
        (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", (0,)),
        # As releases of transformers after 5.5 call the layers, or those before.
        (r"(encoder\.layer|layers)\.\d+\.layernorm_(before|after)\.(weight|bias)", (0,)),
        (r"layernorm\.(weight|bias)", (0,)),
        *_POOLER,
    ),
}
#: Before the last matrix of a head: the first of these that is there reads the hidden state, and what follows does not.
_READERS = ("pooler.dense", "pooler", "classifier.dense", "pre_classifier", "head.dense")
#: Of a head that predicts tokens: the matrix that reads the hidden state, the norm after it, the one over the
#: vocabulary. The last one reads features of the embeddings, whose weights it often shares.
_TOKEN_HEADS = (
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head"),
    ("predictions.dense", "predictions.LayerNorm", "predictions.decoder"),
    ("head.dense", "head.norm", "decoder"),
)
_WITHOUT_FEATURES = ("cls.predictions.bias", "lm_head.bias", "predictions.bias")
_LAST = ("classifier", "qa_outputs")


def hidden_axes(model: nn.Module, found: Sequence[LayerLayout]) -> list[tuple[str, int]]:
    """(parameter, axis) of every axis of hidden features of ``model``, whose layers are ``found``.

    Raises:
        PruningError: if the model puts out hidden states, or it has a parameter of which this is not known.
    """
    if getattr(model, "base_model", model) is model:
        raise PruningError(
            f"{type(model).__name__} has no task head, and the order of the hidden features is part of its outputs"
        )
    if not type(model).__module__.startswith("transformers."):
        raise PruningError(f"what reads the hidden state is not known for {type(model).__name__}")
    kind, width = model.config.model_type, model.config.hidden_size
    if kind not in _TABLE:
        raise PruningError(f"what reads the hidden state is not known for models of type '{kind}'")
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)}
    known = {**_within_layers(found), **_within_head(model, shapes, width)}
    body = f"{model.base_model_prefix}."
    axes = []
    for name, shape in shapes.items():
        dims = known.get(name)
        if dims is None and name.startswith(body):
            dims = _within_encoder(kind, name.removeprefix(body), shape, width)
        if dims is None or any(shape[dim] != width for dim in dims):
            raise PruningError(f"whether {name} of {type(model).__name__} reads the hidden state is not known")
        axes += [(name, dim) for dim in dims]
    return axes


def _within_encoder(kind: str, name: str, shape: tuple[int, ...], width: int) -> tuple[int, ...] | None:
    for pattern, dims in _TABLE[kind]:
        if re.fullmatch(pattern, name):
            # Embeddings of another width are projected to the hidden size, or the last norm has none of its features.
            narrow = kind in ("albert", "electra") and name.startswith("embeddings.")
            return () if narrow and (kind == "albert" or shape[-1] != width) else dims
    return None


def _within_layers(found: Sequence[LayerLayout]) -> dict[str, tuple[int, ...]]:
    known: dict[str, tuple[int, ...]] = {}
    for layout in found:
        for member in (m for group in (layout.heads, layout.neurons) if group is not None for m in group.members):
            writes = member.axis == 1
            known[f"{member.layer}.weight"] = (0,) if writes else (1,)
            known[f"{member.layer}.bias"] = (0,) if writes else ()
    return known


def _within_head(model: nn.Module, shapes: dict[str, tuple[int, ...]], width: int) -> dict[str, tuple[int, ...]]:
    known: dict[str, tuple[int, ...]] = {name: () for name in _WITHOUT_FEATURES}
    roots = ("", f"{model.base_model_prefix}.")
    readers = [f"{root}{name}" for name in _READERS for root in roots if f"{root}{name}.weight" in shapes]
    if readers:
        known[f"{readers[0]}.weight"], known[f"{readers[0]}.bias"] = (1,), ()
    if "classifier.out_proj.weight" in shapes:
        known["classifier.out_proj.weight"] = known["classifier.out_proj.bias"] = ()
    if "head.norm.weight" in shapes:
        known["head.norm.weight"] = known["head.norm.bias"] = ()
    for last in _LAST:
        if f"{last}.weight" in shapes:
            known[f"{last}.weight"], known[f"{last}.bias"] = () if readers else (1,), ()
    known |= _token_head(model, shapes, width)
    return known


def _token_head(model: nn.Module, shapes: dict[str, tuple[int, ...]], width: int) -> dict[str, tuple[int, ...]]:
    """Empty for a model without one."""
    output = getattr(model, "get_output_embeddings", lambda: None)()
    for dense, norm, decoder in _TOKEN_HEADS:
        if f"{dense}.weight" in shapes and output is not None and output is dict(model.named_modules()).get(decoder):
            hidden = shapes[f"{dense}.weight"][0] == width and model.config.model_type != "albert"
            own: tuple[int, ...] = (0,) if hidden else ()
            return {
                f"{dense}.weight": (*own, 1),
                f"{dense}.bias": own,
                f"{norm}.weight": own,
                f"{norm}.bias": own,
                f"{decoder}.weight": (1,) if hidden else (),
                f"{decoder}.bias": (),
            }
    return {}
