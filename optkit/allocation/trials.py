"""The model as the runtime will get it, before anything is trained: zeros are put into it, and it is timed.

Nothing is trained for it. The dense model becomes the IR that the pruned one will be. Speed depends on where the zeros
are and not on the other weights, and where they are within a layer hardly matters beside how many they are.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit.adapters import quiet
from optkit.allocation import choice
from optkit.benchmark.engines.base import Setting
from optkit.export import conversion
from optkit.ir.io import read_model
from optkit.ir.layers import linear_layers, map_parameters
from optkit.ir.shapes import fix_image_size
from optkit.pruning.allocation import sensitivity
from optkit.pruning.callback import save_under_own_names
from optkit.pruning.targets import linear_layers as torch_layers
from optkit.pruning.targets import resolve_sites, resolve_targets
from optkit.quantization.quantize import quantize
from optkit.runtime.planning.sparsities import kernel_times, model_times, with_zeros

if TYPE_CHECKING:
    import numpy as np
    import openvino
    from transformers import PreTrainedModel

    from optkit.pipeline.context import RunContext
    from optkit.pruning.config import Rule

#: Examples to quantize with: times do not depend on the ranges that they give.
CALIBRATION = 16


@dataclass(frozen=True)
class ModelTimes:
    """Milliseconds of the dense fp32 model in OpenVINO, and of models on the sparse runtime, with so many threads."""

    reference: float
    models: list[float]
    threads: int


class Trials:
    """Times of the layers that a rule matches, and of models with zeros in them, on this machine.

    Args:
        model: dense; its weights are not changed.
        rule: whose layers' zeros are tried.
        others: the recipe's other rules, on other layers, applied as far as they go to every model but the reference.
        folder: for files that are needed as long as this is.

    Raises:
        OptkitError: if the model cannot be converted.
    """

    def __init__(self, context: RunContext, model: PreTrainedModel, rule: Rule, others: Sequence[Rule], folder: Path):
        self._model, self._rule, self._others = model, rule, others
        self.shape = choice.shape(context)
        self._config = Setting(torch.get_num_threads()).config()  # as the benchmark compiles
        self._sites = resolve_sites(self._model, rule)[0]
        matched = [name for each in (rule, *others) for name in resolve_targets(self._model, each)]
        self._dense, self._matmuls = dense_ir(context, self._model, folder, [f"{name}.weight" for name in matched])
        self._sparse = _quantize(context, self._dense, self._matmuls) if context.recipe.quantize else self._dense

    def on_kernels(self, choices: Sequence[Sequence[int]]) -> list[float]:
        """Milliseconds of whole models, by turns, as ``models`` takes them, with all layers on the sparse runtime."""
        return kernel_times([self._with_zeros(counts) for counts in choices], shape=self.shape, config=self._config)

    def models(self, choices: Sequence[Sequence[int]]) -> ModelTimes:
        """Times whole models by turns.

        Args:
            choices: for each model, how many groups of each site are pruned.
        """
        models = [self._with_zeros(counts) for counts in choices]
        options = {"shape": self.shape, "config": self._config, "reference_config": self._config}
        return ModelTimes(*model_times(self._dense, models, **options))

    def counts(self, sparsities: Sequence[float]) -> list[int]:
        """How many groups of each site are pruned, at a sparsity for each."""
        each = zip(self._sites, sparsities, strict=True)
        return [sensitivity.counts_at(site, self._rule, [sparsity])[0] for site, sparsity in each]

    def _with_zeros(self, counts: Sequence[int]) -> openvino.Model:
        masks = dict(self._zeros_of_others)
        for number, count in enumerate(counts):
            masks |= self._masks(number, count)
        return with_zeros(self._sparse, {name: mask for own, mask in masks.items() for name in self._matmuls[own]})

    def _masks(self, number: int, count: int) -> dict[str, np.ndarray]:
        site, first = self._sites[number], self._first[number]
        masks = next(sensitivity.keeps(self._rule, site, first, [count]))
        return {f"{name}.weight": mask.numpy() for name, mask in zip(site.layers, masks, strict=True)}

    @cached_property
    def _first(self) -> list[int]:
        """Each site's first layer among those that the rule matched."""
        return list(itertools.accumulate((len(site.layers) for site in self._sites), initial=0))

    @cached_property
    def _zeros_of_others(self) -> dict[str, np.ndarray]:
        pruned = copy.deepcopy(self._model)
        sensitivity.prune_now(pruned, self._others)
        return {
            f"{name}.weight": layer.weight.detach().numpy() != 0
            for other in self._others
            for name, layer in resolve_targets(pruned, other).items()
        }


def dense_ir(
    context: RunContext, model: Any, folder: Path, required: Collection[str] = ()
) -> tuple[Any, dict[str, list[str]]]:
    """``model`` as an fp32 IR, and the MatMuls of each linear layer's parameter; ``folder`` is needed while it is used.

    Raises:
        ExportError: if it cannot be converted, or a ``required`` parameter is in no MatMul.
    """
    save_under_own_names(model)
    with quiet():
        model.save_pretrained(folder / "checkpoint")
        context.data.tokenizer.save_pretrained(folder / "checkpoint")
    conversion.convert(folder / "checkpoint", folder, task=context.task.export_task, seed=context.recipe.seed)
    ir = read_model(folder)
    fix_image_size(ir, folder)
    weights = {f"{name}.weight": layer.weight.detach().numpy() for name, layer in torch_layers(model).items()}
    names: dict[str, list[str]] = {}
    for matmul, parameter in map_parameters(linear_layers(ir), weights, required=required).items():
        names.setdefault(parameter, []).append(matmul)
    return ir, names


def _quantize(context: RunContext, ir: Any, names: dict[str, list[str]]) -> Any:
    options = replace(context.recipe.quantize.build(), max_drop=None, sensitivity=False)
    parameters = {matmul: parameter for parameter, matmuls in names.items() for matmul in matmuls}
    return quantize(ir, context.data.calibration(CALIBRATION), options, parameters=parameters).model
