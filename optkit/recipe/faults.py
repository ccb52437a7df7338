"""One fault of a recipe: where it was written, what is wrong, and how that prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optkit.errors import RecipeError, one_line

#: Characters of the line that is shown.
_LINE = 160


@dataclass(frozen=True, eq=False)
class Source:
    """A text that recipe values come from: a file, or one ``--set``.

    Args:
        name: what the user calls it, a path or ``--set``.
        text: the whole of it.
        folder: what relative paths inside it are relative to.
        is_file: False for a ``--set``, which has no lines worth numbering.
    """

    name: str
    text: str
    folder: Path
    is_file: bool = True

    def line(self, number: int) -> str:
        """One line, counted from 0; empty behind the end."""
        lines = self.text.splitlines()
        return lines[number] if number < len(lines) else ""


@dataclass(frozen=True)
class Mark:
    """A run of ``length`` characters in a source; ``line`` and ``column`` count from 0."""

    source: Source
    line: int
    column: int
    length: int = 1


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``excerpt`` is False where nothing that is written could be pointed at."""

    mark: Mark
    path: str
    message: str
    excerpt: bool = True

    def __str__(self) -> str:
        """``file:line:column: path: message``, then the line with a run of carets under the culprit."""
        mark = self.mark
        source = mark.source
        place = f"{source.name}:{mark.line + 1}:{mark.column + 1}" if source.is_file else source.name
        head = ": ".join(part for part in (place, one_line(self.path), one_line(self.message)) if part)
        line = source.line(mark.line)
        if not self.excerpt or not line:
            return head
        number = f"{mark.line + 1:>5}" if source.is_file else " " * 5
        begin = 0 if len(line) <= _LINE else max(mark.column - _LINE // 2, 0)
        before, line = line[begin : mark.column], line[begin : begin + _LINE]
        # Tabs stay tabs, so that the carets stand where the eye sees the culprit.
        indent = "".join(c if c == "\t" else " " for c in before)
        carets = "^" * max(min(mark.length, len(line) - len(before)), 1)
        return f"{head}\n{number} | {line}\n      | {indent}{carets}"

    def to_dict(self) -> dict[str, str | int | None]:
        """For ``--json``; line and column count from 1 and are null for a ``--set``."""
        line, column = (self.mark.line + 1, self.mark.column + 1) if self.mark.source.is_file else (None, None)
        source = self.mark.source.name if self.mark.source.is_file else f"--set {self.mark.source.text}"
        return {"source": source, "line": line, "column": column, "path": self.path, "message": self.message}


class StaticError(RecipeError):
    """Every static fault of a recipe, or of another YAML file; ``faults`` holds them with their positions."""

    def __init__(self, faults: list[Fault]):
        self.faults = faults
        self.problems = [str(fault) for fault in faults]  # with the lines of the file that they are in
        Exception.__init__(self, "\n".join(self.problems))
