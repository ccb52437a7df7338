"""Pages of docs whose tables a script writes: what stands between two marks is the script's, the rest is by hand."""

from __future__ import annotations

import argparse
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


def parser(said: str | None, page: Path) -> argparse.ArgumentParser:
    """The options that every script with a page has.

    Args:
        said: the script's docstring.
        page: what it writes into by default.
    """
    summary, _, details = (said or "").partition("\n")
    options = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--output", type=Path, required=True, help="folder of what was run and measured, kept there")
    options.add_argument("--only", default="", help="only what has this text in its table or name")
    options.add_argument("--page", type=Path, default=page, help="the page to write into; charts, if any, go beside it")
    return options
