from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.ir.shapes import OneShape, fix_image_size, fix_shapes, image_shape


class Echo:
    """Takes 3 x 5 inputs; gives ids by token, two numbers a token, and a sum of what the mask leaves of each input."""

    calls = 0

    def __call__(self, input_ids, attention_mask):
        self.calls += 1
        assert input_ids.shape == attention_mask.shape == (3, 5) and attention_mask.any(dim=1).all()
        by_token = torch.stack([input_ids, attention_mask], dim=2)
        total = (input_ids * attention_mask).sum(dim=1, keepdim=True)
        return SimpleNamespace(logits=total.expand(3, 5), last_hidden_state=by_token, start_logits=input_ids)


@pytest.mark.parametrize(("count", "length", "calls"), [(1, 5, 1), (3, 2, 1), (7, 4, 3)])
def test_any_number_of_inputs_is_padded_and_cut(count, length, calls):
    ids = torch.arange(1, count * length + 1).reshape(count, length)
    inner = Echo()
    found = OneShape(inner, 3, 5, {"input_ids": 9})(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert inner.calls == calls
    # Five classes for five tokens are not taken for tokens.
    assert torch.equal(found.logits, ids.sum(dim=1, keepdim=True).expand(count, 5))
    assert torch.equal(found.start_logits, ids) and torch.equal(found.last_hidden_state[..., 0], ids)
    assert found.last_hidden_state.shape == (count, length, 2)


def test_images_have_no_length_and_long_inputs_are_refused():
    images = torch.randn(3, 2, 4, 4)
    model = OneShape(lambda pixel_values: {"logits": pixel_values.mean(dim=(1, 2, 3))[:, None]}, 2, 128, {})
    assert torch.allclose(model(pixel_values=images).logits[:, 0], images.mean(dim=(1, 2, 3)))
    with pytest.raises(OptkitError, match="an input of 6 tokens for a model of 5"):
        OneShape(Echo(), 3, 5, {})(input_ids=torch.ones(1, 6), attention_mask=torch.ones(1, 6))


def test_a_model_is_made_for_one_shape(make_encoder):
    model = make_encoder()
    fix_shapes(model, 2, 16)
    assert [list(port.get_shape()) for port in model.inputs] == [[2, 16], [2, 16]]
    assert list(model.outputs[0].get_shape()) == [2, 2]
    ops = import_openvino().opset13
    ids = ops.parameter([-1, 8], np.float32)
    wrong = import_openvino().Model(
        [ops.matmul(ids, ops.constant(np.ones((8, 2), np.float32)), False, False)], [ids], "m"
    )
    with pytest.raises(OptkitError, match="^the model cannot take 2 x 16 inputs alone"):
        fix_shapes(wrong, 2, 16)


def convolution(pixels, channels, side, positions):
    """A model of images (-1, channels, side, side) in patches of 8, with so many ``positions`` or any."""
    openvino = import_openvino()
    ops = openvino.opset13
    images = ops.parameter([-1, channels, side, side], np.float32, name="pixel_values")
    kernel = ops.constant(np.ones((4, pixels, 8, 8), np.float32))
    patches = ops.convolution(images, kernel, [8, 8], [0, 0], [0, 0], [1, 1])
    tokens = ops.reshape(patches, ops.constant(np.array([0, 4, -1])), special_zero=True)
    if positions:
        tokens = ops.add(tokens, ops.constant(np.ones((1, 4, positions), np.float32)))
    images.output(0).get_tensor().set_names({"pixel_values"})
    return openvino.Model([tokens], [images], "images")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (convolution(3, -1, -1, 0), [1, 3, 224, 224]),
        (convolution(3, -1, -1, 784), [1, 3, 224, 224]),
        (convolution(3, -1, -1, 16), [1, 3, 32, 32]),
        (convolution(1, -1, -1, 16), [1, 1, 32, 32]),
        (convolution(3, 3, 40, 25), [1, 3, 40, 40]),
        (convolution(3, -1, -1, 7), [1, 3, 224, 224]),
    ],
)
def test_the_images_that_a_model_takes(model, expected):
    assert image_shape(model, model.inputs[0]) == expected
    assert model.inputs[0].get_partial_shape().rank.get_length() == 4


def test_a_model_of_images_is_made_for_one_batch():
    model = convolution(3, -1, -1, 16)
    fix_shapes(model, 2, 128)
    assert list(model.inputs[0].get_shape()) == [2, 3, 32, 32]


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ('{"size": {"height": 32, "width": 32}}', [-1, 3, 32, 32]),
        ('{"size": 32}', [-1, 3, 32, 32]),
        (
            '{"size": {"shortest_edge": 36}, "do_center_crop": true, "crop_size": {"height": 32, "width": 32}}',
            [-1, 3, 32, 32],
        ),
        ('{"size": {"shortest_edge": 32}}', [-1, -1, -1, -1]),
        ('{"size": {"height": 40, "width": 40}}', [-1, -1, -1, -1]),
        ("[]", [-1, -1, -1, -1]),
    ],
)
def test_the_image_processor_says_the_size(processor, expected, tmp_path):
    model = convolution(3, -1, -1, 16)
    (tmp_path / "config.json").write_text('{"num_channels": 3}')
    (tmp_path / "preprocessor_config.json").write_text(processor)
    fix_image_size(model, tmp_path)
    found = model.inputs[0].get_partial_shape()
    assert [size.get_length() if size.is_static else -1 for size in found] == expected
