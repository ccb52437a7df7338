"""How much the model's outputs feel a change of each linear layer's outputs, from gradients on calibration data.

To second order the loss changes by what the logits change, squared: the Gauss-Newton part of its Hessian. One backward
pass from one number per prediction tells it, here the margin of the predicted class over the others; labels are not
needed, and examples that the model is sure of count like others, while their gradients of the loss would be next to 0.

For an output i of a layer and a token t let g_ti be the gradient. As in K-FAC (Martens & Grosse 2015,
https://arxiv.org/abs/1503.05671) the expected square is split into a factor for each output and one for each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.oneshot.replay import Batch, run, without_padding

#: Share of a token's weight that is the same for all, so that layers of which few tokens matter see enough of them.
_EVEN = 0.5


@dataclass
class Importance:
    """Of one linear layer.

    Attributes:
        outputs: sum over tokens of squared gradients of each output, (out,).
        tokens: for each batch the sum over outputs of squared gradients of each token, (tokens,).
    """

    outputs: Tensor
    tokens: list[Tensor]

    def rows(self) -> Tensor:
        """The factor of each output (out,), with mean 1; none is below a thousandth."""
        mean = self.outputs.mean()
        return torch.where(mean > 0, self.outputs / mean, 1.0).clamp(min=1e-3)


def token_weights(layers: Sequence[Importance]) -> list[Tensor]:
    """The weight of each token for layers that share their inputs, for each batch (tokens,); their mean is 1."""
    shares = [[tokens / max(float(layer.outputs.sum()), 1e-30) for tokens in layer.tokens] for layer in layers]
    count = sum(len(tokens) for tokens in shares[0])
    return [_EVEN + (1.0 - _EVEN) * count * sum(batch) / len(layers) for batch in zip(*shares, strict=True)]


def margins(outputs: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """One number to take gradients of: the sum over all predictions of the batch, each with a random sign.

    A prediction is a row of each output called logits, and its number the margin of the highest; a model without any
    predicts each number of its first output. Random signs keep predictions for one example from cancelling out.

    Raises:
        PruningError: if the model has no such output.
    """
    named = dict(outputs.items()) if hasattr(outputs, "items") else {}
    found = [value for name, value in named.items() if name.endswith("logits") and isinstance(value, Tensor)]
    first = next(iter(named.values()), None) if named else outputs
    if not found and isinstance(first, tuple):
        first = first[0]
    if not found and not isinstance(first, Tensor):
        raise PruningError("the model's output holds no tensor to take gradients of: it must return logits or states")
    total: Any = 0.0
    for values in [_margin(logits) for logits in found] or [first]:
        mask = batch.get("attention_mask")
        if isinstance(mask, Tensor) and mask.shape == values.shape[:2]:
            values = values[mask.bool()]
        signs = torch.randint(0, 2, values.shape, generator=generator).mul_(2).sub_(1)
        total = total + (values.float() * signs.to(values.device)).sum()
    return total


def _margin(logits: Tensor) -> Tensor:
    """By how much the highest of ``logits`` (..., classes) exceeds the others together, (...); of one class, it."""
    if logits.shape[-1] == 1:
        return logits[..., 0]
    best = logits.argmax(dim=-1, keepdim=True)
    return logits.gather(-1, best)[..., 0] - logits.scatter(-1, best, -torch.inf).logsumexp(dim=-1)


@contextmanager
def gradients_of(model: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """Within it gradients reach the weights of ``layers``, and flow no further than they must; none is kept after."""
    wanted = {id(p) for layer in layers.values() for p in layer.parameters()}
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)
            parameter.grad = None


def importances(model: nn.Module, batches: Sequence[Batch], layers: Mapping[str, nn.Linear]) -> dict[str, Importance]:
    """One forward and one backward pass over all batches.

    Args:
        model: in evaluation mode.
        layers: linear layers of it, by name.
    """
    found = {name: Importance(torch.zeros(layer.out_features), []) for name, layer in layers.items()}
    seen: dict[str, list[Tensor]] = {}

    def watch(name: str, output: Tensor) -> None:
        place = len(seen.setdefault(name, []))
        seen[name].append(torch.zeros_like(output))
        output.register_hook(lambda gradient: seen[name].__setitem__(place, gradient))

    hooks = [
        layer.register_forward_hook(lambda module, args, output, name=name: watch(name, output))
        for name, layer in layers.items()
    ]
    generator = torch.Generator().manual_seed(0)
    try:
        with gradients_of(model, layers), torch.enable_grad():
            for batch in batches:
                seen.clear()
                margins(run(model, batch), batch, generator).backward()
                for name, gradients in seen.items():
                    squares = torch.cat([without_padding(g, batch) for g in gradients]).float().square()
                    found[name].tokens.append(squares.sum(dim=1))
                    found[name].outputs = found[name].outputs.to(squares.device) + squares.sum(dim=0)
                model.zero_grad(set_to_none=True)
    finally:
        for hook in hooks:
            hook.remove()
    return found
