"""The table of times that an allocation by latency goes by: measured with the sparse runtime here, or read from a file.

Nothing is trained for it. The dense model becomes the IR that the pruned one will be, and zeros are put into that.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import PruningError
from optkit.stages import allocate

if TYPE_CHECKING:
    from optkit.pruning.config import Rule
    from optkit.pruning.costs import CostTable, Shapes
    from optkit.stages.job import Job

#: Examples to quantize with: times do not depend on the ranges that they give.
CALIBRATION = 16
#: Where in the grid whole models are timed, besides the dense one, each with the same sparsity in all layers.
WHOLE = (0.5, 0.9)


@dataclass(frozen=True)
class Called:
    """What a layer, or the layers that its groups span, cost: the weights' shapes, and how often they are called."""

    shapes: Shapes
    calls: int


def called(job: Job, rule: Rule) -> list[Called]:
    """The layers that ``rule`` matches, in the model's order; weights that are shared are called several times."""
    import torch

    from optkit.pruning.targets import resolve_sites

    model = allocate.reference(job)
    sites, calls = resolve_sites(model, rule)[0], {}
    with ExitStack() as hooks:
        for site in sites:
            layer = next(iter(site.layers.values()))
            count = lambda *_, name=site.name: calls.update({name: calls.get(name, 0) + 1})  # noqa: E731
            hooks.callback(layer.register_forward_hook(count).remove)
        with torch.inference_mode():
            model(**job.batches(1)[0])
    shapes = [tuple(tuple(layer.weight.shape) for layer in site.layers.values()) for site in sites]
    return [Called(own, calls.get(site.name, 1)) for site, own in zip(sites, shapes, strict=True)]


def read_table(job: Job, path: str, rule: Rule) -> CostTable:
    """The table in a file, held against the recipe.

    Raises:
        PruningError: if it cannot be read, or is of another structure or precision.
    """
    from optkit.pruning.costs import CostTable

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
        ("for", precision[table.int8], precision[job.recipe.quantize is not None]),
    ):
        if theirs != ours:
            raise PruningError(
                f"costs: {path}: its times are {what} {theirs}, and the recipe says {ours}: measure anew"
            )
    return table


