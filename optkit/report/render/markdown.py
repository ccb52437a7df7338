"""The report as Markdown, and its headline table for the terminal, with the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.report.document import document
from optkit.report.reading import parse_report
from optkit.report.render.blocks import Block, Table
from optkit.report.result_tables import HEADER, headline, overview
from optkit.report.schema import Report


def render(data: Mapping[str, Any] | Report) -> str:
    """report.md, from a report or what report.json holds.

    Raises:
        OptkitError: as ``parse_report``.
    """
    report = parse_report(data)
    parts = [f"# {report.name}", report.description, report.verdict, overview(report).markdown()]
    for section in document(report):
        parts += [f"## {section.title}", *blocks_markdown(section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def blocks_markdown(blocks: list[Block]) -> list[str]:
    """``blocks`` as Markdown: paragraphs and tables; pictures and recipes are left out: tables have the figures."""
    found = [block.markdown() if isinstance(block, Table) else block for block in blocks]
    return [block for block in found if isinstance(block, str)]


def rich_table(data: Mapping[str, Any] | Report) -> Any:
    """The headline as a table for the terminal."""
    from rich.table import Table as RichTable

    report = parse_report(data)
    shown = RichTable(title=f"{report.name} ({report.evaluate.metric})", title_justify="left")
    for column in HEADER:
        # On a narrow terminal scores of several splits go below each other, and nothing is cut off.
        shown.add_column(column, justify="left" if column == "model" else "right", no_wrap=column != "metric")
    for row in headline(report):
        shown.add_row(*row)
    return shown
