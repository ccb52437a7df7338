"""What NNCF is fed."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.adapters import nncf
from optkit.errors import ExportError
from optkit.ir.io import import_openvino


def _model(**inputs):
    ov = import_openvino()
    ports = []
    for name, dtype in inputs.items():
        ports.append(ov.opset13.parameter([-1, -1] if dtype != np.float32 else [-1, 3, -1, -1], dtype))
        ports[-1].output(0).set_names({name, f"/a/{name}"})
    return ov.Model([ov.opset13.shape_of(port) for port in ports], ports)


def test_samples_become_batches_of_one_with_what_tokenizers_leave_out():
    model = _model(input_ids=np.int64, attention_mask=np.int64, token_type_ids=np.int32, position_ids=np.int64)
    [feed] = nncf.feeds(model, [{"input_ids": [7, 8, 9], "_row": 3}])
    expected = {"input_ids": [7, 8, 9], "attention_mask": [1] * 3, "token_type_ids": [0] * 3, "position_ids": [0, 1, 2]}
    assert {name: values.tolist() for name, values in feed.items()} == {n: [v] for n, v in expected.items()}
    assert (feed["input_ids"].dtype, feed["token_type_ids"].dtype) == (np.int64, np.int32)


def test_images_stay_floats():
    image = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    for given in (image, image.tolist()):
        [feed] = nncf.feeds(_model(pixel_values=np.float32), [{"pixel_values": given}])
        assert feed["pixel_values"].dtype == np.float32 and np.array_equal(feed["pixel_values"], image[None])


@pytest.mark.parametrize("sample", [{"text": "a"}, {"pixel_values": [[0.0]]}, {"attention_mask": [1]}])
def test_other_columns_are_told(sample):
    only = ", ".join(sample)
    with pytest.raises(
        ExportError, match=f"^calibration samples have no 'input_ids', which the model needs: only {only}"
    ):
        nncf.feeds(_model(input_ids=np.int64), [sample])


def test_ranges_hold_for_texts_of_every_length(tmp_path):
    """ConvBERT has depthwise convolutions over its tokens, which NNCF would give a range for each token."""
    import torch
    import transformers

    from optkit.export import conversion
    from optkit.ir.io import read_model
    from optkit.quantization.config import Quantization

    config = transformers.ConvBertConfig(
        vocab_size=60,
        hidden_size=32,
        embedding_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=40,
        conv_kernel_size=3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.ConvBertForSequenceClassification(config).save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")
    model = read_model(tmp_path / "ir")
    core, exact = import_openvino().Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    reference = core.compile_model(model, "CPU", exact)
    for lengths in ((20, 31, 12), (20, 20, 20)):
        samples = [{"input_ids": [5 + (i + length) % 50 for i in range(length)]} for length in lengths]
        made = core.compile_model(nncf.quantize_int8(model, samples, quantization=Quantization()), "CPU", exact)
        for batch, length in ((1, 7), (3, 20), (2, 40)):
            ids = np.arange(batch * length).reshape(batch, length) % 50 + 5
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            assert np.abs(made(feed)[0] - reference(feed)[0]).max() < 0.1


def test_ranges_of_one_length_are_refused():
    ov = import_openvino()
    ops = ov.opset13
    tokens = ops.parameter([-1, -1, 4], np.float32)
    low, high = ops.constant(np.zeros((1, 5, 1), np.float32)), ops.constant(np.ones((1, 5, 1), np.float32))
    model = ov.Model([ops.fake_quantize(tokens, low, high, low, high, 256)], [tokens])
    with pytest.raises(ExportError, match="a range for each token"):
        nncf._check_ranges(model)