def measured_table(job: Job, folder: Path, rule: Rule, others: Sequence[Rule], points: Sequence[float]) -> CostTable:
    """Times of the layers that ``rule`` matches at each of ``points``, and of whole models, on this machine.

    Args:
        folder: for files that are gone afterwards.
        others: the recipe's other rules, on other layers; the whole models are timed with them applied.
        points: sparsities above 0.

    Raises:
        OptkitError: if the runtime is missing, or the model cannot be converted or timed.
    """
    import torch

    from optkit.benchmarking.engine import Setting
    from optkit.cpu import cpu_name
    from optkit.pruning import sensitivity
    from optkit.pruning.costs import CostTable, LayerCosts, falling, fit
    from optkit.pruning.targets import resolve_sites, resolve_targets
    from optkit.runtime.planning.sparsities import layer_times, model_times, with_zeros

    check_runtime()
    model, shape = allocate.reference(job), allocate.shape(job)
    config = Setting(torch.get_num_threads()).config()  # as the benchmark compiles
    sites, calls = resolve_sites(model, rule)[0], called(job, rule)
    tried = [0.0, *points]
    first = list(itertools.accumulate((len(site.layers) for site in sites), initial=0))

    def masks(number: int, sparsities: Sequence[float]) -> list[dict[str, np.ndarray]]:
        counts = sensitivity.counts_at(sites[number], rule, sparsities)
        made = sensitivity.keeps(rule, sites[number], first[number], counts)
        return [{f"{n}.weight": m.numpy() for n, m in zip(sites[number].layers, own, strict=True)} for own in made]

    timing = job.reporter.task(f"{rule.name}: timing layers on this machine")
    with timing as bar, tempfile.TemporaryDirectory(dir=folder) as temporary:
        matched = [name for each in (rule, *others) for name in resolve_targets(model, each)]
        dense, names = dense_ir(job, model, Path(temporary), [f"{name}.weight" for name in matched])
        sparse = _quantized(job, dense, names) if job.recipe.quantize else dense
        kinds: dict[Shapes, list[float]] = {}
        for number, site in enumerate(calls):
            if site.shapes not in kinds:
                each = masks(number, tried)
                alone = {names[parameter][0]: [own[parameter] for own in each] for parameter in each[0]}
                times = layer_times(sparse, alone, shape=shape, config=config)
                kinds[site.shapes] = falling(np.sum(list(times.values()), axis=0).tolist())
            bar.advance(number + 1, len(calls))
        levels = sorted({0, *(1 + round(where * (len(points) - 1)) for where in WHOLE)})
        wanted = [masks(number, [tried[level] for level in levels]) for number in range(len(sites))]
        sensitivity.prune_now(model, others)
        zeros = {
            f"{name}.weight": layer.weight.detach().numpy() != 0
            for other in others
            for name, layer in resolve_targets(model, other).items()
        }
        models = []
        for place in range(len(levels)):
            merged = zeros | {parameter: mask for own in wanted for parameter, mask in own[place].items()}
            by_matmul = {matmul: mask for parameter, mask in merged.items() for matmul in names[parameter]}
            models.append(with_zeros(sparse, by_matmul))
        options = {"shape": shape, "config": config, "reference_config": config}
        reference, found, threads = model_times(dense, models, **options)
    sums = [sum(kinds[site.shapes][level] * site.calls for site in calls) for level in levels]
    rest, scale = fit(sums, found)
    return CostTable(
        structure=str(rule.structure),
        int8=job.recipe.quantize is not None,
        batch=shape[0],
        seq=shape[1],
        threads=threads,
        cpu=cpu_name(),
        dense=1000 * reference,
        rest=1000 * rest,
        sparsities=tuple(tried),
        layers=tuple(LayerCosts(k, tuple(1000 * scale * time for time in times)) for k, times in kinds.items()),
    )


def dense_ir(job: Job, model: Any, folder: Path, required: Collection[str] = ()) -> tuple[Any, dict[str, list[str]]]:
    """``model`` as an fp32 IR, and the MatMuls of each linear layer's parameter; ``folder`` is needed while it is used.

    Raises:
        ExportError: if it cannot be converted, or a ``required`` parameter is in no MatMul.
    """
    from optkit.adapters import optimum, quiet
    from optkit.ir.io import read_model
    from optkit.ir.layers import linear_layers, map_parameters
    from optkit.ir.shapes import fix_image_size
    from optkit.pruning.callback import save_under_own_names
    from optkit.pruning.targets import linear_layers as torch_layers

    save_under_own_names(model)
    with quiet():
        model.save_pretrained(folder / "checkpoint")
        job.tokenizer.save_pretrained(folder / "checkpoint")
    optimum.convert(folder / "checkpoint", folder, task=job.task.export_task, seed=job.recipe.seed)
    ir = read_model(folder)
    fix_image_size(ir, folder)
    weights = {f"{name}.weight": layer.weight.detach().numpy() for name, layer in torch_layers(model).items()}
    names: dict[str, list[str]] = {}
    for matmul, parameter in map_parameters(linear_layers(ir), weights, required=required).items():
        names.setdefault(parameter, []).append(matmul)
    return ir, names


def _quantized(job: Job, ir: Any, names: dict[str, list[str]]) -> Any:
    from dataclasses import replace

    from optkit.export.quantization import quantize

    options = replace(job.recipe.quantize.build(), max_drop=None, sensitivity=False)
    parameters = {matmul: parameter for parameter, matmuls in names.items() for matmul in matmuls}
    return quantize(ir, job.calibration(CALIBRATION), options, parameters=parameters).model


def check_runtime() -> None:
    """Raises PruningError where nothing can be measured, with the way out."""
    from optkit import runtime

    if not runtime.available():
        raise PruningError(
            f"by latency measures with the sparse runtime, which is missing: {runtime.missing_reason()}; or give "
            f"`costs:` a table measured elsewhere, the {allocate.COSTS} of a run"
        )
