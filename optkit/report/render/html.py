"""The report as one page that fetches nothing: for screens light and dark, for phones and for paper.

Everything in a report may come from strangers, so the template escapes all of it, charts escape their own text, and the
page forbids scripts and requests by its own policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from optkit.progress import size
from optkit.report.conclusions import concluded
from optkit.report.render.blocks import Block, Code, Picture, Table
from optkit.report.render.charts.style import css
from optkit.report.sections import sections
from optkit.report.speed import reference_engine, times
from optkit.report.tables import dollars, overview
from optkit.report.words import baseline, counted, sparse_layers

PAGE = Path(__file__).with_name("page")


class Tile(NamedTuple):
    """A figure to see from afar: the figure, what it is, and what it is measured against."""

    figure: str
    what: str
    beside: str
    mood: str = ""


def render_html(report: Mapping[str, Any]) -> str:
    """report.html, from what report.json holds and nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    report = concluded(report)
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": prose, "breakable": breakable, "kind": kind}
    return environment.get_template("page.html.j2").render(
        report=report,
        style=css(":root") + (PAGE / "page.css").read_text(encoding="utf-8"),
        mood=mood(report),
        tiles=tiles(report),
        overview=overview(report),
        sections=sections(report),
    )


def mood(report: Mapping[str, Any]) -> str:
    """``bad`` beyond ``max_drop``, ``good`` for a gain, ``flat`` where nothing was gained or measured."""
    if not report["evaluate"]["within_max_drop"]:
        return "bad"
    return "good" if (report["gain"] or {}).get("gains") else "flat"


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """The verdict's figures, each by itself; what was not measured has no tile."""
    found, shares = [], counted(report)["denominators"]
    if (layers := sparse_layers(report)) and shares.get("encoder_linear"):
        structures = dict.fromkeys(layer["structure"] for layer in layers if layer["structure"] != "dense")
        share = f"{100 * shares['encoder_linear']['sparsity']:.1f} %"
        found.append(Tile(share, "zeros in the encoder", f"in {', '.join(structures)}"))
    evaluated, gain = report["evaluate"], report["gain"]
    if evaluated["drop"] is not None:
        limit = "" if evaluated["max_drop"] is None else f"; max_drop allows {evaluated['max_drop']:g}"
        change = f"{-evaluated['drop']:+.2f}".replace("-", "\u2212")
        change = "0.00" if change[1:] == "0.00" else change
        beside = f"against the {baseline(report)}{limit}"
        found.append(Tile(change, f"points of {evaluated['metric']}", beside, "bad" * (mood(report) == "bad")))
    if gain is not None:
        ends = [times(end) for end in gain["interval"] or ()]
        sure = f"95 % interval {' to '.join(ends)}; " if ends else ""
        against = reference_engine(report["benchmark"], gain["against"], dense=bool(report["training"]["rules"]))
        beside = f"{sure}against {against}; {gain['inputs']}"
        noisy = " (noisy)" if gain["noisy"] else ""
        found.append(Tile(f"{times(gain['ratio'])}\u00d7", f"as fast{noisy}", beside, "good" * bool(gain["gains"])))
    held = report["bytes"]
    if "openvino" in held:
        beside = f"the {baseline(report)}: {size(held['dense'])}" if "dense" in held else "weights and graph"
        found.append(Tile(size(held["openvino"]), "on disk", beside))
    costs = report["costs"]
    if gain is not None and costs:
        first = [cost for cost in costs["costs"] if cost["instance"] == costs["costs"][0]["instance"]]
        paid = {cost["engine"]: f"${dollars(cost['dollars'])}" for cost in first}
        beside = f"{first[0]['instance']}; {paid[gain['against']]} before"
        found.append(Tile(paid[gain["of"]], "a million inferences", beside))
    return found


def prose(text: str) -> Any:
    """A paragraph as HTML: escaped, with `code` and **weight**."""
    from markupsafe import Markup, escape

    said = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", said))


def breakable(name: str) -> Any:
    """A name as HTML that may go on in another line after its dots, dashes and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([._/-])(?=.)", r"\1<wbr>", str(escape(name))))


def kind(block: Block) -> str:
    """What a block is to the template."""
    kinds = {Table: "table", Picture: "picture", Code: "code", str: "prose"}
    return kinds[type(block)]
