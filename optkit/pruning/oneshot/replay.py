"""What linear layers see, one after the other, in a model whose earlier layers change meanwhile.

Layer-wise methods want the inputs of each linear layer with all layers before it pruned already. Running the whole
model for each would cost the square of its depth. Here the repeated layers that are done are not run again: what the
last of them gave out is kept, and stands in for all of them. Nothing is assumed of how layers hand on their outputs.

Memory: the outputs of one transformer layer for all batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optkit.errors import PruningError

Batch = Mapping[str, Any]
#: Inputs that a model computes its loss from, and not its outputs.
LABELS = ("labels", "start_positions", "end_positions")


class _Reached(Exception):
    """Ends a forward pass of which the rest is not needed."""


def without_padding(values: Tensor, batch: Batch) -> Tensor:
    """``values`` (batch, seq, width) or (tokens, width) as (tokens, width), without padding where that is known."""
    mask = batch.get("attention_mask")
    if isinstance(mask, Tensor) and mask.shape == values.shape[:-1]:
        return values[mask.bool()]
    return values.reshape(-1, values.shape[-1])


def run(model: nn.Module, batch: Batch) -> Any:
    """The outputs of ``model`` for a batch, its labels left out."""
    return model(**{name: value for name, value in batch.items() if name not in LABELS})


class Replay:
    """Runs batches through a model, up to one stage after another.

    A *stage* is the linear layers that are given the same tensors (query, key and value are one). Stages come in the
    order in which the model is done with them.

    Args:
        model: in evaluation mode. The ``forward`` of its finished layers is replaced until ``close``.
        batches: inputs of the model by name.
        layers: those to watch, by name.
        repeated: modules that run one after the other, such as the layers of an encoder.

    Raises:
        PruningError: if a layer takes no part in the forward pass.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Sequence[Batch],
        layers: Mapping[str, nn.Module],
        repeated: Sequence[nn.Module] = (),
    ):
        self.model, self.batches, self.layers = model, batches, layers
        self._now, self._kept = 0, []
        calls = _Calls(layers, repeated)
        with calls:
            self._run(0)
        missing = next((name for name in layers if name not in calls.last), None)
        if missing is not None:
            raise PruningError(f"{missing} takes no part in the model's forward pass: exclude it")
        self._calls = calls
        #: What was put over a module's ``forward`` before, as accelerate does.
        self._skipped: dict[nn.Module, Callable | None] = {}
        self.stages = sorted(calls.stages(), key=lambda stage: calls.last[stage[0]])

    def inputs(self, stage: Sequence[str]) -> Iterator[Tensor]:
        """The inputs (tokens, in) of the layers of ``stage`` for each batch, padding left out.

        Layers before the stage must not change any more.
        """
        self._skip_before(self._calls.first[stage[0]])
        layer, wanted, seen = self.layers[stage[0]], self._calls.count[stage[0]], []

        def see(module: nn.Module, args: tuple) -> None:
            seen.append(without_padding(args[0], self.batches[self._now]))
            if len(seen) == wanted:
                raise _Reached

        handle = layer.register_forward_pre_hook(see)
        try:
            for index in range(len(self.batches)):
                seen.clear()
                self._run(index)
                yield torch.cat(seen)
        finally:
            handle.remove()

    def close(self) -> None:
        """Gives finished layers their ``forward`` back."""
        for module, own in self._skipped.items():
            del module.forward
            if own is not None:
                module.forward = own
        self._skipped, self._kept = {}, []

    def _skip_before(self, call: int) -> None:
        done = [module for module, end in self._calls.ends.items() if end <= call and module not in self._skipped]
        if not done:
            return
        outputs: list[Any] = []

        def keep(module: nn.Module, args: tuple, output: Any) -> None:
            outputs.append(output)
            raise _Reached

        handle = done[-1].register_forward_hook(keep)
        try:
            for index in range(len(self.batches)):
                self._run(index)
        finally:
            handle.remove()
        self._kept = outputs
        for module in done:
            # Those before the last give out what the last gave: nothing looks at it before the last does.
            self._skipped[module] = module.__dict__.get("forward")
            module.forward = lambda *args, **kwargs: self._kept[self._now]

    @torch.inference_mode()
    def _run(self, index: int) -> None:
        self._now = index
        try:
            run(self.model, self.batches[index])
        except _Reached:
            pass


class _Calls:
    """Watches one forward pass: at which of all calls each layer was called, and when each module had ended."""

    def __init__(self, layers: Mapping[str, nn.Module], repeated: Sequence[nn.Module]):
        self.layers, self.repeated = layers, repeated
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.count: dict[str, int] = {}
        #: Calls that came before a module's end, in the order of ends; not of modules that ran more than once.
        self.ends: dict[nn.Module, int] = {}
        self._inputs: dict[str, list[Tensor]] = {}
        self._total, self._again = 0, set()

    def __enter__(self) -> None:
        def see(name: str) -> Callable:
            return lambda module, args: self._see(name, args[0])

        self._hooks = [layer.register_forward_pre_hook(see(name)) for name, layer in self.layers.items()]
        self._hooks += [module.register_forward_hook(self._end) for module in self.repeated]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        for module in self._again:
            del self.ends[module]

    def _see(self, name: str, values: Tensor) -> None:
        self.first.setdefault(name, self._total)
        self._inputs.setdefault(name, []).append(values)
        self._total += 1
        self.last[name] = self._total
        self.count[name] = self.count.get(name, 0) + 1

    def _end(self, module: nn.Module, args: tuple, output: Any) -> None:
        if module in self.ends:
            self._again.add(module)
        self.ends[module] = self._total

    def stages(self) -> list[list[str]]:
        """Names of the layers that were given the same tensors."""
        stages: dict[tuple[int, ...], list[str]] = {}
        for name, given in self._inputs.items():
            stages.setdefault(tuple(map(id, given)), []).append(name)
        self._inputs = {}
        return list(stages.values())
