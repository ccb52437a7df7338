"""Which weights are those of the encoder's layers, told by names alone, so that models, checkpoints and graphs agree.

An encoder's layers stand in numbered lists: ``bert.encoder.layer.0.attention.self.query``. An architecture may have one
list, several beside each other (an attention and a feed-forward list), or lists within lists (blocks within stages).
All of them count. Lists of a decoder beside an encoder, of a task's head and of embeddings do not, and neither do
projections of relative positions: their inputs are the same for every example, so that an exported graph holds what
they give as a constant, and no layer to be faster or smaller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

#: Words of a list's name that say it is no encoder's.
_BESIDE = frozenset(
    "classifier classifiers classification cls embed embedding embeddings embedder head heads neck pooler poolers "
    "predictions predictor predictors qa score scores".split()
)
_DECODER = frozenset(("decoder", "decoders", "decode"))
#: Modules that project relative positions, of DeBERTa v2 and v1, and of Swin v2.
_POSITIONS = frozenset(("pos_key_proj", "pos_query_proj", "pos_proj", "pos_q_proj", "continuous_position_bias_mlp"))
#: Layers that a line names.
_NAMED = 3


@dataclass(frozen=True)
class Encoder:
    """The lists that hold an encoder's layers, by dotted name; empty where a model has none."""

    lists: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        """Whether the module or weight ``name`` is in one of the lists."""
        return _list_of(name) in self.lists and _POSITIONS.isdisjoint(re.split(r"[./]", name))

    def __bool__(self) -> bool:
        return bool(self.lists)


def encoder_of(names: Iterable[str]) -> Encoder:
    """The encoder of a model whose linear layers, or their weights, have these dotted ``names``.

    A model that has nothing but decoders is taken whole, as is one whose lists hold bare linear layers alone.
    """
    found = {(path, _is_bare(name)) for name in names if (path := _list_of(name)) is not None}
    lists = {path for path, _ in found if not _says(path, _BESIDE)}
    layered = {path for path, bare in found if not bare}
    for better in (lambda path: not _says(path, _DECODER), lambda path: path in layered):
        lists = _prefer(lists, better)
    return Encoder(frozenset(lists))


def outside_encoder(sizes: Mapping[str, int]) -> str | None:
    """One line on the linear weights that ``encoder_linear`` leaves out; None where it leaves out none.

    Args:
        sizes: weights of each linear layer, by name.
    """
    encoder, total = encoder_of(sizes), sum(sizes.values())
    outside = {name: size for name, size in sizes.items() if name not in encoder}
    if not outside:
        return None
    named = [
        f"{' '.join(name.split())} ({outside[name] / total:.1%})"
        for name in sorted(outside, key=outside.get, reverse=True)
    ]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    share = 1.0 - sum(outside.values()) / total
    return f"encoder_linear is {share:.1%} of the linear weights; outside: {', '.join(named[:_NAMED])}{more}"


def _prefer(lists: set[str], better: Callable[[str], bool]) -> set[str]:
    return {path for path in lists if better(path)} or lists


def _list_of(name: str) -> str | None:
    """What comes before the first number of a dotted name (slashes count as dots); None without one.

    A name that begins with a number belongs to a plain sequence of modules, and the number says nothing.
    """
    match = re.match(r"(.+?)[./]\d+(?=[./]|$)", name)
    return match[1] if match else None


def _is_bare(name: str) -> bool:
    """Whether a member of a list is itself the linear layer, as in a head that is a sequence of modules."""
    return re.search(r"[./]\d+(?:\.weight)?$", name) is not None and len(re.findall(r"[./]\d+(?=[./]|$)", name)) == 1


def _says(path: str, words: frozenset[str]) -> bool:
    return not words.isdisjoint(re.split(r"[./_]", path.lower()))
