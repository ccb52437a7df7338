"""Folders of results: made beside their place, and moved there when they are whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def move_into_place(made: Path, folder: Path) -> None:
    """Gives what the folder ``made`` holds the place ``folder``, which is new or an empty folder.

    A link, a mounted folder or the current one cannot be replaced, and is filled.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        os.replace(made, folder)
    except OSError:
        if not folder.is_dir():
            raise
        for entry in sorted(made.iterdir()):
            shutil.move(entry, folder / entry.name)
        made.rmdir()
