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
