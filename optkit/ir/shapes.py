"""Models of one shape: some runtimes and accelerators take no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError
from optkit.ir.io import last_line
from optkit.json_files import read_json

if TYPE_CHECKING:
    import openvino
    from torch import Tensor

#: Sides of images that a model which leaves them open may have been made for, the usual one first.
_SIDES = (224, 384, 256, 448, 512, 192, 160, 128, 112, 96, 64, 48, 32, 28, 24, 16)
#: Outputs with a number for each token in two dimensions, which others have for each class.
_BY_TOKEN = ("start_logits", "end_logits")


def fix_shapes(model: openvino.Model, batch: int, seq: int) -> None:
    """Makes ``model`` one for ``batch`` inputs of ``seq`` tokens, or for ``batch`` images of the size that it takes.

    Raises:
        OptkitError: if an operation of the model cannot have that shape.
    """
    shapes: dict[Any, Any] = {}
    for port in model.inputs:
        shape = port.get_partial_shape()
        if shape.rank.get_length() == 4:
            shape = image_shape(model, port)
        shape[0] = batch
        if len(shape) == 2:
            shape[1] = seq
        shapes[port] = shape
    try:
        model.reshape(shapes)
    except RuntimeError as error:
        raise OptkitError(f"the model cannot take {batch} x {seq} inputs alone: {last_line(error)}") from error


def said_image_size(setup: Path) -> tuple[int, int, int] | None:
    """(channels, height, width) of the images that the image processor in ``setup`` makes; None where there is none, or
    it makes images of several sizes.
    """
    try:
        settings = read_json(setup / "preprocessor_config.json")
        channels = read_json(setup / "config.json").get("num_channels", 3)
        size = settings["crop_size" if settings.get("do_center_crop") else "size"]
        height, width = (size, size) if isinstance(size, int) else (size["height"], size["width"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sizes = (channels, height, width)
    return sizes if all(type(number) is int and number > 0 for number in sizes) else None


def fix_image_size(model: openvino.Model, setup: Path) -> None:
    """Makes ``model`` one for images of the size that the image processor in ``setup`` makes, if there is one and it
    makes but one; so the model itself says which.
    """
    sizes = said_image_size(setup)
    if sizes is None:
        return
    shapes = {port: port.get_partial_shape() for port in model.inputs}
    images = [port for port, shape in shapes.items() if shape.rank.get_length() == 4 and shape.is_dynamic]
    with contextlib.suppress(RuntimeError):  # it takes no such images, and does not get better by being told
        model.reshape({port: [-1, *sizes] for port in images})


def image_shape(model: openvino.Model, port: openvino.Output) -> list[int]:
    """The shape (1, channels, height, width) of a model's input of images. What it leaves open is square, in colour or
    else grey, and of the first usual size at which the model's operations fit together; of the most usual one where
    they fit at none.
    """
    partial, place = port.get_partial_shape(), [each.node for each in model.inputs].index(port.node)

    def shape(channels: int, side: int) -> list[int]:
        own = [size.get_length() if size.is_static else use for size, use in zip(partial, (1, channels, side, side))]
        return [1, *own[1:]]

    shapes = [shape(channels, side) for channels in (3, 1) for side in _SIDES]
    for wanted in shapes if partial.is_dynamic else ():
        tried = model.clone()
        try:
            tried.reshape({tried.inputs[place]: wanted})
        except RuntimeError:
            continue
        return wanted
    return shapes[0]


class OneShape:
    """A model of one shape called with any number of inputs up to its length: they are padded, and outputs cut.

    Args:
        model: called with torch tensors by name, returns torch tensors by name.
        batch, seq: what it takes.
        padding: what inputs are filled up with, by name; 0 where nothing is said.
    """

    def __init__(self, model: Callable[..., Any], batch: int, seq: int, padding: Mapping[str, int]):
        self._model, self._batch, self._seq, self._padding = model, batch, seq, padding

    def __call__(self, **inputs: Tensor) -> SimpleNamespace:
        """The outputs by name, (inputs, ...).

        Raises:
            OptkitError: if an input is longer than the model takes.
        """
        import torch

        count = len(next(iter(inputs.values())))
        length = max((tensor.shape[1] for tensor in inputs.values() if tensor.ndim == 2), default=0)
        if length > self._seq:
            raise OptkitError(f"an input of {length} tokens for a model of {self._seq}: cut it, or export with more")
        given = {name: self._pad(name, tensor, count) for name, tensor in inputs.items()}
        parts: dict[str, list[Tensor]] = {}
        for start in range(0, count, self._batch):
            found = self._model(**{name: tensor[start : start + self._batch] for name, tensor in given.items()})
            for name, tensor in (vars(found) if isinstance(found, SimpleNamespace) else found).items():
                parts.setdefault(name, []).append(torch.as_tensor(tensor))
        whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
        return SimpleNamespace(**{name: self._cut(name, tensor, count, length) for name, tensor in whole.items()})

    def _pad(self, name: str, tensor: Tensor, count: int) -> Tensor:
        from torch.nn.functional import pad

        if tensor.ndim == 2:
            tensor = pad(tensor, (0, self._seq - tensor.shape[1]), value=self._padding.get(name, 0))
        # The last input again: one that is padding alone has no attention to anything.
        return tensor[[min(row, count - 1) for row in range(-(-count // self._batch) * self._batch)]]

    def _cut(self, name: str, tensor: Tensor, count: int, length: int) -> Tensor:
        by_token = (tensor.ndim > 2 or name in _BY_TOKEN) and length and tensor.shape[1] == self._seq
        return tensor[:count, :length] if by_token else tensor[:count]
