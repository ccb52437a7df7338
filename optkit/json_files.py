"""JSON that somebody else wrote: what a file holds, or a fault in words for users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """What the file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is not UTF-8 text, not JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
