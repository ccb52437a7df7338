"""What a report is made of, whatever it is shown as: paragraphs (plain strings with `code` in backticks), and these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Cells as text.

    Attributes:
        words: how many of the first columns are words, the others being figures.
        strong: the rows to look at first.
        folded: a line that stands for a long table until it is opened, where the medium can do that.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    strong: Sequence[int] = ()
    folded: str = ""

    def markdown(self) -> str:
        """The table in Markdown, whatever its cells hold."""
        lines = [_line(self.header), "|" + "---|" * self.words + "--:|" * (len(self.header) - self.words)]
        return "\n".join(lines + [_line(row) for row in self.rows])


class Picture(NamedTuple):
    """A chart twice: for screens and paper, and for phones, and how to read it. Text has the figures in tables."""

    wide: str
    narrow: str
    caption: str = ""


class Code(NamedTuple):
    """Text as it is, such as a recipe; ``title`` is a line that stands for it."""

    title: str
    text: str


Block = str | Table | Picture | Code


class Section(NamedTuple):
    """A part of a report under its heading."""

    title: str
    blocks: list[Block]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
