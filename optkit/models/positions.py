"""How many tokens a model takes at once: what its tables of positions allow.

Tables differ in what they keep free at their start (RoBERTa's begin behind the padding id, MPNet's behind 2, BART's
behind 2 rows of its own), and some models have none. So the model is asked: it runs on a few tokens, without weights,
and each table is watched. A table whose highest row grows by one with each token is one of positions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import CONFIG_MAPPING, AutoModel

from optkit.adapters import quiet
from optkit.adapters.accelerate import without_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Tokens of the two inputs: few, and enough for models that shorten their input by pooling.
_LENGTHS = (12, 16)
_found: dict[str, int | None] = {}


def longest_input(config: PretrainedConfig) -> int | None:
    """How many tokens the model of ``config`` has positions for; None where it has no such limit.

    Cached for each configuration; the first call imports torch and costs a fraction of a second.
    """
    if not isinstance(getattr(config, "vocab_size", None), int):
        return None
    key = json.dumps(config.to_dict(), sort_keys=True, default=str)
    if key not in _found:
        _found[key] = _measure(config)
    return _found[key]


def stored_longest_input(config: Mapping[str, Any]) -> int | None:
    """The same from a config.json, whose ``max_position_embeddings`` counts where transformers knows no such type."""
    kind = config.get("model_type")
    if kind in CONFIG_MAPPING:
        with suppress(Exception):  # each architecture refuses in its own way what it cannot be
            return longest_input(CONFIG_MAPPING[kind].from_dict(dict(config)))
    positions = config.get("max_position_embeddings")
    return positions if isinstance(positions, int) and positions > 0 else None


def _measure(config: PretrainedConfig) -> int | None:
    limit = getattr(config, "max_position_embeddings", None)
    limit = limit if isinstance(limit, int) and limit > 0 else None
    try:
        with quiet(), without_weights():
            model = AutoModel.from_config(config, trust_remote_code=False).eval()
    except Exception:  # each architecture fails in its own way; loading it will say how
        return limit
    with quiet():
        # Padding has no position.
        token = config.vocab_size - (2 if getattr(config, "pad_token_id", None) == config.vocab_size - 1 else 1)
        short, long = (_highest_rows(model, token, length) for length in _LENGTHS)
    if not long:
        return limit
    limits = [
        rows - (high - _LENGTHS[1] + 1)
        for table, (rows, high) in long.items()
        if high - short.get(table, (0, high))[1] == _LENGTHS[1] - _LENGTHS[0]
    ]
    # CANINE's table is larger than the list of its positions.
    return min([*limits, *([limit] if limit else [])]) if limits else None


def _highest_rows(model: Any, token: int, length: int) -> dict[int, tuple[int, int]]:
    """For each table that ``model`` looks up on ``length`` times the same token: its rows, and the highest it took."""
    found: dict[int, tuple[int, int]] = {}

    class Watch(TorchFunctionMode):
        """Indices are real numbers and everything else has a shape alone."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.nn.functional.embedding:
                ids, table = (*args, kwargs.get("input"), kwargs.get("weight"))[:2] if args else kwargs.values()
                if ids.device.type != "meta" and ids.numel():
                    _, before = found.get(id(table), (0, -1))
                    found[id(table)] = (table.shape[0], max(before, int(ids.max())))
                return torch.empty((*ids.shape, table.shape[1]), device="meta", dtype=table.dtype)
            if func is torch.Tensor.__bool__ and args[0].device.type == "meta":
                return True  # whether nothing is padding
            if func is torch.arange:
                kwargs["device"] = "cpu"
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            if len({tensor.device.type for tensor in tensors}) > 1:
                args, kwargs = tree_map(lambda x: x.to("meta") if isinstance(x, torch.Tensor) else x, (args, kwargs))
            return func(*args, **kwargs)

    try:
        with torch.no_grad(), Watch():
            model(input_ids=torch.full((1, length), token))
    except Exception:  # numbers that are not there were asked for, after the tables at the beginning
        pass
    return found
