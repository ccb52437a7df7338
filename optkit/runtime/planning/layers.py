"""What the linear layers of a model cost on this machine: each different one is cut out and timed by itself."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.ir.io import import_openvino
from optkit.runtime.loading import compile_for_cpu
from optkit.runtime.planning.choosing import Cost
from optkit.runtime.planning.machine import Machine
from optkit.runtime.planning.static import model_cost
from optkit.runtime.planning.timing import medians, turn
from optkit.runtime.program import Kernel
from optkit.runtime.rewriting.rewrite import rewrite
from optkit.runtime.rewriting.sites import LinearSite

if TYPE_CHECKING:
    import openvino

#: Densities whose ratio is below this are timed as one.
BUCKET = 1.3
ROUNDS, SECONDS = 15, 0.25
#: Of ``block4``, so many heights of blocks are timed at most: the best by the cost model, which is wrong by less than
#: ``DOUBT`` times where one kernel is compared with another.
TIMED_HEIGHTS, DOUBT = 3, 2.5
#: Milliseconds that any layer takes.
LEAST = 1e-3
_NAME = "layer"


def layer_costs(
    sites: Sequence[LinearSite],
    tokens: Mapping[str, int],
    config: Mapping[Any, Any],
    core: openvino.Core,
    *,
    machine: Machine,
    dynamic: bool,
    budget: float,
) -> list[Cost | None]:
    """Milliseconds of each layer with the likely kernels and in OpenVINO; None for layers that no kernel computes.

    Args:
        tokens: that go through each layer, by MatMul.
        machine: whose cost model says which kernels are likely.
        budget: seconds; for what they do not suffice for, layers with the least work, the cost model's word is scaled
            by what the last timed layer took. Where none was timed they get None.

    What a call of a model takes by itself is taken off.
    """
    groups: dict[tuple, list[int]] = {}
    for number, site in enumerate(sites):
        if kernels := likely(site, tokens[site.matmul], machine, dynamic):
            groups.setdefault((kernels, *_group(site, tokens[site.matmul], kernels)), []).append(number)
    costs: list[Cost | None] = [None] * len(sites)
    if not groups:
        return costs
    begun, call = time.perf_counter(), _call_time(config, core)
    by_work = sorted(groups.items(), key=lambda item: -sum(work(sites[n], tokens) for n in item[1]))
    timed: tuple[Cost, Cost] | None = None  # of one layer, and what the cost model says of it
    for (kernels, *_), numbers in by_work:
        site = sites[numbers[0]]
        modelled = model_cost(site, tokens[site.matmul], machine.isa, machine.amx, dynamic)
        if time.perf_counter() - begun <= budget:
            cost = _measure(site, kernels, tokens[site.matmul], config, core, dynamic, call)
            timed = cost, modelled
        elif timed is None:
            break
        else:
            cost = _scaled(modelled, kernels, *timed)
        for number in numbers:
            costs[number] = cost
    return costs


def _scaled(modelled: Cost, kernels: Sequence[Kernel], timed: Cost, reference: Cost) -> Cost:
    """What the cost model says of a layer, as milliseconds: by what a layer took that was ``timed``, and by what the
    model says of that one, ours and OpenVINO's each by itself.
    """
    ours = timed.kernels[timed.kernel] / reference.kernels[timed.kernel]
    times = {kernel: max(modelled.kernels[kernel] * ours, LEAST) for kernel in kernels}
    return Cost(times, max(modelled.openvino * timed.openvino / reference.openvino, LEAST), estimated=True)


def likely(site: LinearSite, tokens: int, machine: Machine, dynamic: bool) -> tuple[Kernel, ...]:
    """Kernels that are worth timing: those that the cost model does not rule out, the likelier first; none for a layer
    that no kernel computes.
    """
    cost = model_cost(site, tokens, machine.isa, machine.amx, dynamic)
    if cost is None:
        return ()
    near = [kernel for kernel, value in cost.kernels.items() if value <= DOUBT * min(cost.kernels.values())]
    blocks = sorted((kernel for kernel in near if kernel.name == "block4"), key=cost.kernels.__getitem__)
    return tuple(kernel for kernel in near if kernel not in blocks[TIMED_HEIGHTS:])


def _group(site: LinearSite, tokens: int, kernels: Sequence[Kernel]) -> tuple:
    """What layers that are timed as one, with ``kernels``, have in common."""
    shares = [site.density, *(site.block4_densities[each.rows] for each in kernels if each.name == "block4")]
    buckets = [round(math.log(max(share, 1e-3), BUCKET)) for share in shares]
    scaled = site.quantization is not None and site.quantization.channel_scale is not None
    facts = (site.shape, site.values.dtype.str, site.quantization is not None, scaled)
    return (*facts, tokens, *buckets)


def work(site: LinearSite, tokens: Mapping[str, int]) -> int:
    """Multiply-adds of the layer without its zeros."""
    return site.shape[0] * site.shape[1] * tokens[site.matmul]


def cut_out(site: LinearSite, tokens: int) -> openvino.Model:
    """The layer as a model of its own: (tokens, in) in, (tokens, out) out, quantized as it is."""
    openvino = import_openvino()
    ops = openvino.opset13
    data = ops.parameter([tokens, site.shape[1]], np.float32)
    value: Any = data
    if site.quantization is not None:
        if site.quantization.channel_scale is not None:
            value = ops.multiply(value, ops.constant(site.quantization.channel_scale.reshape(1, -1)))
        ends = [np.float32(site.quantization.low), np.float32(site.quantization.high)]
        value = ops.fake_quantize(value, *map(ops.constant, [*ends, *ends]), levels=256)
    weight = ops.constant(np.ascontiguousarray(site.values))
    if site.scales is not None:
        weight = ops.multiply(ops.convert(weight, "f32"), ops.constant(site.scales.reshape(-1, 1)))
    bias = ops.constant(np.full((1, site.shape[0]), 0.5, np.float32))
    value = ops.add(ops.matmul(value, weight, False, True, name=_NAME), bias)
    return openvino.Model([value], [data], _NAME)


def _call_time(config: Mapping[Any, Any], core: openvino.Core) -> float:
    """Milliseconds of a turn that computes nothing, which every timed layer takes besides its own."""
    openvino = import_openvino()
    data = openvino.opset13.parameter([1, 1], np.float32)
    empty = openvino.Model([openvino.opset13.relu(data)], [data], "empty")
    run = turn(compile_for_cpu(core, empty, config), [np.ones((1, 1), np.float32)])
    return medians({"empty": run}, rounds=100, seconds=SECONDS)["empty"]


def _measure(
    site: LinearSite,
    kernels: Sequence[Kernel],
    tokens: int,
    config: Mapping[Any, Any],
    core: openvino.Core,
    dynamic: bool,
    call: float,
) -> Cost:
    plain = cut_out(site, tokens)
    data = [np.random.default_rng(0).normal(size=(tokens, site.shape[1])).astype(np.float32)]
    turns = {"openvino": turn(compile_for_cpu(core, plain, config), data)}
    for kernel in kernels:
        model = plain.clone()
        rewrite(model, {_NAME: kernel}, attention=False, dynamic=dynamic)
        turns[str(kernel)] = turn(compile_for_cpu(core, model, config), data)
    measured = medians(turns, rounds=ROUNDS, seconds=SECONDS)
    times = {name: max(value - call, LEAST) for name, value in measured.items()}
    return Cost({kernel: times[str(kernel)] for kernel in kernels}, times["openvino"])
