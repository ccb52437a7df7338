"""How many tokens a model takes, held against the model itself: it runs on so many, and not on one more."""

from __future__ import annotations

import pytest

from optkit import models

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL = {**SIZES, "vocab_size": 40, "max_position_embeddings": 24}
BART = {
    "d_model": 16,
    **{
        f"{part}_{what}": number for part in ("encoder", "decoder") for what, number in (("layers", 1), ("ffn_dim", 16))
    },
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
}


@pytest.mark.parametrize(
    ("kind", "more", "length"),
    [
        ("bert", {}, 24),
        ("albert", {"embedding_size": 8}, 24),
        ("distilbert", {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}, 24),
        ("roberta", {"pad_token_id": 0}, 23),
        ("roberta", {"pad_token_id": 1}, 22),
        ("xlm-roberta", {"pad_token_id": 5}, 18),
        ("xlm-roberta-xl", {"pad_token_id": 1}, 22),
        ("roberta-prelayernorm", {"pad_token_id": 1}, 22),
        ("mpnet", {"pad_token_id": 0}, 22),  # 2, whatever its padding id
        ("data2vec-text", {"pad_token_id": 1}, 22),
        ("esm", {"pad_token_id": 3, "position_embedding_type": "absolute", "mask_token_id": 5}, 20),
        ("ibert", {"pad_token_id": 1}, 22),
        ("xmod", {"pad_token_id": 1, "languages": ["en_XX"], "default_language": "en_XX"}, 22),
        ("luke", {"pad_token_id": 1, "entity_vocab_size": 4, "entity_emb_size": 8}, 22),
        ("roformer", {}, 24),
        ("xlm", {"emb_dim": 16, "n_layers": 1, "n_heads": 2}, 24),
        ("canine", {}, 24),
        ("bart", BART, 24),
        ("gpt2", {"n_positions": 24, "n_embd": 16, "n_layer": 1, "n_head": 2}, 24),
    ],
)
def test_the_longest_input_is_the_longest_that_runs(kind, more, length):
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(kind, **({"vocab_size": 40} if kind == "gpt2" else SMALL) | more)
    assert models.longest_input(config) == length
    model = AutoModel.from_config(config).eval()

    def run(tokens: int) -> None:
        ids = torch.full((1, tokens), 7)
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))

    run(length)
    with pytest.raises((IndexError, RuntimeError)):
        run(length + 1)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("deberta-v2", {"position_biased_input": False, "relative_attention": True}),
        ("esm", {"position_embedding_type": "rotary", "pad_token_id": 1}),
        ("modernbert", {"pad_token_id": 0, "num_hidden_layers": 2}),
    ],
)
def test_relative_and_rotary_positions_have_no_limit(kind, more):
    from transformers import AutoConfig

    assert models.longest_input(AutoConfig.for_model(kind, **SMALL | more)) is None


def test_images_and_xlnet_have_no_limit():
    from transformers import AutoConfig

    assert models.longest_input(AutoConfig.for_model("vit", **SIZES)) is None
    assert models.longest_input(AutoConfig.for_model("xlnet", d_model=16, n_layer=1, n_head=2, d_inner=16)) is None


def test_a_configuration_whose_code_is_elsewhere_is_taken_by_its_word():
    from transformers import PretrainedConfig

    class Foreign(PretrainedConfig):
        model_type = "foreign"

    assert models.longest_input(Foreign(vocab_size=40, max_position_embeddings=30)) == 30
    assert models.longest_input(Foreign(vocab_size=40)) is None
