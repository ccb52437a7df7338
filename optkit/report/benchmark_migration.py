"""The benchmark in reports of formats 1 to 3 as a ``BenchmarkResult``.

Those reports have a row for each shape, with figures by variant; what is skipped goes by a word for the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optkit.benchmark.result import FORMAT
from optkit.variant import DENSE, Variant

#: Figures by variant in those rows, and their names in a row of a ``BenchmarkResult``.
_FIGURES = {"milliseconds": "milliseconds", "quartiles": "quartiles", "ratios": "ratio", "over_plain": "over_plain"}
_ROW = (*_FIGURES, "against", "plain", "noisy")
#: Keys of the benchmark that have another place now.
_MOVED = ("rows", "skipped", "threads", "rounds", "precision", "runtime", "machine")


def migrate_benchmark(
    found: Mapping[str, Any], provenance: Mapping[str, Any], variant_id: Callable[[Any], Any]
) -> dict[str, Any]:
    """``found`` as data of a ``BenchmarkResult``. Values of wrong types are left for the schema to refuse.

    Args:
        found: the benchmark of a report in format 1 to 3; any other is returned as it is.
        provenance: ``machine`` and ``versions`` that it was measured with.
        variant_id: the id for a name of a model and engine; other values are returned as they are.
    """
    if "rows" not in found:
        return dict(found)
    rows, runtime, machine = found["rows"], found.get("runtime"), found.get("machine")
    if isinstance(rows, list):
        rows = [_shape(row, variant_id, None if place else runtime) for place, row in enumerate(rows)]
    settings = {name: found[name] for name in ("threads", "precision") if name in found}
    settings |= {"rounds": found["rounds"]} if found.get("rounds") else {}
    migrated = {name: value for name, value in found.items() if name not in _MOVED}
    migrated |= provenance | {"format": FORMAT, "settings": settings, "shapes": rows}
    if machine is not None:
        migrated["machine"] = dict(provenance.get("machine", {})) | machine if isinstance(machine, dict) else machine
    return migrated | ({"left_out": _left_out(found["skipped"], rows, variant_id)} if "skipped" in found else {})


def _shape(row: Any, variant_id: Callable[[Any], Any], runtime: Any) -> Any:
    """Data of a ``Shape``; ``runtime`` is what optkit's plan took of the model at it, None where that is not known."""
    if not isinstance(row, dict):
        return row
    shape = {name: value for name, value in row.items() if name not in _ROW}
    figures = {ours: _by_id(row.get(theirs), variant_id) for theirs, ours in _FIGURES.items()}
    times = figures.pop("milliseconds")
    if not isinstance(times, dict):
        return shape | {"rows": times}
    against, plain = variant_id(row.get("against")), variant_id(row.get("plain"))
    if against is None:
        against = next((own.id for own in (DENSE.on("openvino"), DENSE) if own.id in times), None)
    known, noisy = against is None or against in list(times), row.get("noisy", [])
    noisy = [variant_id(name) for name in noisy] if isinstance(noisy, list) else noisy
    rows = []
    for variant, milliseconds in times.items():
        own = {"variant": variant, "name": _label(variant), "milliseconds": milliseconds}
        own |= {"per_second": _per_second(row.get("batch"), milliseconds), "plain": variant == plain}
        own |= {"reference": variant == against if known else against}
        own |= {"noisy": variant in noisy if isinstance(noisy, list) else noisy}
        own |= {key: of.get(variant) if isinstance(of, dict) else of for key, of in figures.items()}
        own |= {"plan": runtime} if runtime is not None and _is_on_optkit(variant) else {}
        rows.append(own)
    return shape | {"rows": rows}


def _by_id(figures: Any, variant_id: Callable[[Any], Any]) -> Any:
    return {variant_id(name): value for name, value in figures.items()} if isinstance(figures, dict) else figures


def _variant(name: Any) -> Variant | None:
    try:
        return Variant.parse(name) if isinstance(name, str) else None
    except ValueError:
        return None


def _label(name: Any) -> Any:
    variant = _variant(name)
    return name if variant is None else variant.label


def _is_on_optkit(name: Any) -> bool:
    variant = _variant(name)
    return variant is not None and variant.engine == "optkit"


def _per_second(batch: Any, milliseconds: Any) -> float | None:
    """Examples a second; None where the values are no numbers, which the schema refuses by their own names."""
    try:
        return 1000.0 * batch / milliseconds
    except (TypeError, ZeroDivisionError, OverflowError):
        return None


def _left_out(skipped: Any, shapes: Any, variant_id: Callable[[Any], Any]) -> Any:
    """Data of ``LeftOut``. The exported model on optkit's runtime went by ``optkit`` alone."""
    if not isinstance(skipped, dict):
        return skipped
    rows = [row for shape in shapes for row in shape["rows"]] if _are_rows(shapes) else []
    timed = [variant for row in rows if (variant := _variant(row["variant"])) is not None]
    exported = next((own for own in timed if own.exported), Variant("pruned", "int8", "openvino"))
    found = []
    for name, why in skipped.items():
        variant = exported.on("optkit") if name == "optkit" else _variant(variant_id(name))
        found.append({"why": why} | ({"backend": name} if variant is None else {"variant": variant.id}))
    return found


def _are_rows(shapes: Any) -> bool:
    whole = isinstance(shapes, list) and all(isinstance(shape, dict) for shape in shapes)
    return whole and all(isinstance(shape["rows"], list) for shape in shapes)
