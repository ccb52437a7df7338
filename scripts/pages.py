"""Pages of docs whose tables a script writes: what stands between two marks is the script's, the rest is by hand."""

from __future__ import annotations

import argparse
from pathlib import Path


def marks(section: str = "") -> tuple[str, str]:
    """What begins and ends the script's part of a page, or of one of its sections."""
    name = " ".join(filter(None, ("measured", section)))
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def write_between(page: Path, text: str, section: str = "") -> None:
    """Puts ``text`` between the marks of ``page``, or of a section of it.

    Raises:
        ValueError: if the page has no marks.
    """
    begin, end = marks(section)
    head, begun, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"{page}: there is no '{begin}' with a '{end}' after it: give the page of this script")
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


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
