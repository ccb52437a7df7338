"""Which kernels could compute a layer, and which layers to take once their costs are known: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from optkit.runtime.planning.costs import stored_weights
from optkit.runtime.planning.plan import LayerPlan
from optkit.runtime.program import HEIGHTS, Kernel
from optkit.runtime.rewriting.sites import LinearSite

#: A layer that costs at most so much more than OpenVINO's is taken when a layer beside it is: what lies between the
#: two, and the trip of the activations through memory, is then saved.
NEAR = 1.25
CLEAR = 0.92
#: What a weight costs when it is gathered alone, in weights of a block.
GATHERING = 1.5
#: Lowest height of ``element`` blocks that the kernels compute as such.
TALL = 4
#: A kernel of higher blocks is offered if it stores at most so many times the weights of the one that stores fewest:
#: matrix units are about that much faster than the kernel of the finest blocks.
UNION = 8.0


@dataclass(frozen=True)
class Cost:
    """Of one layer with each kernel and in OpenVINO, in the same unit, whatever it is.

    Attributes:
        kernels: by kernel, the one to prefer first.
        openvino: OpenVINO's.
        estimated: whether it is the cost model's word where others were timed.
    """

    kernels: Mapping[Kernel, float]
    openvino: float
    estimated: bool = False

    @property
    def kernel(self) -> Kernel:
        """The cheapest; one of the first's name unless another is cheaper by more than ``CLEAR``: layers side by side
        then read the same, and share their quantized inputs. Of one name as well: times of single layers scatter, and
        the first stores fewest weights."""
        best: dict[str, Kernel] = {}
        for kernel, cost in self.kernels.items():
            if kernel.name not in best or cost < CLEAR * self.kernels[best[kernel.name]]:
                best[kernel.name] = kernel
        first, *others = best.values()
        return next((kernel for kernel in others if self.kernels[kernel] < CLEAR * self.kernels[first]), first)

    @property
    def ratio(self) -> float:
        """Of the cheapest kernel to OpenVINO."""
        return self.kernels[self.kernel] / max(self.openvino, 1e-12)


def candidates(site: LinearSite, dynamic: bool, heights: Sequence[int] = HEIGHTS) -> tuple[Kernel, ...]:
    """Kernels that can compute ``site``, the likelier first; none for a layer that the engine cannot.

    A kernel of higher blocks than its zeros come in computes the union of their rows. Of ``block4`` those that store
    fewest weights come first, and of as many, to a tenth, the highest: they store fewer indices.

    Args:
        dynamic: whether activations that the model does not quantize may be quantized as they come.
        heights: of blocks that have a kernel of their own. Others are computed as lower ones, and gain nothing.
    """
    if not site.supported:
        return ()
    element = Kernel("element", site.rows if site.rows >= TALL else 1)
    if site.quantization is None and not dynamic:
        return (element,)
    stored = {rows: stored_weights(site.shape, site.block4_densities, rows) for rows in heights}
    least = max(min(stored.values()), 1)
    order = sorted(heights, key=lambda rows: (round(stored[rows] / least, 1), -rows))
    blocks = [Kernel("block4", rows) for rows in order if stored[rows] <= UNION * least]
    scattered = site.density * GATHERING < site.block4_densities[1]
    return (element, *blocks) if scattered else (*blocks, element)


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
    blocks = {rows: round(share, 6) for rows, share in site.block4_densities.items()}
    shares = (round(site.density, 6), blocks[1], blocks, site.rows)
    if cost is None:
        return LayerPlan(*facts, *shares, None, f"OpenVINO: {note or site.reason or 'not asked for'}")
    kernel, ours = cost.kernel, cost.kernels[cost.kernel]
    left, figures = _left(site, kernel), say(ours, cost.openvino)
    if not taken:
        reason = f"OpenVINO: {kernel}, with {left}, {figures}{', but ' + note if note else ''}"
    else:
        beside = ", about equal, and it joins the layer beside it" if cost.ratio >= 1 else ""
        reason = f"{kernel}: {left}, {_gain(site, cost)}{figures}{beside}"
    return LayerPlan(*facts, *shares, kernel if taken else None, reason, _round(ours), _round(cost.openvino))


def _left(site: LinearSite, kernel: Kernel) -> str:
    """What is left of the weights, in the kernel's own grain."""
    if kernel.name == "block4":
        return f"{_percent(site.block4_densities[kernel.rows])} of {kernel.rows}x4 blocks left"
    return f"{_percent(site.density)} of the weights left"


def _gain(site: LinearSite, cost: Cost) -> str:
    """What a chosen kernel of higher blocks than the zeros come in gains over the finest that it was compared with."""
    kernel, shares = cost.kernel, site.block4_densities
    finest = min(
        (other for other in cost.kernels if other.name == "block4"), key=lambda other: other.rows, default=kernel
    )
    if kernel.name != "block4" or _percent(shares[finest.rows]) == _percent(shares[kernel.rows]):
        return ""
    times = cost.kernels[finest] / max(cost.kernels[kernel], 1e-12)
    return f"{times:.1f} times as fast as {finest.rows}x4 blocks, of which {_percent(shares[finest.rows])} are left, "


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _round(value: float) -> float:
    return float(f"{value:.4g}")
