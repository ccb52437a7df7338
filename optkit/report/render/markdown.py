"""The report as Markdown, and its headline table for the terminal: the same rows in both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.report.conclusions import concluded
from optkit.report.render.blocks import Block, Table
from optkit.report.sections import sections
from optkit.report.tables import HEADER, headline, overview


def render(report: Mapping[str, Any]) -> str:
    """report.md."""
    report = concluded(report)
    parts = [f"# {report['name']}", report["description"], report["verdict"], overview(report).markdown()]
    for section in sections(report):
        parts += [f"## {section.title}", *written(section.blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def written(blocks: list[Block]) -> list[str]:
    """``blocks`` as Markdown: paragraphs and tables; pictures show what tables say, and recipes have their own file."""
    found = [block.markdown() if isinstance(block, Table) else block for block in blocks]
    return [block for block in found if isinstance(block, str)]


def table(report: Mapping[str, Any]) -> Any:
    """The headline as a rich table."""
    from rich.table import Table as RichTable

    shown = RichTable(title=f"{report['name']} ({report['evaluate']['metric']})", title_justify="left")
    for column in HEADER:
        # On a narrow terminal scores of several splits go below each other, and nothing is cut off.
        shown.add_column(column, justify="left" if column == "model" else "right", no_wrap=column != "metric")
    for row in headline(report):
        shown.add_row(*row)
    return shown
