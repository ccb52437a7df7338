"""Public names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from optkit.deprecation import warn_once


def lazy_attributes(
    package: str, names: Mapping[str, str], *, former: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names are imported on first use.

    Args:
        package: its dotted name.
        names: the module of each public name, with ``:attribute`` where it has another name there.
        former: the public name of each former one, which still works with a warning.
    """

    def import_name(name: str) -> Any:
        if former and name in former:
            warn_once(f"{package}.{name} is deprecated: use {package}.{former[name]} instead")
            name = former[name]
        if name not in names:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module, _, attribute = names[name].partition(":")
        return getattr(import_module(module), attribute or name)

    return import_name
