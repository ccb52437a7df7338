"""Models whose scores have a bias by position, or a mask of windows: what becomes one program, and that it computes what
the IR says.
"""

from __future__ import annotations

import numpy as np
import pytest
from architectures import random_parameters
from rewritten import BLOCK4, difference, kernels_of, quantized, rewrite_here, types

from optkit.ir.io import read_model
from optkit.runtime.program import Attention

pytestmark = pytest.mark.slow

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_IMAGES = {"image_size": 32, "patch_size": 8}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_SWIN = {**_IMAGES, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
#: transformers' class, configuration, task, and the layers of each program of the encoder: of Swin, for each of two
#: stages, attention and feed-forward of a block by turns, since windows are put together and apart between them, and
#: the layer that merges patches or, in the end, classifies.
MODELS = {
    "t5": ("T5EncoderModel", _T5, "feature-extraction", [12]),
    "beit": (
        "BeitForImageClassification",
        {**_SMALL, **_IMAGES, "use_relative_position_bias": True},
        "image-classification",
        [12, 1],
    ),
    "siglip": ("SiglipVisionModel", {**_SMALL, **_IMAGES}, "feature-extraction", [12]),
    "swinv2": ("Swinv2ForImageClassification", _SWIN, "image-classification", [4, 2, 4, 2, 1] * 2),
    "swin": ("SwinForImageClassification", _SWIN, "image-classification", [4, 2, 4, 2, 1] * 2),
}


def feeds(model) -> list[dict[str, np.ndarray]]:
    """Images, or texts of different lengths padded right and left."""
    rng = np.random.default_rng(0)
    names = {name for port in model.inputs for name in port.get_names()}
    if "pixel_values" in names:
        return [{"pixel_values": rng.normal(size=(count, 3, 32, 32)).astype(np.float32)} for count in (1, 3)]
    tokens, lengths = rng.integers(2, 60, (3, 35)), np.array([[35], [20], [7]])
    masks = [np.arange(35) < lengths, np.arange(35) >= 35 - lengths]
    return [{"input_ids": tokens, "attention_mask": mask.astype(np.int64)} for mask in masks]


@pytest.mark.parametrize("name", MODELS)
def test_attention_with_a_bias_is_fused(tmp_path, name):
    import transformers

    from optkit.export import conversion

    class_name, config, task, layers = MODELS[name]
    model_class = getattr(transformers, class_name)
    model = random_parameters(lambda: model_class(model_class.config_class(**config)))
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "fp32").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "fp32", task=task)
    folder = quantized(tmp_path / "fp32", tmp_path / "int8")
    original, rewritten = (read_model(folder) for _ in range(2))
    result = rewrite_here(rewritten, kernels_of(rewritten, BLOCK4))
    assert [len(placed.layers) for placed in result.programs] == layers
    assert result.notes == {} and result.left_out == {}
    assert not {"Softmax", "ScaledDotProductAttention"} & set(types(rewritten))
    # Two ways to compute may round an activation to neighbouring levels, 1/255 apart.
    assert difference(original, rewritten, *feeds(original)) < 0.04


@pytest.mark.parametrize("reach", [4, 20])
def test_keys_near_a_query_are_a_window_at_any_length(tmp_path, reach):
    """Of ModernBERT, which counts queries along the ids and keys along the mask."""
    import transformers

    from optkit.export import conversion

    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = {**_SMALL, **ends, "vocab_size": 64, "num_hidden_layers": 4, "local_attention": 2 * reach}
    model_class = transformers.ModernBertForSequenceClassification
    random_parameters(lambda: model_class(model_class.config_class(**config))).save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "fp32").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "fp32", task="text-classification")
    folder = quantized(tmp_path / "fp32", tmp_path / "int8")
    original, rewritten = (read_model(folder) for _ in range(2))
    result = rewrite_here(rewritten, kernels_of(rewritten, BLOCK4))
    steps = [step for placed in result.programs for step in placed.program.steps if isinstance(step, Attention)]
    assert [(step.before, step.behind) for step in steps] == [(None, None), (reach,) * 2, (reach,) * 2, (None, None)]
    # The logits are the first token's, which is no padding where texts are padded at the end.
    assert difference(original, rewritten, feeds(original)[0]) < 0.04
