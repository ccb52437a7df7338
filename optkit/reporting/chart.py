"""How sparse each layer is, as a picture that any browser shows: SVG, which needs no library to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from os.path import commonprefix
from typing import Any

_ROW, _TOP, _CHAR, _BAR, _GAP = 16, 34, 6.7, 360, 8
_DENSE, _SPARSE, _INK, _FAINT = "#e6e8eb", "#2a6fb0", "#24292f", "#6e7781"


def sparsity_chart(layers: Sequence[Mapping[str, Any]], title: str) -> str:
    """A bar for each layer, from 0 to 100 % of zeros.

    Args:
        layers: each with ``name``, ``structure``, ``shape`` and ``sparsity`` in [0, 1], as a sparsity report has them.
        title: stands above, and is what a reader of the page hears who sees no picture.
    """
    names = short_names([layer["name"] for layer in layers])
    left = round(max(map(len, names), default=0) * _CHAR) + 2 * _GAP
    width, height = left + _BAR + 120, _TOP + _ROW * len(layers) + 22
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_GAP}" y="18" fill="{_INK}" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (name, layer) in enumerate(zip(names, layers)):
        share, top = layer["sparsity"], _TOP + _ROW * index
        says = f"{share:.1%} {layer['structure']}"
        lines += [
            f'<text x="{left - _GAP}" y="{top + 11}" fill="{_INK}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{top + 2}" width="{_BAR}" height="{_ROW - 4}" fill="{_DENSE}"/>',
            f'<rect x="{left}" y="{top + 2}" width="{_BAR * share:.1f}" height="{_ROW - 4}" fill="{_SPARSE}"/>',
            f'<text x="{left + _BAR + _GAP}" y="{top + 11}" fill="{_FAINT}">{escape(says)}</text>',
        ]
    foot = _TOP + _ROW * len(layers)
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = left + _BAR * share
        lines += [
            f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{foot}" stroke="#ffffff" stroke-opacity="0.6"/>',
            f'<text x="{x}" y="{foot + 14}" fill="{_FAINT}" text-anchor="middle">{share:.0%}</text>',
        ]
    return "\n".join((*lines, "</svg>")) + "\n"


def short_names(names: Sequence[str]) -> list[str]:
    """``names`` of parameters without ``.weight`` and without the modules that all of them begin with."""
    plain = [name.removesuffix(".weight") for name in names]
    shared = commonprefix(plain) if len(plain) > 1 else ""
    return [name[shared.rfind(".") + 1 :] for name in plain]
