"""Plans for callers: reads the model, takes a measured plan from the cache, and else makes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError, UsageError
from optkit.ir.tags import read_tags
from optkit.runtime import extension
from optkit.runtime.loading import holds_programs, new_core, read
from optkit.runtime.planning import cache
from optkit.runtime.planning.choosing import layer_plan
from optkit.runtime.planning.feeding import tokens_of
from optkit.runtime.planning.machine import detect
from optkit.runtime.planning.measured import measured_plan
from optkit.runtime.planning.plan import MODES, Plan
from optkit.runtime.planning.static import static_plan
from optkit.runtime.rewriting.sites import LinearSite, sites

if TYPE_CHECKING:
    import openvino


def make_plan(
    model: openvino.Model,
    mode: str,
    *,
    core: openvino.Core,
    config: Mapping[Any, Any] | None = None,
    shape: tuple[int, int] = (1, 128),
    isa: str | None = None,
    dynamic: bool = False,
    attention: bool = True,
    cached: bool = True,
) -> tuple[Plan, openvino.CompiledModel | None]:
    """The plan for ``model``, and what it compiled to where measuring has compiled it already.

    Args:
        model: plain; it is not changed.
        mode: ``measured`` or ``static``.
        core: that compiles what is measured.
        config: of OpenVINO, that the model is compiled with.
        shape: (batch, sequence length) to plan for.
        isa: instruction set that a static plan is for; None takes the one in use here.
        dynamic: whether activations that the model does not quantize may be quantized as they come.
        attention: whether attention may become part of the programs.
        cached: whether a measured plan is looked for, and kept, on disk.

    Raises:
        OptkitError: for an unknown mode or instruction set, or an instruction set with a measured plan.
    """
    if mode not in MODES:
        raise UsageError(f"unknown plan '{mode}': one of {', '.join(MODES)}")
    if isa is not None and mode == "measured":
        raise UsageError(f"a measured plan is for the kernels in use: leave isa='{isa}' out, or plan='static'")
    if len(shape) != 2 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise OptkitError(f"a plan's shape is (batch, sequence length), both positive, not {shape}")
    shape = (shape[0], shape[1])
    config, layers = dict(config or {}), sites(model)
    if not extension.available():
        return _without_extension(layers, mode, shape, dynamic), None
    machine = detect()
    options: dict[str, Any] = {"dynamic": dynamic, "attention": attention}
    if mode == "static":
        if isa is not None and isa not in (known := extension.compiled_isas()):
            raise UsageError(f"unknown instruction set '{isa}': the kernels are for {', '.join(known)}")
        other = isa is not None and isa != machine.isa
        return (
            static_plan(
                layers,
                isa=isa or machine.isa,
                amx=machine.amx and not other,
                shape=shape,
                tokens=tokens_of(model, shape),
                **options,
            ),
            None,
        )
    rate = _rate(model)
    name = cache.key(machine, layers, config, shape=shape, decompression_rate=rate, **options)
    plan = cache.read(name, layers) if cached else None
    if plan is not None:
        return plan, None
    measuring = {"machine": machine, "core": core, "config": config, "decompression_rate": rate}
    found = measured_plan(model, layers, shape=shape, **measuring, **options)
    if found is None:
        return static_plan(layers, isa=machine.isa, amx=machine.amx, shape=shape, **options), None
    if cached:
        cache.write(name, found[0])
    return found


def plan(
    model: str | Path | openvino.Model,
    mode: str = "measured",
    *,
    config: Mapping[Any, Any] | None = None,
    shape: tuple[int, int] = (1, 128),
    isa: str | None = None,
    dynamic: bool = False,
    attention: bool = True,
    cached: bool = True,
) -> Plan:
    """What ``compile_model`` would do with ``model``, and why; arguments as there and in ``make_plan``.

    Raises:
        OptkitError: if there is no IR, it is baked already, or an argument cannot be used.
    """
    core = new_core()
    if isinstance(model, (str, Path)):
        model = read(Path(model), core)
    if holds_programs(model):
        raise OptkitError(
            "the model is baked: what it runs was decided then; plan for the portable IR it was made from"
        )
    options: dict[str, Any] = {"config": config, "shape": shape, "isa": isa, "dynamic": dynamic}
    options["attention"] = attention
    return make_plan(model, mode, core=core, cached=cached, **options)[0]


def _rate(model: openvino.Model) -> float:
    """What the IR's tags suggest for OpenVINO's own sparse path; 1 where they do not, or cannot be used."""
    try:
        tags = read_tags(model)
    except OptkitError:
        return 1.0
    return tags.decompression_rate if tags else 1.0


def _without_extension(layers: list[LinearSite], mode: str, shape: tuple[int, int], dynamic: bool) -> Plan:
    said = f"plain OpenVINO: the sparse runtime is missing: {extension.missing_reason()}"
    how: dict[str, Any] = {"say": lambda ours, theirs: "", "note": "the sparse runtime is missing"}
    plans = tuple(layer_plan(site, None, False, **how) for site in layers)
    return Plan(mode, "", shape, None, plans, said, dynamic=dynamic)
