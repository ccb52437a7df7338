"""What config.json says of a compacted checkpoint: whether optkit alone loads it, and the shapes before compaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.errors import PruningError
from optkit.json_files import read_json

#: Under which config.json says what compaction did.
KEY = "optkit_compact"
FORMAT = 1


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint; what it says under ``KEY``, if anything, is of a format that we read.

    Raises:
        PruningError: if there is none, it is no JSON mapping, or that is not so.
    """
    file = folder / "config.json"
    try:
        values = read_json(file)
    except OSError:
        raise PruningError(f"{file}: not found: give the folder of a checkpoint") from None
    except ValueError as error:
        raise PruningError(f"{file}: not JSON ({error}): copy it again") from None
    entry = values.get(KEY, {}) if isinstance(values, dict) else None
    if not isinstance(entry, dict) or (entry and not isinstance(entry.get("format"), int)):
        raise PruningError(f"{file}: {KEY} is not what compaction writes: copy it again")
    if entry.get("format", FORMAT) > FORMAT:
        raise PruningError(f"{file}: format {entry['format']} is newer than this optkit reads: upgrade optkit")
    return values


def needs_loader(values: dict[str, Any]) -> bool:
    """Whether the checkpoint with this config.json only loads with ``load_compact``."""
    return "layers" in values.get(KEY, {})


def former_shapes(values: dict[str, Any]) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Shapes (out, in) before compaction of weights that are smaller now, and of those that were removed, by name.

    Raises:
        PruningError: if they are none.
    """
    entry = values.get(KEY, {})
    found = []
    for part in ("reduced", "removed"):
        entries = entry.get(part, {})
        sizes = entries.values() if isinstance(entries, dict) else [None]
        if not all(isinstance(s, list) and len(s) == 2 and all(type(n) is int and n > 0 for n in s) for s in sizes):
            raise PruningError(f"{KEY}.{part} of config.json holds no shapes: copy it again")
        found.append({name: (shape[0], shape[1]) for name, shape in entries.items()})
    return found[0], found[1]
