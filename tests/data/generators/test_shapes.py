from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from optkit.data.generators.shapes import NAMES, SHAPES, SIDE
from optkit.data.images import open_image, pixels


def test_the_same_seed_draws_the_same_images_everywhere():
    found = SHAPES("train", 5, 0)
    drawn = b"".join(image["bytes"] for image in found["image"])
    assert hashlib.sha256(drawn).hexdigest()[:16] == "4adcf45ccfee95d8"
    assert found["label"] == [0, 1, 2, 3, 4]


def test_images_are_files_of_one_size_with_a_light_shape_on_a_dark_ground():
    found = SHAPES("validation", 50, 1)
    assert Counter(found["label"]) == dict.fromkeys(range(len(NAMES)), 10)
    for cell, label in zip(found["image"], found["label"], strict=True):
        image = pixels(open_image(cell), 3)
        assert image.shape == (SIDE, SIDE, 3)
        light = image.mean(-1) > 115
        assert 0.05 < light.mean() < 0.6
        if NAMES[label] == "ring":
            down, across = (np.argwhere(light).min(0) + np.argwhere(light).max(0)) // 2
            assert not light[down, across]
