"""A plan by the cost model alone: the same on every machine that is asked for the same instruction set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optkit.runtime import extension
from optkit.runtime.planning.choosing import Cost, candidates, layer_plan, with_neighbours
from optkit.runtime.planning.costs import kernel_cost, openvino_cost
from optkit.runtime.planning.plan import Plan
from optkit.runtime.rewriting.sites import LinearSite


def static_plan(
    sites: Sequence[LinearSite],
    *,
    isa: str,
    amx: bool = False,
    shape: tuple[int, int] = (1, 128),
    tokens: Mapping[str, int] | None = None,
    dynamic: bool = False,
    attention: bool = True,
    everything: bool = False,
) -> Plan:
    """The plan that costs.py gives.

    Args:
        sites: of the model, in execution order.
        isa: the kernels' instruction set, such as ``avx2``.
        amx: whether OpenVINO has AMX, which makes its dense products faster.
        shape: (batch, sequence length) to plan for.
        tokens: that go through a layer at this shape, by MatMul; batch x length where it is not said.
        dynamic: whether activations that the model does not quantize may be quantized as they come.
        attention: whether attention may become part of the programs.
        everything: whether all layers that a kernel computes are taken, faster or not.
    """
    by_layer = tokens or {}
    costs = [model_cost(site, by_layer.get(site.matmul, shape[0] * shape[1]), isa, amx, dynamic) for site in sites]
    chosen = [cost is not None for cost in costs] if everything else with_neighbours(costs)
    layers = [layer_plan(*each, say=_say) for each in zip(sites, costs, chosen, strict=True)]
    count = sum(layer.kernel is not None for layer in layers)
    return Plan(
        mode="static",
        isa=isa,
        shape=shape,
        threads=None,
        layers=tuple(layers),
        reason=f"{count} of {len(layers)} linear layers on the sparse runtime, by the cost model for {isa}",
        attention=attention,
        dynamic=dynamic,
    )


def model_cost(site: LinearSite, tokens: int, isa: str, amx: bool, dynamic: bool) -> Cost | None:
    """Million cycles of one core of a layer with each kernel that can compute it, and in OpenVINO; None without one.

    Args:
        tokens: that go through the layer.
        isa, amx, dynamic: as in ``static_plan``.
    """
    kernels = candidates(site, dynamic, extension.instruction_set(isa).heights)
    if not kernels:
        return None
    facts = {"shape": site.shape, "tokens": tokens, "isa": isa, "amx": amx}
    facts["quantized"] = site.quantization is not None
    shares = {"density": site.density, "block4_densities": site.block4_densities}
    return Cost({kernel: kernel_cost(kernel, **facts, **shares) for kernel in kernels}, openvino_cost(**facts))


def _say(ours: float, theirs: float) -> str:
    unit, factor = ("million", 1) if theirs >= 1 else ("thousand", 1000)
    return f"about {ours * factor:.1f} {unit} cycles against OpenVINO's {theirs * factor:.1f}"
