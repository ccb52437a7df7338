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
from optkit.report.document import document
from optkit.report.labels import baseline_name, dense_as_baseline
from optkit.report.reading import parse_report
from optkit.report.render.blocks import Block, Code, Picture, Table
from optkit.report.render.charts.style import css
from optkit.report.result_tables import dollars, overview
from optkit.report.schema import Report
from optkit.report.speed import ratio_text, reference_label

PAGE = Path(__file__).with_name("page")
_STYLES = ("page.css", "print.css")


class Tile(NamedTuple):
    """A large figure at the top of the page: the figure, what it is, and its reference."""

    figure: str
    what: str
    beside: str
    outcome: str = ""


def render_html(data: Mapping[str, Any] | Report) -> str:
    """report.html, from a report or what report.json holds, and nothing else.

    Raises:
        OptkitError: as ``parse_report``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    report = parse_report(data)
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": prose, "breakable": breakable, "kind": kind}
    return environment.get_template("page.html.j2").render(
        report=report,
        style=css(":root") + "".join((PAGE / name).read_text(encoding="utf-8") for name in _STYLES),
        outcome=outcome(report),
        tiles=tiles(report),
        overview=overview(report),
        sections=document(report),
    )


def outcome(report: Report) -> str:
    """``bad`` if the loss exceeds ``max_drop``, ``good`` for a gain, else ``flat``."""
    if not report.evaluate.within_max_drop:
        return "bad"
    return "good" if report.gain and report.gain.gains else "flat"


def tiles(report: Report) -> list[Tile]:
    """The figures of the verdict as tiles; one that was not measured has none."""
    found, zeros = [], report.checkpoint_sparsity.denominators.get("encoder_linear")
    if report.structures and zeros:
        structures = ", ".join(report.structures)
        found.append(Tile(f"{100 * zeros.sparsity:.1f} %", "zeros in the encoder", f"in {structures}"))
    baseline = baseline_name(report)
    found += _accuracy_tile(report, baseline) + _speed_tile(report)
    if "openvino" in report.bytes:
        dense = report.bytes.get("dense")
        beside = "weights and graph" if dense is None else f"the {baseline}: {size(dense)}"
        found.append(Tile(size(report.bytes["openvino"]), "on disk", beside))
    return found + _cost_tile(report)


def _accuracy_tile(report: Report, baseline: str) -> list[Tile]:
    evaluated = report.evaluate
    if evaluated.drop is None:
        return []
    limit = "" if evaluated.max_drop is None else f"; max_drop allows {evaluated.max_drop:g}"
    change = f"{-evaluated.drop:+.2f}".replace("-", "\u2212")
    change = "0.00" if change[1:] == "0.00" else change
    beside = f"against the {baseline}{limit}"
    return [Tile(change, f"points of {evaluated.metric}", beside, "bad" * (outcome(report) == "bad"))]


def _speed_tile(report: Report) -> list[Tile]:
    gain = report.gain
    if gain is None or report.benchmark is None:
        return []
    sure = f"95 % interval {' to '.join(map(ratio_text, gain.interval))}; " if gain.interval else ""
    against = dense_as_baseline(report, reference_label(report.benchmark, gain.against))
    beside = f"{sure}against {against}; {gain.inputs}"
    noisy = " (noisy)" if gain.noisy else ""
    return [Tile(f"{ratio_text(gain.ratio)}\u00d7", f"as fast{noisy}", beside, "good" * gain.gains)]


def _cost_tile(report: Report) -> list[Tile]:
    gain, costs = report.gain, report.costs
    if gain is None or costs is None:
        return []
    instance = costs.costs[0].instance
    paid = {cost.engine: f"${dollars(cost.dollars)}" for cost in costs.costs if cost.instance == instance}
    if gain.of not in paid or gain.against not in paid:
        return []
    return [Tile(paid[gain.of], "a million inferences", f"{instance}; {paid[gain.against]} before")]


def prose(text: str) -> Any:
    """A paragraph as HTML: escaped, with `code` and **bold** text."""
    from markupsafe import Markup, escape

    said = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", said))


def breakable(name: str) -> Any:
    """A name as HTML with possible line breaks after dots, dashes and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([._/-])(?=.)", r"\1<wbr>", str(escape(name))))


def kind(block: Block) -> str:
    """The kind of a block, for the template."""
    kinds = {Table: "table", Picture: "picture", Code: "code", str: "prose"}
    return kinds[type(block)]
