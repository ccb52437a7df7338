"""The architectures of docs/models.md: for each model type a small configuration."""

from __future__ import annotations

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A row of the table.

    Args:
        config: of a model of two layers, given to ``AutoConfig.for_model``.
        auto_class: transformers' class of the model.
        note: what the row is about beside the type.
    """

    config: dict[str, Any]
    auto_class: str = "AutoModel"
    note: str = ""


_SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_SHARED = {**_SMALL, "num_key_value_heads": 1, "head_dim": 16}
_XLM = {"vocab_size": 64, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_token_id": 0}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
_RELATIVE = {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0}
_DEBERTA = {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
_WINDOWS = {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2}
_BART = {"vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
_BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
_GEMMA = {**_SHARED, "sliding_window": 8, "use_bidirectional_attention": True, "query_pre_attn_scalar": 16}

TEXTS: dict[str, Kind] = {
    "bert": Kind(_SMALL),
    "distilbert": Kind(
        {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}
    ),
    "roberta": Kind(_SMALL),
    "xlm-roberta": Kind(_SMALL),
    "camembert": Kind(_SMALL),
    "electra": Kind({**_SMALL, "embedding_size": 16}),
    "albert": Kind({**_SMALL, "embedding_size": 16}),
    "mpnet": Kind(_SMALL),
    "deberta": Kind(
        {**_SMALL, "relative_attention": True, "max_relative_positions": 16, "pos_att_type": ["c2p", "p2c"]}
    ),
    "deberta-v2": Kind({**_SMALL, **_RELATIVE, **_DEBERTA, "share_att_key": True}, note="v2 and v3"),
    "modernbert": Kind({**_SMALL, **_WINDOWS}, note="ModernBERT and mmBERT"),
    "rembert": Kind({**_SMALL, "input_embedding_size": 16, "output_embedding_size": 16}),
    "roformer": Kind({**_SMALL, "embedding_size": 32}),
    "esm": Kind({**_SMALL, "position_embedding_type": "rotary", "mask_token_id": 3, "token_dropout": True}),
    "nomic_bert": Kind(_SMALL),
    "ernie": Kind(_SMALL),
    "megatron-bert": Kind(_SMALL),
    "data2vec-text": Kind({**_SMALL, "type_vocab_size": 1}),
    "roberta-prelayernorm": Kind({**_SMALL, "type_vocab_size": 1}),
    "xlm-roberta-xl": Kind(_SMALL),
    "xmod": Kind({**_SMALL, "languages": ["en_XX"], "default_language": "en_XX"}),
    "ibert": Kind(_SMALL),
    "xlm": Kind(_XLM),
    "flaubert": Kind(_XLM),
    "xlnet": Kind({"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": 0}),
    "mobilebert": Kind({**_SMALL, "embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32}),
    "squeezebert": Kind({**_SMALL, "embedding_size": 32}),
    "convbert": Kind({**_SMALL, "embedding_size": 32, "conv_kernel_size": 3}),
    "fnet": Kind(_SMALL),
    "funnel": Kind(
        {"vocab_size": 64, "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64, "block_sizes": [1, 1]},
        "FunnelModel",
    ),
    "nystromformer": Kind({**_SMALL, "num_landmarks": 8}),
    "longformer": Kind({**_SMALL, "attention_window": 8}),
    "big_bird": Kind({**_SMALL, "attention_type": "original_full"}, note="full attention"),
    "qwen3": Kind(_SHARED, note="embedders and rerankers"),
    "qwen2": Kind({**_SMALL, "num_key_value_heads": 1}),
    "llama": Kind({**_SMALL, "num_key_value_heads": 1}),
    "mistral": Kind({**_SHARED, "sliding_window": 8}),
    "gemma3_text": Kind(_GEMMA, note="EmbeddingGemma"),
    "t5": Kind(_T5, note="encoder"),
    "umt5": Kind(_T5, note="encoder"),
    "bart": Kind({**_BART, "pad_token_id": 0}, note="encoder"),
    "mbart": Kind({**_BART, "pad_token_id": 0}, note="encoder"),
    "pegasus": Kind({**_BART, "pad_token_id": 0}, note="encoder"),
    "marian": Kind({**_BART, "pad_token_id": 0, "decoder_start_token_id": 0}, note="encoder"),
}

_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}

IMAGES: dict[str, Kind] = {
    # DeiT's automatic class is one of two.
    name: Kind(config, "DeiTForImageClassification" if name == "deit" else "AutoModelForImageClassification", note)
    for name, config, note in (
        ("vit", _VIT, ""),
        ("deit", _VIT, ""),
        ("beit", _VIT, ""),
        ("data2vec-vision", _VIT, ""),
        ("dinov2", _VIT, ""),
        ("siglip", {"vision_config": _VIT, "text_config": _SMALL}, "tower of images"),
        ("clip", {"vision_config": _VIT, "text_config": _SMALL}, "tower of images"),
        ("swin", _SWIN, ""),
        ("swinv2", _SWIN, ""),
        (
            "segformer",
            {
                "num_encoder_blocks": 2,
                "depths": [1, 1],
                "sr_ratios": [2, 1],
                "hidden_sizes": [16, 32],
                "num_attention_heads": [1, 2],
                "patch_sizes": [7, 3],
                "strides": [4, 2],
                "mlp_ratios": [2, 2],
                "decoder_hidden_size": 32,
                "image_size": 32,
            },
            "",
        ),
        ("convnext", _STAGES, ""),
        ("resnet", {**_STAGES, "embedding_size": 16}, ""),
    )
}
