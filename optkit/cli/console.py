"""Where verbs print their tables and write their charts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.cli import lazy
from optkit.errors import OptkitError

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 140


def plain_console(**options: Any) -> Console:
    """stdout, on which brackets in names and messages are no markup; ``options`` are rich's."""
    return lazy.Console(markup=False, emoji=False, **options)


def wide_console() -> Console:
    """stdout: no line is broken, and no table cut off in a pipe or a file, which have no width."""
    console = plain_console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    return console


def write_chart(path: Path, chart: str) -> None:
    """Writes what ``--plot`` asked for.

    Raises:
        OptkitError: if it cannot be written there.
    """
    try:
        path.write_text(chart, encoding="utf-8")
    except OSError as error:
        raise OptkitError(f"--plot: {path} cannot be written: {error.strerror}: choose another file") from None
