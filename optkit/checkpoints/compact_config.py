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
    said = values.get(KEY, {}) if isinstance(values, dict) else None
    if not isinstance(said, dict) or (said and not isinstance(said.get("format"), int)):
        raise PruningError(f"{file}: {KEY} is not what compaction writes: copy it again")
    if said.get("format", FORMAT) > FORMAT:
        raise PruningError(f"{file}: format {said['format']} is newer than this optkit reads: upgrade optkit")
    return values


def needs_loader(values: dict[str, Any]) -> bool:
    """Whether the checkpoint with this config.json only loads with ``load_compact``."""
    return "layers" in values.get(KEY, {})


def former_shapes(values: dict[str, Any]) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Shapes (out, in) before compaction of weights that are smaller now, and of those that were removed, by name.

    Raises:
        PruningError: if they are none.
    """
    said = values.get(KEY, {})
    found = []
    for part in ("reduced", "removed"):
        entries = said.get(part, {})
        sizes = entries.values() if isinstance(entries, dict) else [None]
        if not all(isinstance(s, list) and len(s) == 2 and all(type(n) is int and n > 0 for n in s) for s in sizes):
            raise PruningError(f"{KEY}.{part} of config.json holds no shapes: copy it again")
        found.append({name: (shape[0], shape[1]) for name, shape in entries.items()})
    return found[0], found[1]
