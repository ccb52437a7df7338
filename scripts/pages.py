"""Pages of docs whose tables a script writes: what stands between two marks is the script's, the rest is by hand."""

from __future__ import annotations

from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_between(page: Path, text: str) -> None:
    """Puts ``text`` between the marks of ``page``.

    Raises:
        ValueError: if the page has no marks.
    """
    head, begun, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{page}: there is no '{BEGIN}' with a '{END}' after it: give the page of this script")
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
