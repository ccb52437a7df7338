"""The table of times that an allocation by latency goes by: measured by the sparse runtime, or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from optkit import runtime
from optkit.allocation.choice import COSTS
from optkit.cpu import cpu_name
from optkit.errors import PruningError
from optkit.pruning.allocation.costs import CostTable, LayerCosts, falling
from optkit.pruning.targets import resolve_sites

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from optkit.allocation.trials import Trials
    from optkit.pipeline.context import RunContext
    from optkit.pruning.allocation.costs import CostTable, Shapes
    from optkit.pruning.config import Rule


@dataclass(frozen=True)
class LayerCalls:
    """What a layer, or the layers that its groups span, cost: the weights' shapes, and how often they are called."""

    shapes: Shapes
    calls: int


def layer_calls(context: RunContext, model: PreTrainedModel, rule: Rule) -> list[LayerCalls]:
    """The layers of ``model`` that ``rule`` matches, in its order; weights that are shared are called several times."""
    sites, calls = resolve_sites(model, rule)[0], {}
    with ExitStack() as hooks:
        for site in sites:
            layer = next(iter(site.layers.values()))
            count = lambda *_, name=site.name: calls.update({name: calls.get(name, 0) + 1})  # noqa: E731
            hooks.callback(layer.register_forward_hook(count).remove)
        with torch.inference_mode():
            model(**context.data.batches(1)[0])
    shapes = [tuple(tuple(layer.weight.shape) for layer in site.layers.values()) for site in sites]
    return [LayerCalls(own, calls.get(site.name, 1)) for site, own in zip(sites, shapes, strict=True)]


def read_table(context: RunContext, path: str, rule: Rule) -> CostTable:
    """The table in a file, held against the recipe.

    Raises:
        PruningError: if it cannot be read, or is of another structure or precision.
    """
    try:
        table = CostTable.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise PruningError(f"costs: {path}: {reason}: give the file that a run by latency wrote") from None
    except PruningError as error:
        raise PruningError(f"costs: {path}: {error}") from None
    precision = {True: "int8", False: "fp32"}
    for what, theirs, ours in (
        ("of", table.structure, str(rule.structure)),
        ("for", precision[table.int8], precision[context.recipe.quantize is not None]),
    ):
        if theirs != ours:
            raise PruningError(
                f"costs: {path}: its times are {what} {theirs}, and the recipe says {ours}: measure anew"
            )
    return table


def measure_table(
    context: RunContext, rule: Rule, sites: Sequence[LayerCalls], trials: Trials, points: Sequence[float]
) -> CostTable:
    """Times of a rule's layers at each of ``points``, on this machine, as parts of the whole model.

    By itself a layer costs more than in its place, where activations stay in the cache between one and the next. So
    all layers of a kind are timed at each sparsity within one model, whose other layers stay as they are.

    Args:
        sites: the layers that ``rule`` matches.
        points: sparsities above 0.

    Raises:
        OptkitError: if a model cannot be timed.
    """
    tried = 0.0, *points
    kinds, base = list(dict.fromkeys(site.shapes for site in sites)), len(tried) // 2
    middle = trials.counts([tried[base]] * len(sites))
    #: By kind, a model's time with the kind at each of ``tried``, over its time with all layers in the middle.
    shares: dict[Shapes, list[float]] = {}
    with context.reporter.task(f"{rule.name}: timing layers on this machine") as bar:
        for number, kind in enumerate(kinds):
            models = [
                trials.counts([sparsity if site.shapes == kind else tried[base] for site in sites])
                for sparsity in tried
            ]
            times = trials.on_kernels([middle, *models])
            shares[kind] = falling([time / times[0] for time in times[1:]])
            bar.advance(number + 1, len(kinds))
        found = trials.models([trials.counts([0.0] * len(sites)), middle])
    whole = 1000 * found.models[1]
    calls = {kind: sum(site.calls for site in sites if site.shapes == kind) for kind in kinds}
    layers = [
        LayerCosts(kind, tuple(whole * (share - own[-1]) / calls[kind] for share in own))
        for kind, own in shares.items()
    ]
    return CostTable(
        structure=str(rule.structure),
        int8=context.recipe.quantize is not None,
        batch=trials.shape[0],
        seq=trials.shape[1],
        threads=found.threads,
        cpu=cpu_name(),
        dense=1000 * found.reference,
        unpruned=1000 * found.models[0],
        rest=whole * (1 - sum(own[base] - own[-1] for own in shares.values())),
        sparsities=tried,
        layers=tuple(layers),
    )


def check_runtime() -> None:
    """Raises PruningError where nothing can be measured, with the way out."""
    if not runtime.available():
        raise PruningError(
            f"by latency measures with the sparse runtime, which is missing: {runtime.missing_reason()}; or give "
            f"`costs:` a table measured elsewhere, the {COSTS} of a run"
        )
