"""What was pruned away, in a sentence: by layers and their structures, and by heads and neurons that add nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from optkit.counting.parameters import architecture
from optkit.counting.result import Layer
from optkit.counting.zeros import DENSE
from optkit.ir.tags import LayerTag
from optkit.pruning.layouts import layouts

_WORDS = {"element": "single weights", "row": "whole rows", "column": "whole columns"}


def sentence(layers: Mapping[str, Layer | LayerTag], idle: Mapping[str, tuple[int, int]]) -> str:
    """What the linear ``layers``, by parameter, say of the whole model.

    Args:
        idle: as ``idle_groups`` gives it.
    """
    pruned = [layer for layer in layers.values() if layer.structure != DENSE]
    if not pruned:
        return "the model is dense: quantizing only saves arithmetic, there are no zeros to skip"
    counts = Counter(layer.structure for layer in pruned)
    share = sum(layer.sparsity * prod(layer.shape) for layer in pruned) / sum(prod(layer.shape) for layer in pruned)
    structures = ", ".join(f"{_describe(name)} in {count}" for name, count in counts.most_common())
    words = (
        f"{len(pruned)} of {len(layers)} linear layers are pruned, {100 * share:.2f} % of their weights: {structures}"
    )
    idle_parts = [f"{zero} of {count} {what}" for what, (zero, count) in idle.items() if zero]
    return words + (f"; {' and '.join(idle_parts)} add nothing" if idle_parts else "")


def _describe(structure: str) -> str:
    if structure in _WORDS:
        return _WORDS[structure]
    return f"{structure} blocks" if "x" in structure else structure


def idle_groups(setup: Path, weights: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """How many attention heads and feed-forward neurons add nothing, of how many: all columns of the projection that
    their output goes through are zero.

    Args:
        setup: folder of the config.json that tells the architecture.
        weights: linear weights (out, in) by parameter.

    Returns:
        (idle, all) for ``attention heads`` and ``feed-forward neurons``; empty for architectures that optkit does not
        know, and where the weights do not bear the parameters' names.
    """
    try:
        found = layouts(architecture(setup))
    except Exception:  # a config may name any architecture, and each fails in its own way
        return {}
    counts: dict[str, list[int]] = {}
    for layout in found:
        parts = (("attention heads", layout.heads, "output"), ("feed-forward neurons", layout.neurons, "down"))
        for what, group, role in parts:
            member = group and group[role]
            weight = weights.get(f"{member.layer}.weight") if member else None
            if weight is None or weight.shape[1] < member.offset + group.count * member.size:
                continue
            columns = weight[:, member.offset : member.offset + group.count * member.size]
            idle = ~columns.any(axis=0).reshape(group.count, member.size).any(axis=1)
            counts.setdefault(what, [0, 0])
            counts[what][0] += int(idle.sum())
            counts[what][1] += group.count
    return {what: tuple(pair) for what, pair in counts.items()}
