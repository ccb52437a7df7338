"""The blocks of a report in any format: paragraphs (strings with `code` in backticks), tables, pictures and code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Cells as text.

    Attributes:
        text_columns: the number of first columns that hold text; the others hold figures.
        strong: rows to emphasize.
        folded: a line that is shown instead of a long table until it is opened, where the format can do that.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    strong: Sequence[int] = ()
    folded: str = ""

    def markdown(self) -> str:
        """The table in Markdown, its cells escaped."""
        lines = [_line(self.header), "|" + "---|" * self.text_columns + "--:|" * (len(self.header) - self.text_columns)]
        return "\n".join(lines + [_line(row) for row in self.rows])


class Picture(NamedTuple):
    """A chart for screens and paper, the same for phones, and its caption. Markdown has tables instead."""

    wide: str
    narrow: str
    caption: str = ""


class Code(NamedTuple):
    """Preformatted text, such as a recipe; ``title`` is shown while it is folded."""

    title: str
    text: str


Block = str | Table | Picture | Code


class Section(NamedTuple):
    """A part of a report under its heading."""

    title: str
    blocks: list[Block]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
