"""One step of a plain training loop with a Pruner, for tests without a Trainer."""

from __future__ import annotations

import torch

from optkit.pruning.pruner import Pruner


def finish_step(pruner: Pruner, optimizer: torch.optim.Optimizer, step: int) -> bool:
    """What follows the backward pass: the pruner sees the gradients, the weights change, then the masks.

    Returns:
        whether masks changed.
    """
    pruner.observe()
    optimizer.step()
    optimizer.zero_grad()
    return pruner.update(step)
