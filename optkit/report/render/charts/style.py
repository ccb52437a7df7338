"""Shared by all charts: colours in light and in dark, sizes of type, axes, and the frame with the alternative text.

A chart stands by itself, as a file that an ``<img>`` shows, or in a page that has ``css`` once for all of its charts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape

#: Pixels: of a chart on a screen or a page, and of the same on a phone.
WIDE, NARROW = 720, 344
#: Pixels of an average character of the 12 and of the 11 pixel type, in the wider of the fonts that it may come in.
CHAR, SMALL_CHAR = 7.2, 6.7
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_LIGHT = {
    "ground": "#ffffff",
    "ink": "#1f2328",
    "faint": "#59636e",
    "grid": "#d8dee4",
    "track": "#e9edf1",
    "one": "#0a62c4",
    "two": "#b34a00",
    "three": "#1a7f37",
    "beaten": "#8c959f",
}
_DARK = {
    "ground": "#0d1117",
    "ink": "#e6edf3",
    "faint": "#9aa4af",
    "grid": "#30363d",
    "track": "#22272e",
    "one": "#58a6ff",
    "two": "#f0883e",
    "three": "#3fb950",
    "beaten": "#7d8590",
}
_RULES = f"""
.chart text {{ font: 12px {FONT}; fill: var(--ink); }}
.chart .title {{ font-size: 14px; font-weight: 600; }}
.chart .small {{ font-size: 11px; }}
.chart .faint {{ fill: var(--faint); }}
.chart .strong {{ font-weight: 600; }}
.chart .ground {{ fill: var(--ground); }}
.chart .grid {{ stroke: var(--grid); stroke-width: 1; }}
.chart .base {{ stroke: var(--faint); stroke-width: 1; stroke-dasharray: 4 3; }}
.chart .track {{ fill: var(--track); }}
.chart .halo {{ paint-order: stroke; stroke: var(--ground); stroke-width: 4px; stroke-linejoin: round; }}
.chart .bar {{ fill: var(--one); }}
.chart .bar.beaten, .chart .dot.beaten {{ fill: var(--beaten); }}
.chart .whisker {{ stroke: var(--ink); stroke-width: 1.5; fill: none; }}
.chart .dot {{ fill: var(--one); stroke: var(--ground); stroke-width: 1.5; }}
.chart .line {{ fill: none; stroke: var(--one); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }}
.chart .line.two {{ stroke: var(--two); }}
.chart .line.three {{ stroke: var(--three); }}
.chart text.one {{ fill: var(--one); }}
.chart text.two {{ fill: var(--two); }}
.chart text.three {{ fill: var(--three); }}
.chart .dot.two {{ fill: var(--two); }}
.chart .dot.three {{ fill: var(--three); }}
"""


def css(selector: str = ".chart") -> str:
    """The rules of all charts; ``selector`` is the element that holds the colours, ``:root`` in a page."""
    light, dark = ("; ".join(f"--{name}: {value}" for name, value in each.items()) for each in (_LIGHT, _DARK))
    # Paper is white whatever the screen is.
    screen = "@media screen and (prefers-color-scheme: dark)"
    return f"{selector} {{ {light} }}\n{screen} {{ {selector} {{ {dark} }} }}{_RULES}"


def picture(width: float, height: float, title: str, desc: str, body: Iterable[str], *, inline: bool = False) -> str:
    """An SVG of ``body``.

    Args:
        width, height: pixels; it shrinks with the page where that is narrower.
        title: of a line, also drawn at the top.
        desc: what the chart shows, in words, for who does not see it.
        inline: for a page that has ``css``; else the SVG brings its own, and a ground.
    """
    head = (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">'
    )
    own = [] if inline else [f"<style>\n{css()}</style>", '<rect class="ground" width="100%" height="100%"/>']
    shown = text(0 if inline else 12, 20, elide(title, width - 16, 9), kind="title")
    says = [f"<title>{clean(title)}</title>", f"<desc>{clean(desc)}</desc>"]
    return "\n".join((head, *says, *own, shown, *body, "</svg>")) + "\n"


def text(x: float, y: float, said: str, *, anchor: str = "", kind: str = "") -> str:
    """A line of text whose base line begins, ends or is centred at a point."""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    classed = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}{classed}>{clean(said)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.2f}" height="{height:.1f}" rx="2"/>'


def clean(said: str) -> str:
    """``said`` as the text of an element: escaped, without characters that XML does not allow."""
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(said)))


def elide(said: str, width: float, char: float = CHAR) -> str:
    """``said`` without its middle where it is longer than ``width`` pixels."""
    most = max(int(width / char), 3)
    if len(said) <= most:
        return said
    tail = (most - 1) * 3 // 5
    return f"{said[: most - 1 - tail]}\u2026{said[len(said) - tail :]}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers, ``most`` steps apart at most, the first no higher than ``low`` and the last no lower than
    ``high``.
    """
    span = max(high - low, 1e-9)
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (step * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, max(last, first + 1) + 1)]
