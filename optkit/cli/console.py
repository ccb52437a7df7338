"""Where verbs print their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 140


def wide_console() -> Console:
    """stdout: no line is broken, and no table cut off in a pipe or a file, which have no width."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    return console
