"""Where the attention heads and the feed-forward neurons of known architectures lie in their weights: a declared table.

A head or a neuron is a *group*: rows of some linear layers and columns of one, the projection that its output goes
through. When those columns are zero the group adds nothing, whatever its other weights and biases are, so zeroing all
of a group's weights is the same as removing it. Weights have the shape (out, in).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from optkit.errors import PruningError


@dataclass(frozen=True)
class Member:
    """What group g owns of ``layer``: its rows (``axis`` 0) or columns (1) from ``offset`` + g * ``size`` on, ``size``
    of them.

    ``role`` is query, key, value, position (a projection of relative positions) or output in attention; up, gate or
    down in a feed-forward layer. ``output`` and ``down`` own columns, all others rows.
    """

    role: str
    layer: str
    axis: int
    offset: int
    size: int


@dataclass(frozen=True)
class Group:
    """The ``count`` heads of an attention layer, or the ``count`` neurons of a feed-forward layer.

    ``activation`` is the name of the module between up and down, empty for heads.
    """

    count: int
    members: tuple[Member, ...]
    activation: str = ""

    def __getitem__(self, role: str) -> Member:
        return next(member for member in self.members if member.role == role)


@dataclass(frozen=True)
class LayerLayout:
    """Heads and neurons of the layer at ``prefix``, a dotted module name; None where the layer has none left."""

    prefix: str
    heads: Group | None
    neurons: Group | None


@dataclass(frozen=True)
class _Names:
    """Module names within one layer. Equal names are one fused layer that holds its parts in the order query, key,
    value, or up, gate, as equal shares of its rows.
    """

    query: str
    key: str
    value: str
    output: str
    up: str
    down: str
    activation: str
    gate: str = ""
    positions: tuple[str, ...] = ()  # of those that the configuration made


_BERT = _Names(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    activation="intermediate.intermediate_act_fn",
)
_DISTILBERT = _Names(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    output="attention.out_lin",
    up="ffn.lin1",
    down="ffn.lin2",
    activation="ffn.activation",
)
_ALBERT = _Names(
    query="attention.query",
    key="attention.key",
    value="attention.value",
    output="attention.dense",
    up="ffn",
    down="ffn_output",
    activation="activation",
)
_DEBERTA = replace(
    _BERT,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    positions=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
)
_MODERNBERT = _Names(
    query="attn.Wqkv",
    key="attn.Wqkv",
    value="attn.Wqkv",
    output="attn.Wo",
    up="mlp.Wi",
    gate="mlp.Wi",
    down="mlp.Wo",
    activation="mlp.act",
)
_MPNET = replace(
    _BERT,
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    output="attention.attn.o",
)
_VIT = replace(
    _BERT,
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
)
_VIT_LATER = _Names(  # as releases of transformers after 5.5 call them
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    output="attention.o_proj",
    up="mlp.fc1",
    down="mlp.fc2",
    activation="mlp.activation_fn",
)

#: By ``config.model_type``: the names that a layer may go by, the first that fit count.
LAYOUTS: dict[str, tuple[_Names, ...]] = {
    "albert": (_ALBERT,),
    "bert": (_BERT,),
    "camembert": (_BERT,),
    "deberta-v2": (_DEBERTA,),
    "distilbert": (_DISTILBERT,),
    "electra": (_BERT,),
    "modernbert": (_MODERNBERT,),
    "mpnet": (_MPNET,),
    "roberta": (_BERT,),
    "vit": (_VIT, _VIT_LATER),
    "xlm-roberta": (_BERT,),
}


def layouts(model: nn.Module) -> list[LayerLayout]:
    """The heads and neurons of every transformer layer of ``model``, in its order; a shared layer appears once.

    Weights are not looked at, so that the meta device suffices, and weights may be parametrized. A layer that was
    compacted says what it has left.

    Args:
        model: a transformers model, with or without a task head.

    Raises:
        PruningError: if its ``config.model_type`` is not in the table, or none of its layers looks as the table says.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in LAYOUTS:
        what = f"models of type '{kind}'" if kind else f"{type(model).__name__}, which has no config.model_type"
        raise PruningError(f"where heads and neurons lie is not known for {what}; known are {', '.join(LAYOUTS)}")
    modules = dict(model.named_modules())
    found = [
        layout for name in modules for names in LAYOUTS[kind] if (layout := _layer(name, names, modules)) is not None
    ]
    if not found:
        raise PruningError(f"no layer of {type(model).__name__} has the module names of a model of type '{kind}'")
    return found


def _layer(prefix: str, names: _Names, modules: dict[str, nn.Module]) -> LayerLayout | None:
    within = f"{prefix}." if prefix else ""
    # What compaction leaves whatever it removes tells a layer by itself.
    lasting = (names.output, names.down, names.query.rpartition(".")[0])
    if any(within + name not in modules for name in lasting):
        return None
    return LayerLayout(prefix, _heads(within, names, modules), _neurons(within, names, modules))


def _heads(within: str, names: _Names, modules: dict[str, nn.Module]) -> Group | None:
    output = modules[within + names.output]
    if not isinstance(output, nn.Linear):
        return None
    attention = modules[(within + names.query).rpartition(".")[0]]
    size = attention.head_dim if hasattr(attention, "head_dim") else attention.attention_head_size
    width = output.in_features
    rows = {"query": names.query, "key": names.key, "value": names.value}
    members = list(_stack(within, rows, width, size))
    members += [Member("position", within + name, 0, 0, size) for name in names.positions if within + name in modules]
    return Group(width // size, (*members, Member("output", within + names.output, 1, 0, size)))


def _neurons(within: str, names: _Names, modules: dict[str, nn.Module]) -> Group | None:
    down = modules[within + names.down]
    if not isinstance(down, nn.Linear):
        return None
    rows = {"up": names.up} | ({"gate": names.gate} if names.gate else {})
    members = tuple(_stack(within, rows, down.in_features, 1))
    return Group(down.in_features, (*members, Member("down", within + names.down, 1, 0, 1)), within + names.activation)


def _stack(within: str, rows: dict[str, str], width: int, size: int) -> Iterator[Member]:
    """Members that own rows, ``width`` of them for each role; those of one layer stand one below the other."""
    used: dict[str, int] = {}
    for role, name in rows.items():
        yield Member(role, within + name, 0, used.get(name, 0), size)
        used[name] = used.get(name, 0) + width
