"""Older recipes, brought up to date: older formats, one function a step, and former keys of this format.

Both change the tree in place, so that every value keeps the position it was written at.
"""

from __future__ import annotations

from collections.abc import Callable

from optkit.deprecation import FormerSpelling, warn_once
from optkit.quantization.config import FORMER_TARGETS
from optkit.recipe.faults import Fault
from optkit.recipe.tree import Entry, Node

STEPS: dict[int, Callable[[Node], None]] = {}
"""Format number to the step that makes it one newer. Format 1 is the first, so there is none yet."""


def migrate(root: Node, number: int, newest: int) -> None:
    """Applies every step from ``number`` up to ``newest``, and writes the new number."""
    for step in range(number, newest):
        STEPS[step](root)
        root.value["optkit"].node.value = step + 1


def replace_former_keys(root: Node, faults: list[Fault], *, overrides: bool = False) -> None:
    """Rewrites ``quantize.target`` as ``weight_range`` and ``accuracy_backend``, with a warning.

    To be called for each file before it is laid on its base, and after each ``--set``.

    Args:
        faults: gets what is wrong with a former key.
        overrides: whether a former key takes the place of the keys that it stands for, as one from ``--set`` does. In
            one file both are a fault.
    """
    quantize = root.value.get("quantize") if isinstance(root.value, dict) else None
    if quantize is None or not isinstance(quantize.node.value, dict) or "target" not in quantize.node.value:
        return
    keys, former = quantize.node.value, quantize.node.value.pop("target")
    target, mark = former.node.value, former.node.mark
    if former.node.broken:
        return
    twice = [key for key in ("weight_range", "accuracy_backend") if key in keys and not overrides]
    if twice:
        faults.append(Fault(former.key, "quantize.target", f"is the former spelling of {twice[0]}: remove target"))
        return
    present: dict[str, str | None] = {"weight_range": None, "accuracy_backend": None}
    if target is not None:  # null deletes what a base says
        if not isinstance(target, str) or target not in FORMER_TARGETS:
            said = "unknown value: in place of target, write weight_range: half, or weight_range: full"
            faults.append(Fault(mark, "quantize.target", said))
            return
        present["weight_range"] = FORMER_TARGETS[target]
        present["accuracy_backend"] = "optkit" if target == "optkit" else "openvino"
        instead = f"weight_range: {present['weight_range']}"
        instead += " and accuracy_backend: optkit" if target == "optkit" else ""
        place = f"{mark.source.name}:{mark.line + 1}" if mark.source.is_file else mark.source.name
        warn_once(f"{place}: quantize.target: {target} is deprecated: write {instead}", FormerSpelling)
    for key, value in present.items():
        if value is None and overrides:
            keys.pop(key, None)
        else:
            keys[key] = Entry(former.key, Node(value, mark, value))
