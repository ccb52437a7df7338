"""What pruning asks of a criterion, and the answers of one that only looks at the weights."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

State = dict[str, Tensor]


class Criterion:
    """Importance of weights. A criterion is a subclass: ``score``, and what it needs of the rest.

    Args:
        config: the criterion's dataclass of pruning/config.py.
    """

    #: What it has to be shown while training runs: "gradients", "inputs", both or nothing.
    watches: ClassVar[frozenset[str]] = frozenset()
    #: Whether masked weights have to be watched as well, because it lets them return by itself.
    revives: ClassVar[bool] = False

    def __init__(self, config: Any):
        self.config = config

    def state(self, weight: Tensor) -> State:
        """What it accumulates on a ``weight`` (out, in): tensors of any shape, by name. They are buffers of the model,
        saved in every checkpoint, and updated in place.
        """
        return {}

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        """Takes the gradient of the masked weight (out, in), once an optimizer step, just before it: accumulated,
        unscaled, clipped, and the same on every rank.
        """

    def observe_inputs(self, state: State, inputs: Tensor) -> None:
        """Takes the layer's inputs (tokens, in) of each forward pass in training, without padding where it is known."""

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        """Importance of each weight (out, in), higher stays. Where ``weight`` is masked it holds 0.0, unless the rule
        lets weights return. ``index`` is the layer's place among those the rule matched.
        """
        raise NotImplementedError

    def after_mask(self, weight: Tensor, state: State, before: Tensor, keep: Tensor) -> None:
        """May change ``weight`` (out, in) in place where it stays, to make up for what was removed just now.

        Args:
            before, keep: the masks (out, in) before and after, True where a weight stays.
        """
