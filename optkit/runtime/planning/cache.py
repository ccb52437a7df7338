"""Measured plans on disk, a file each, named by everything that they depend on.

A file that is damaged or of another format counts as none, and a folder that cannot be written as an empty one.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.runtime.planning.machine import Machine
from optkit.runtime.planning.plan import FORMAT, Plan
from optkit.runtime.rewriting.sites import LinearSite

LARGEST = 16 * 2**20


def folder() -> Path:
    """``$OPTKIT_CACHE``, else ``optkit`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; then ``plans``."""
    own = os.environ.get("OPTKIT_CACHE")
    if own:
        return Path(own) / "plans"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "optkit" / "plans"


def key(machine: Machine, sites: Sequence[LinearSite], config: Mapping[Any, Any], **asked: Any) -> str:
    """Name of the plan for these layers on this machine, compiled with ``config``; all else that matters: ``asked``."""
    layers = [
        [site.matmul, *site.shape, str(site.values.dtype), site.quantization is not None, site.supported]
        + [round(site.density, 6), *(round(share, 6) for share in site.block4_densities.values()), site.rows]
        for site in sites
    ]
    facts = {
        "format": FORMAT,
        "machine": asdict(machine),
        "config": sorted((str(name), str(value)) for name, value in config.items()),
        "asked": asked,
        "layers": layers,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def read(name: str, sites: Sequence[LinearSite]) -> Plan | None:
    """The plan kept as ``name``, None if there is none that can be used for these layers."""
    try:
        path = folder() / f"{name}.json"
        if path.stat().st_size > LARGEST:
            return None
        plan = Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, RuntimeError, UnicodeDecodeError, OptkitError):
        return None
    wanted = [(site.matmul, tuple(site.shape)) for site in sites]
    return plan if [(layer.matmul, layer.shape) for layer in plan.layers] == wanted else None


def write(name: str, plan: Plan) -> None:
    """Keeps ``plan`` as ``name``: whole or not at all, silently not at all where the folder cannot be written."""
    temporary = None
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder(), prefix=f".{name}-", delete=False) as file:
            temporary = file.name
            file.write(plan.to_json())
        os.replace(temporary, folder() / f"{name}.json")
    except (OSError, RuntimeError):
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
