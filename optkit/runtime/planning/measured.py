"""A plan by the clock: every different layer against OpenVINO's own, then whole models against each other.

Layers by themselves say which kernel serves each, and which are worth taking. What fusion saves between them, and what
a hand-over costs, shows only in the whole model, so a few plans are tried there; plain OpenVINO is always among them.
What does not answer as plain OpenVINO does is dropped, however fast it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError
from optkit.runtime.loading import compile_for_cpu
from optkit.runtime.planning.agreement import Agreement
from optkit.runtime.planning.applying import apply, compile_config
from optkit.runtime.planning.choosing import Cost, layer_plan, winners, with_neighbours
from optkit.runtime.planning.decompression import broken_layer
from optkit.runtime.planning.feeding import described, feeds, tokens_of
from optkit.runtime.planning.layers import layer_costs, work
from optkit.runtime.planning.machine import Machine
from optkit.runtime.planning.plan import Plan
from optkit.runtime.planning.timing import medians, turn
from optkit.runtime.program import Attention
from optkit.runtime.rewriting.rewrite import Rewrite
from optkit.runtime.rewriting.sites import LinearSite

if TYPE_CHECKING:
    import openvino

#: Seconds for the layers by themselves, and for all; what is under way is finished.
LAYERS, ALL = 4.0, 9.0
ROUNDS, SECONDS = 15, 1.5
#: Sequences on which answers are compared, at least: those of the timed batch, and more batches where it has fewer.
COMPARED = 4
#: A gain below this share is noise.
MARGIN = 0.03
#: All layers are tried first where, by themselves, they take at most so many times as long as those that gain.
ABOUT = 1.1
_PLAIN = "openvino"


@dataclass(frozen=True)
class _Running:
    """A plan with its model at work."""

    plan: Plan
    compiled: openvino.CompiledModel
    turn: Callable[[], None]


def measured_plan(
    model: openvino.Model,
    sites: Sequence[LinearSite],
    *,
    machine: Machine,
    core: openvino.Core,
    config: Mapping[Any, Any],
    shape: tuple[int, int] = (1, 128),
    decompression_rate: float = 1.0,
    dynamic: bool = False,
    attention: bool = True,
) -> tuple[Plan, openvino.CompiledModel] | None:
    """The fastest plan found for ``model`` at ``shape``, and the model that it compiled to.

    Args:
        model: plain; it is not changed.
        sites: its layers.
        core: that compiles.
        config: that the caller compiles with.
        shape: (batch, sequence length); halved in length until the model takes it.
        decompression_rate: that the IR's tags suggest for OpenVINO's own sparse path; 1 is off.
        dynamic: whether activations that the model does not quantize may be quantized as they come.
        attention: whether attention may become part of the programs.

    Returns:
        None if the model takes no inputs that can be made up.
    """
    end = time.perf_counter() + ALL
    plain = compile_for_cpu(core, model, config)
    started = _start(plain, model, shape)
    if started is None:
        return None
    turn_of, shape, arrays = started
    tokens = {site.matmul: shape[0] * shape[1] for site in sites} | tokens_of(model, shape)
    costs = layer_costs(sites, tokens, config, core, machine=machine, dynamic=dynamic, budget=LAYERS)
    threads = plain.get_property("INFERENCE_NUM_THREADS")

    def plan(taken: Sequence[bool], rate: float | None = None, but: str = "the model as a whole is faster so") -> Plan:
        layers = tuple(
            layer_plan(
                site,
                cost,
                take,
                say=partial(_say, how="estimated" if cost is not None and cost.estimated else "measured"),
                note=_note(site, cost, take, but),
            )
            for site, cost, take in zip(sites, costs, taken)
        )
        return Plan("measured", machine.isa, shape, threads, layers, "", attention, dynamic, rate)

    nothing = [False] * len(sites)
    plans = [plan(taken) for taken in _choices(costs, [work(site, tokens) for site in sites])]
    if machine.amx and decompression_rate < 1 and broken_layer(sites, decompression_rate) is None:
        plans.insert(1, plan(nothing, rate=decompression_rate))
    best = first = _Running(plan(nothing), plain, turn_of)
    times: dict[str, float] = {}
    dropped: list[str] = []
    if plans:
        compared = [arrays, *(feeds(model, shape, seed) for seed in range(1, -(-COMPARED // shape[0])))]
        agreement = Agreement(model, plain, compared, core=core, config=config, dynamic=dynamic)
    while plans:
        choice = plans.pop(0)
        try:
            rewritten, placed = apply(model, choice)
        except OptkitError as error:
            dropped.append(f"{_described(choice)}: it cannot be rewritten so: {error}")
            continue
        without = [replace(choice, attention=False)] if choice.attention and _holds_attention(placed) else []
        new, fault = _tried(core, rewritten, choice, config, arrays, agreement)
        if new is not None:
            turns = {_PLAIN: first.turn, "best": best.turn, "new": new.turn}
            if best is first:
                del turns["best"]
            found = medians(turns, rounds=ROUNDS, seconds=SECONDS)
            # Once more: what answers rightly at first may do so no longer.
            fault = agreement.fault(new.compiled)
        if fault or new is None:
            dropped.append(f"{_described(choice)}: {fault}")
            plans += without
        else:
            times = times or found
            if found["new"] < found.get("best", found[_PLAIN]) * (1 - MARGIN):
                best, times = new, found
                plans = [other for other in plans if other.attention] + without
        if time.perf_counter() > end:
            break
    if best is first and dropped and not times:
        best = first = replace(best, plan=plan(nothing, but="the model then answers otherwise"))
    said = _explained(best.plan, times, described(model, shape), nothing_taken=best is first, dropped=dropped)
    return said, best.compiled


def _tried(
    core: openvino.Core,
    rewritten: openvino.Model,
    choice: Plan,
    config: Mapping[Any, Any],
    arrays: list[Any],
    agreement: Agreement,
) -> tuple[_Running | None, str]:
    """The candidate at work, and what is wrong with its answers; None where that is so."""
    try:
        compiled = compile_for_cpu(core, rewritten, compile_config(config, choice))
    except OptkitError as error:
        return None, str(error)
    fault = agreement.fault(compiled)
    return (None, fault) if fault else (_Running(choice, compiled, turn(compiled, arrays)), "")


def _described(choice: Plan) -> str:
    if choice.decompression_rate is not None:
        return f"OpenVINO's own sparse path, rate {choice.decompression_rate:g}"
    return f"{len(choice.kernels)} of {len(choice.layers)} linear layers on the sparse runtime"


def _start(
    compiled: openvino.CompiledModel, model: openvino.Model, shape: tuple[int, int]
) -> tuple[Callable[[], None], tuple[int, int], list[Any]] | None:
    """A turn of the plain model, the shape that it takes, and what it is fed with."""
    batch, length = shape
    while length:
        try:
            arrays = feeds(model, (batch, length))
            run = turn(compiled, arrays)
            run()
            return run, (batch, length), arrays
        except (RuntimeError, ValueError, TypeError):
            length //= 2
    return None


def _choices(costs: Sequence[Cost | None], works: Sequence[int]) -> list[list[bool]]:
    """Sets of layers to take, the likeliest first; sets that differ in next to no work count as one.

    All layers are among them: where the sparsities of neighbours differ, what lies between ours and OpenVINO's can cost
    more than a dense layer loses on our kernels. They come first where single layers tell little: their times scatter,
    and each one that is left to OpenVINO cuts a program in two. Work is counted, since the time of a small layer may
    vanish in that of the call that it is timed with.

    Args:
        works: multiply-adds of each layer.
    """
    whole = sum(work for work, cost in zip(works, costs, strict=True) if cost is not None)

    def like(one: Sequence[bool], other: Sequence[bool]) -> bool:
        return sum(work for work, a, b in zip(works, one, other, strict=True) if a != b) < MARGIN * whole

    nothing: list[bool] = [False] * len(costs)
    choices: list[list[bool]] = []
    gaining, every = with_neighbours(costs), [cost is not None for cost in costs]
    order = (every, gaining) if _time(costs, every) <= ABOUT * _time(costs, gaining) else (gaining, every)
    for taken in (*order, winners(costs)):
        if any(taken) and not any(like(taken, other) for other in (nothing, *choices)):
            choices.append(taken)
    return choices


def _time(costs: Sequence[Cost | None], taken: Sequence[bool]) -> float:
    """Of the layers by themselves, those without costs left out."""
    pairs = ((cost, ours) for cost, ours in zip(costs, taken, strict=True) if cost is not None)
    return sum(cost.kernels[cost.kernel] if ours else cost.openvino for cost, ours in pairs)


def _holds_attention(placed: Rewrite) -> bool:
    return any(isinstance(step, Attention) for each in placed.programs for step in each.program.steps)


def _note(site: LinearSite, cost: Cost | None, taken: bool, but: str) -> str:
    """Why a layer is not taken; ``but`` where it gains by itself."""
    if cost is None:
        return "too little of the work to be timed" if site.supported else ""
    return "" if taken or cost.ratio >= 1 else but


def _explained(
    plan: Plan, times: Mapping[str, float], inputs: str, *, nothing_taken: bool, dropped: Sequence[str]
) -> Plan:
    """``plan`` with its sentence and its times."""
    where = f"at {inputs} on {plan.threads} threads"
    figures = f"{_say(times['new'], times[_PLAIN])} {where}" if times else ""
    if not nothing_taken:
        said = f"{_described(plan)}: {figures}"
    elif dropped and not times:
        said = "plain OpenVINO: nothing else gives its answers"
    else:
        said = f"plain OpenVINO: the sparse runtime does not gain here{', ' + figures if figures else ''}"
    if dropped:
        said += f"; dropped, since it does not run, or answer as plain OpenVINO does: {'; '.join(dropped)}"
    found = {"openvino": times[_PLAIN], "optkit": times["new"]} if times else {}
    return replace(plan, reason=said, milliseconds={name: round(value, 4) for name, value in found.items()})


def _say(ours: float, theirs: float, how: str = "measured") -> str:
    """Milliseconds with two digits at least, microseconds where they would begin with zeros."""
    unit, factor = ("ms", 1) if theirs >= 0.1 else ("us", 1000)
    digits = 2 if theirs * factor < 10 else 1
    return f"{how} {ours * factor:.{digits}f} {unit} against OpenVINO's {theirs * factor:.{digits}f}"
