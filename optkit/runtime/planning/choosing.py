"""Which kernels could compute a layer, and which layers to take once their costs are known: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optkit.runtime.planning.plan import LayerPlan
from optkit.runtime.program import Kernel
from optkit.runtime.rewriting.sites import LinearSite

#: A layer that costs at most so much more than OpenVINO's is taken when a layer beside it is: what lies between the
#: two, and the trip of the activations through memory, is then saved.
NEAR = 1.25
CLEAR = 0.92
#: What a weight costs when it is gathered alone, in weights of a block.
GATHERING = 1.5
#: Lowest height of blocks that the kernels compute as such.
TALL = 4


@dataclass(frozen=True)
class Cost:
    """Of one layer with each kernel and in OpenVINO, in the same unit, whatever it is.

    Attributes:
        kernels: by kernel, the one to prefer first.
        openvino: OpenVINO's.
    """

    kernels: Mapping[Kernel, float]
    openvino: float

    @property
    def kernel(self) -> Kernel:
        """The cheapest; the first unless another is so by more than ``CLEAR``: layers side by side then have the same,
        and share their quantized inputs."""
        first, least = next(iter(self.kernels)), min(self.kernels, key=lambda kernel: self.kernels[kernel])
        return least if self.kernels[least] < CLEAR * self.kernels[first] else first

    @property
    def ratio(self) -> float:
        """Of the cheapest kernel to OpenVINO."""
        return self.kernels[self.kernel] / max(self.openvino, 1e-12)


def candidates(site: LinearSite, dynamic: bool) -> tuple[Kernel, ...]:
    """Kernels that can compute ``site``, the likelier first; none for a layer that the engine cannot.

    Args:
        dynamic: whether activations that the model does not quantize may be quantized as they come.
    """
    if not site.supported:
        return ()
    element = Kernel("element", site.rows if site.rows >= TALL else 1)
    if site.quantization is None and not dynamic:
        return (element,)
    scattered = site.density * GATHERING < site.block4_density
    return (element, Kernel("block4")) if scattered else (Kernel("block4"), element)


def winners(costs: Sequence[Cost | None]) -> list[bool]:
    """Layers whose kernel costs less than OpenVINO's own; those without costs never."""
    return [cost is not None and cost.ratio < 1 for cost in costs]


def with_neighbours(costs: Sequence[Cost | None]) -> list[bool]:
    """``winners``, and what is about equal beside them, however far such a chain goes.

    Args:
        costs: of layers in execution order.
    """
    taken = winners(costs)
    near = [cost is not None and cost.ratio <= NEAR for cost in costs]
    for order in (range(1, len(taken)), range(len(taken) - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for number in order:
            taken[number] = taken[number] or (near[number] and taken[number + step])
    return taken


def layer_plan(
    site: LinearSite, cost: Cost | None, taken: bool, *, say: Callable[[float, float], str], note: str = ""
) -> LayerPlan:
    """What a plan says of ``site``.

    Args:
        cost: None for a layer that was never in question; ``note`` is why.
        taken: whether the runtime computes it.
        say: puts two costs into words, ours and OpenVINO's.
    """
    facts = (site.matmul, tuple(site.shape), site.quantization is not None)
    shares = (round(site.density, 6), round(site.block4_density, 6), site.rows)
    if cost is None:
        return LayerPlan(*facts, *shares, None, f"OpenVINO: {note or site.reason or 'not asked for'}")
    kernel, ours = cost.kernel, cost.kernels[cost.kernel]
    left, figures = _left(site, kernel), say(ours, cost.openvino)
    if not taken:
        reason = f"OpenVINO: {_name(kernel)}, with {left}, {figures}{', but ' + note if note else ''}"
    else:
        beside = ", about equal, and it joins the layer beside it" if cost.ratio >= 1 else ""
        reason = f"{_name(kernel)}: {left}, {figures}{beside}"
    return LayerPlan(*facts, *shares, kernel if taken else None, reason, _round(ours), _round(cost.openvino))


def _name(kernel: Kernel) -> str:
    return kernel.name if kernel.rows == 1 else f"{kernel.name} of {kernel.rows}x{kernel.columns}"


def _left(site: LinearSite, kernel: Kernel) -> str:
    """What is left of the weights, in the kernel's own grain."""
    if kernel.name == "block4":
        return f"{site.block4_density:.0%} of 1x4 blocks left".replace("%", " %")
    return f"{site.density:.0%} of the weights left".replace("%", " %")


def _round(value: float) -> float:
    return float(f"{value:.4g}")
