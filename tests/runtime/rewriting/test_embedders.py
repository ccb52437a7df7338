"""Encoders with rotary embeddings, gated products, RMSNorm, windows, shared keys: each is one program, and computes what
the IR says on sequences of different lengths, padded at their end or at their beginning.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from architectures import SMALL, random_parameters
from rewritten import BLOCK4, apart, expected, kernels_of, quantized, rewrite_here, run, types

from optkit.ir.io import read_model

pytestmark = pytest.mark.slow

_SMALL = {**SMALL, "pad_token_id": 0}
_SHARED = {**_SMALL, "num_key_value_heads": 2, "head_dim": 16}
_WINDOWS = {"local_attention": 8, "global_attn_every_n_layers": 2, "bos_token_id": 1, "eos_token_id": 2}
_WINDOWS |= {"cls_token_id": 1, "sep_token_id": 2}
_ESM = {"position_embedding_type": "rotary", "mask_token_id": 3, "token_dropout": True}
_GEMMA = {"sliding_window": 8, "use_bidirectional_attention": True, "query_pre_attn_scalar": 16}
#: transformers' class, configuration, and steps of both layers that are not in every model.
MODELS = {
    "modernbert": ("ModernBertModel", {**_SMALL, **_WINDOWS}, {"Rotary": 4, "Multiply": 2, "LayerNorm": 5}),
    "qwen3": ("Qwen3Model", _SHARED, {"Rotary": 4, "Multiply": 2, "RMSNorm": 9}),
    "esm": ("EsmModel", {**_SMALL, **_ESM}, {"Rotary": 4, "LayerNorm": 5}),
    "roformer": ("RoFormerModel", {**_SMALL, "embedding_size": 32}, {"Rotary": 4, "LayerNorm": 5}),
    "gemma3": ("Gemma3TextModel", {**_SHARED, **_GEMMA, "num_key_value_heads": 1}, {"Rotary": 4, "RMSNorm": 13}),
}
BATCH, LENGTH = 3, 37


@pytest.fixture(scope="module")
def ir(tmp_path_factory):
    """Returns the folder of the int8 IR of a model of random parameters."""

    def get(name: str):
        import transformers

        from optkit.export import conversion

        folder = tmp_path_factory.mktemp(name)
        class_name, config, _ = MODELS[name]
        model_class = getattr(transformers, class_name)
        model = random_parameters(lambda: model_class(model_class.config_class(**config)))
        model.save_pretrained(folder / "checkpoint")
        (folder / "fp32").mkdir()
        conversion.convert(folder / "checkpoint", folder / "fp32", task="feature-extraction")
        return quantized(folder / "fp32", folder / "int8")

    return get


def feeds(model) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray]]:
    """Sequences of different lengths, padded right and left, and which tokens are no padding."""
    rng, places = np.random.default_rng(0), np.arange(LENGTH)
    lengths = LENGTH - np.arange(BATCH)[:, None] * (LENGTH // BATCH)
    tokens, masks = rng.integers(4, 60, (BATCH, LENGTH)), [places < lengths, places >= LENGTH - lengths]
    names = {name for port in model.inputs for name in port.get_names()}
    found = []
    for mask in masks:
        feed = {"input_ids": tokens, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(tokens)}
        found.append({name: feed[name] for name in names & feed.keys()})
    return found, masks


@pytest.mark.parametrize("name", MODELS)
def test_is_one_program_that_computes_the_same(ir, name):
    folder = ir(name)
    original, model = (read_model(folder) for _ in range(2))
    # The angles of ESM's rotary embeddings are a product with a constant, too.
    kernels = kernels_of(model, BLOCK4, but=("pooler", "rotary"))
    result = rewrite_here(model, kernels)
    assert [len(placed.layers) for placed in result.programs] == [len(kernels)]
    assert result.notes == {} and result.left_out == {}
    counts = Counter(type(step).__name__ for step in result.programs[0].program.steps)
    wanted = {"Attention": 2, "FakeQuantize": 4, **MODELS[name][2]}
    assert {kind: counts[kind] for kind in wanted} == wanted
    assert not {"Softmax", "ScaledDotProductAttention", "MVN"} & set(types(model))

    inputs, masks = feeds(original)
    for want, got, mask in zip(expected(original, *inputs), run(model, *inputs), masks):
        want, got = ([output[mask] for output in outputs if output.ndim == 3] for outputs in (want, got))
        assert want
        # Two ways to compute may round an activation to neighbouring levels, 1/255 apart.
        assert apart([want], [got]) < 0.04
