"""Which checkpoints of a training are whole. Nothing here imports torch or numpy."""

from __future__ import annotations

from pathlib import Path

from optkit.json_files import read_json

#: Says of a training's checkpoint that it is whole, see adapters/checkpointing.py.
MARKER = "optkit-complete.json"


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder`` that are whole, the newest last."""
    found = {}
    for marker in Path(folder).glob(f"checkpoint-*/{MARKER}"):
        step = marker.parent.name.removeprefix("checkpoint-")
        if step.isdecimal() and _holds(marker):
            found[int(step)] = marker.parent
    return [found[step] for step in sorted(found)]


def _holds(marker: Path) -> bool:
    try:
        sizes = read_json(marker)
        return bool(sizes) and all((marker.parent / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
