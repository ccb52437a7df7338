"""Small images of drawn shapes: seeded, made with numpy alone, the same on every machine.

``shapes`` draws one shape among noise: a disc, a ring, a square, a cross or a triangle, in any light colour, of any
size and at any place, on a ground of any dark one. So neither a colour nor a pixel tells which; a model has to see how
they lie together.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

from optkit.data.generators.base import Generator

if TYPE_CHECKING:
    import numpy as np

SIDE = 24
NAMES = ("disc", "ring", "square", "cross", "triangle")
_SIZES = (5.0, 8.0)
_NOISE = 20.0
_GROUNDS, _COLOURS = (0.0, 100.0), (130.0, 255.0)


def _inside(name: str, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Which places (height, width) are a shape's own: x (1, width) and y (height, 1) from its middle, its radius."""
    import numpy as np

    if name == "disc":
        return x**2 + y**2 <= size**2
    if name == "ring":
        return (x**2 + y**2 <= size**2) & (x**2 + y**2 >= (0.55 * size) ** 2)
    if name == "square":
        return np.maximum(abs(x), abs(y)) <= 0.85 * size
    if name == "cross":
        return (np.minimum(abs(x), abs(y)) <= 0.3 * size) & (np.maximum(abs(x), abs(y)) <= size)
    return (y <= 0.8 * size) & (abs(x) <= 0.55 * (y + size))


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    import numpy as np  # here, since the list of generators answers without it

    label = index % len(NAMES)
    down, across = np.ogrid[:SIDE, :SIDE]
    draw = np.random.default_rng(rng.getrandbits(64))
    size = draw.uniform(*_SIZES)
    middle = draw.uniform(size, SIDE - 1 - size, 2)
    ground, colour = draw.uniform(*_GROUNDS, 3), draw.uniform(*_COLOURS, 3)
    y, x = down - middle[0], across - middle[1]
    image = np.where(_inside(NAMES[label], x, y, size)[:, :, None], colour, ground)
    image = np.clip(image + draw.normal(0, _NOISE, image.shape), 0, 255).astype(np.uint8)
    # The plainest of image files: a line that says how large it is, then the pixels.
    return {"image": {"bytes": b"P6 %d %d 255\n" % (SIDE, SIDE) + image.tobytes(), "path": None}, "label": label}


def _features() -> Any:
    from datasets import ClassLabel, Features, Image

    return Features({"image": Image(), "label": ClassLabel(names=list(NAMES))})


def _key(example: dict[str, Any]) -> str:
    return hashlib.sha256(example["image"]["bytes"]).hexdigest()


SHAPES = Generator(
    "Seeded small images, each of one drawn shape among noise.",
    _features,
    _example,
    _key,
)
