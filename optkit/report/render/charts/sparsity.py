"""The sparsity of each layer: a bar from 0 to 100 % of zeros, under the block of the model that the layer is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from optkit.report.figures import Layer
from optkit.report.render.charts.style import SMALL_CHAR, WIDE, elide, line, picture, rect, text

_ROW, _HEAD, _TOP, _FOOT, _GAP = 17, 22, 36, 22, 8
#: Charts with more rows have two columns where there is room.
_ONE_COLUMN = 44


class _Group(NamedTuple):
    """Layers of one block: its name, empty for layers outside all blocks, and the name of each layer in it."""

    block: str
    names: list[str]
    layers: list[Layer]

    @property
    def height(self) -> int:
        return self.head + _ROW * len(self.layers)

    @property
    def head(self) -> int:
        """Pixels above the first bar."""
        return _HEAD if self.block else _GAP


def sparsity_chart(layers: Sequence[Layer], title: str, *, width: float = WIDE, inline: bool = False) -> str:
    """The layers in their order, each with its name, its share of zeros and their structure.

    Args:
        layers: as a sparsity report has them.
        title: of a line.
        width: pixels, ``style.WIDE`` or ``style.NARROW``.
    """
    groups, edge = _groups(layers), 0 if inline else 12
    whole = sum(group.height for group in groups)
    columns = [groups]
    if whole > _ROW * _ONE_COLUMN and width >= WIDE:
        # Whole blocks, parted where the longer column is the shortest.
        heights = [sum(group.height for group in groups[:count]) for count in range(len(groups) + 1)]
        first = min(range(len(heights)), key=lambda count: max(heights[count], whole - heights[count]))
        columns = [part for part in (groups[:first], groups[first:]) if part]
    each = (width - 2 * edge - 3 * _GAP * (len(columns) - 1)) / len(columns)
    body: list[str] = []
    for number, part in enumerate(columns):
        body += _column(part, edge + number * (each + 3 * _GAP), each)
    tallest = max(sum(group.height for group in part) for part in columns)
    return picture(width, _TOP + tallest + _FOOT, title, _in_words(layers), body, inline=inline)


def _column(groups: Sequence[_Group], left: float, width: float) -> list[str]:
    says = [[f"{layer.sparsity:.1%} {layer.structure}" for layer in group.layers] for group in groups]
    named = _widest([name for group in groups for name in group.names], 0.46 * width)
    said = _widest([figure for each in says for figure in each], 0.3 * width)
    start, bar = left + named + _GAP, width - named - said - 2 * _GAP
    foot = _TOP + sum(group.height for group in groups)
    body, top = [], float(_TOP)
    shares = (0, 0.25, 0.5, 0.75, 1) if bar > 180 else (0, 0.5, 1)
    body += [line(start + bar * share, _TOP, start + bar * share, foot + 3) for share in shares]
    for group, figures in zip(groups, says, strict=True):
        if group.block:
            said_so = elide(group.block, width - 2 * _GAP, SMALL_CHAR * 1.1)
            body.append(text(left, top + 16, said_so, kind="small strong halo"))
        top += group.head
        for name, layer, figure in zip(group.names, group.layers, figures, strict=True):
            body += [
                text(start - _GAP, top + 12, elide(name, named, SMALL_CHAR), anchor="end", kind="small"),
                rect(start, top + 3, bar, _ROW - 5, "track"),
                rect(start, top + 3, bar * layer.sparsity, _ROW - 5, "bar"),
                text(start + bar + _GAP, top + 12, elide(figure, said, SMALL_CHAR), kind="small faint"),
            ]
            top += _ROW
    for share in shares:
        body.append(text(start + bar * share, foot + 15, f"{share:.0%}", anchor="middle", kind="small faint"))
    return body


def _widest(texts: Sequence[str], most: float) -> float:
    return min(max(map(len, texts), default=0) * SMALL_CHAR, most)


def _in_words(layers: Sequence[Layer]) -> str:
    if not layers:
        return "There are no linear layers."
    order = sorted(layers, key=lambda layer: layer.sparsity)
    low, high = (f"{layer.sparsity:.1%} in {_plain(layer.name)}" for layer in (order[0], order[-1]))
    return f"{len(layers)} linear layers; zeros from {low} to {high}."


def _groups(layers: Sequence[Layer]) -> list[_Group]:
    """Layers side by side whose names are the same up to and with their first number."""
    groups: list[_Group] = []
    for layer in layers:
        found = re.fullmatch(r"((?:[^.]+\.)*?\d+)\.(.+)", _plain(layer.name))
        block, name = found.groups() if found else ("", _plain(layer.name))
        if not groups or groups[-1].block != block:
            groups.append(_Group(block, [], []))
        groups[-1].names.append(name)
        groups[-1].layers.append(layer)
    return groups


def _plain(name: str) -> str:
    return name.removesuffix(".weight")
