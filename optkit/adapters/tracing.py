"""transformers: models made ready to be traced once, for inputs of every size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, bidirectional_mask_function

from optkit.errors import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The lowest number that a mask holds: below it float16 and, for the lowest of float32, bfloat16 have -inf, and where
#: all keys of a query are masked that becomes NaN.
LOWEST = -65504.0


@contextlib.contextmanager
def traceable(model: PreTrainedModel, names: Sequence[str], outputs: Sequence[str]) -> Iterator[None]:
    """Within, ``model`` takes tensors in the order of ``names``, returns the tuple of ``outputs``, and what it computes
    depends on the sizes of its inputs in no way that a trace misses.

    Its attention is the eager one from here on.

    Raises:
        ExportError: if it is known not to be traceable.
    """
    with readable(model, names, outputs), _attributes(Tensor, as_strided=_windows):
        yield


@contextlib.contextmanager
def readable(model: PreTrainedModel, names: Sequence[str], outputs: Sequence[str]) -> Iterator[None]:
    """``traceable`` for inputs of one size: within, only what is no plain computation is changed.

    Raises:
        ExportError: if it is known not to be traceable.
    """
    _set_eager(model)
    with _positional(model, names, outputs), _masks(), _attributes(DynamicLayer, update=_without_past):
        with _attributes(DynamicSlidingWindowLayer, update=_without_past):
            yield


def _set_eager(model: PreTrainedModel) -> None:
    """Only in the plain attention NNCF and the sparse runtime find the products, and its masks are finite."""
    if getattr(model.config, "attention_type", None) == "block_sparse":
        # BigBird turns to full attention for good with the first short input.
        raise ExportError("its block-sparse attention cannot be traced, set attention_type to original_full")
    model.set_attn_implementation("eager")
    model.config._attn_implementation = "eager"  # ModernBERT's class keeps it from being set


@contextlib.contextmanager
def _positional(model: PreTrainedModel, names: Sequence[str], outputs: Sequence[str]) -> Iterator[None]:
    """``model`` with a ``forward`` that takes its inputs in the order of ``names`` and returns a tuple, as a trace
    does.
    """
    whole = model.forward

    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        found = whole(**dict(zip(names, inputs, strict=True)))
        missing = [name for name in outputs if name not in found]
        if missing:
            raise ExportError(f"it has no {missing[0]} among its outputs: {', '.join(found)}")
        return tuple(found[name] for name in outputs)

    forward.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    model.forward = forward
    try:
        yield
    finally:
        del model.forward


@contextlib.contextmanager
def _masks() -> Iterator[None]:
    """transformers' masks for eager attention, made by ``_mask``: its own take a length that is traced for positions,
    and look into the mask.
    """
    ALL_MASK_ATTENTION_FUNCTIONS["eager"] = _mask
    try:
        yield
    finally:
        del ALL_MASK_ATTENTION_FUNCTIONS["eager"]


def _mask(
    batch_size: int,
    q_length: Any = None,
    kv_length: Any = None,
    q_offset: Any = 0,
    kv_offset: Any = 0,
    mask_function: Any = None,
    attention_mask: Tensor | None = None,
    cache_position: Tensor | None = None,
    **_: Any,
) -> Tensor | None:
    """What is added to the scores (batch, heads, queries, keys), with sizes of 1 where all are alike.

    Before transformers 5.4 positions of the queries came in the place of their number.
    """
    seen = None if attention_mask is None else attention_mask[:, None, None, :].bool()
    if mask_function is not bidirectional_mask_function:
        positions = q_length if cache_position is None else cache_position
        if not isinstance(positions, torch.Tensor) or positions.ndim == 0:
            positions = torch.arange(positions) + q_offset
        keys, zero = torch.arange(kv_length) + kv_offset, torch.zeros(1, 1, 1, 1, dtype=torch.long)
        visible = mask_function(zero, zero, positions[None, None, :, None], keys[None, None, None, :])
        seen = visible if seen is None else visible & seen
    return None if seen is None else torch.where(seen, 0.0, LOWEST)


@contextlib.contextmanager
def _attributes(owner: type, **functions: Callable[..., Any]) -> Iterator[None]:
    """``owner`` with these methods in place of its own."""
    own = {name: vars(owner)[name] for name in functions if name in vars(owner)}
    for name, function in functions.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for name in functions:
            if name in own:
                setattr(owner, name, own[name])
            else:
                delattr(owner, name)


def _without_past(layer: Any, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """``DynamicLayer.update`` in the only pass over an input: nothing came before."""
    return keys, values


def _windows(tensor: Tensor, size: Sequence[Any], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """``Tensor.as_strided`` where it makes overlapping windows (batch, windows, length, features) of a sequence, as
    Longformer does, by operations that do not depend on strides: a trace takes those for constants.
    """
    own = tensor.stride()
    step, length = stride[1] // stride[2], int(size[2])
    along = (own[0], own[-2], own[-1]) == (stride[0], *stride[2:])
    if storage_offset is not None or len(size) != 4 or length % step or not along:
        raise ExportError("it views its memory in a way that cannot be traced (as_strided)")
    pieces = tensor.reshape(tensor.shape[0], -1, step, tensor.shape[-1])
    shifts, count = length // step, pieces.shape[1]
    return torch.cat([pieces[:, shift : count - shifts + 1 + shift] for shift in range(shifts)], dim=2)
