"""What a run's manifest says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def facts(folder: Path, stage: str) -> dict[str, Any]:
    """What ``stage`` left as plain data in the run ``folder``."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["stages"][stage]["facts"]
