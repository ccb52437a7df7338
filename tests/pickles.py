"""Pickles that run code when they are read: what reads weights must never do so."""

from __future__ import annotations

import os
from pathlib import Path


class Bomb:
    """Its pickle makes the folder ``path`` when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))
