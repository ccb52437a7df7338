#!/usr/bin/env python
"""Which architectures go how far: makes a small model of each, and writes the table of docs/models.md.

Each has random weights and two layers. It is pruned, exported, quantized and put on the sparse runtime, and compared
with torch and with its int8 IR evaluated in float32. Nothing is downloaded. What is done is kept in ``--output`` and
not done again with the same versions, so this may be stopped at any time and started again.

    python scripts/models_table.py --output runs/models
    python scripts/models_table.py --output runs/models --only bert
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pages
from models_page.kinds import IMAGES, TEXTS, Kind

from optkit.machine import versions

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
_PACKAGES = ("transformers", "torch", "openvino", "nncf", "optimum-intel")
_HEADER = (
    "| type | exported by | layers pruned | layers on the runtime | attention there | programs | off from torch "
    "| off in int8 | left out, and why |"
)


def row(name: str, found: dict[str, Any] | None) -> str:
    """A line of the table."""
    if found is None:
        return f"| `{name}` | not run | | | | | | | |"
    title = f"`{name}`" + (f", {found['note']}" if found["note"] else "")
    pruned = f"{found['pruned']} of {found['prunable']}" if "pruned" in found else ""
    if "refused" in found:
        said = found["refused"].replace("|", "\\|")
        return f"| {title} | {found.get('by', 'nothing')} | {pruned} | | | | | | {said} |"
    layers, attention = (f"{found[key][0]} of {found[key][1]}" for key in ("layers", "attention"))
    why = "; ".join(filter(None, [found.get("unpruned", ""), *found["left_out"]])).replace("|", "\\|")
    off = f"{found['torch']:.0e} | {found['emulation']:.0e}"
    return f"| {title} | {found['by']} | {pruned} | {layers} | {attention} | {found['programs']} | {off} | {why} |"


def _kept(folder: Path, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found["facts"] if found["versions"] == versions(_PACKAGES) else None


def table(folder: Path) -> str:
    """The tables of what has been run so far."""
    lines = []
    for title, kinds in (("Texts", TEXTS), ("Images", IMAGES)):
        lines += [f"### {title}", "", _HEADER, "|---|---|---|---|---|---:|---|---|---|"]
        lines += [row(name, _kept(folder, name)) for name in kinds] + [""]
    used = ", ".join(f"{name} {version}" for name, version in versions(_PACKAGES).items() if name != "python")
    return "\n".join([*lines, f"With {used}."])


def main() -> int:
    options = pages.parser(__doc__, PAGE).parse_args()
    kinds: dict[str, Kind] = {name: kind for name, kind in (TEXTS | IMAGES).items() if options.only in name}
    if not kinds:
        print(f"models_table: no type holds '{options.only}'", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        pages.write_between(options.page, table(options.output))
    except (OSError, ValueError) as error:
        print(f"models_table: {error}", file=sys.stderr)
        return 2
    from models_page.facts import facts

    for name, kind in kinds.items():
        if _kept(options.output, name) is None:
            found = facts(name, kind)
            print(row(name, found), flush=True)
            text = json.dumps({"versions": versions(_PACKAGES), "facts": found}, indent=1)
            (options.output / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    pages.write_between(options.page, table(options.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
