"""What pruning asks of a criterion, and the answers of one that only looks at the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

State = dict[str, Tensor]


class Criterion:
    """Importance of weights. A criterion is a subclass: ``score``, and what it needs of the rest.

    Args:
        config: the criterion's dataclass of pruning/config.
    """

    #: What it has to be shown while training runs: "gradients", "inputs", both or nothing.
    watches: ClassVar[frozenset[str]] = frozenset()
    #: States that each process gathers from its own batches: they are averaged over processes at every optimizer step,
    #: before ``observe``. Floating-point numbers, such as sums and the counts that divide them.
    reduced: ClassVar[tuple[str, ...]] = ()
    #: Whether masked weights have to be watched as well, because it lets them return by itself.
    revives: ClassVar[bool] = False

    def __init__(self, config: Any):
        self.config = config

    @property
    def by_gradients(self) -> bool:
        """Whether it goes by gradients. One that is shown inputs takes of gradients only that a step ends."""
        return "gradients" in self.watches and "inputs" not in self.watches

    def state(self, weight: Tensor) -> State:
        """What it accumulates on a ``weight`` (out, in): tensors of any shape, by name. They are buffers of the model,
        saved in every checkpoint, and updated in place.
        """
        return {}

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        """Takes the gradient of the masked weight (out, in), once an optimizer step, just before it: accumulated,
        unscaled, clipped, and the same on every rank.
        """

    def observe_inputs(self, state: State, inputs: Tensor, count: Tensor | int) -> None:
        """Takes the layer's inputs (tokens, in) of each forward pass in training. ``count`` of them are real; where
        padding is known it is 0.0 and does not count.
        """

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        """Importance of each weight (out, in), higher stays. Where ``weight`` is masked it holds 0.0, unless the rule
        lets weights return. ``index`` is the layer's place among those the rule matched.
        """
        raise NotImplementedError

    def score_jointly(self, weight: Tensor, state: State, index: int, tile: tuple[int, int]) -> Tensor:
        """As ``score``, when tiles of adjacent (outputs, inputs) are removed together: each weight's share of what
        that costs, so that a group's importance is still a sum. Pruning calls this one.
        """
        return self.score(weight, state, index)

    def after_mask(self, weight: Tensor, state: State, before: Tensor, keep: Tensor) -> None:
        """May change ``weight`` (out, in) in place where it stays, to make up for what was removed just now.

        Args:
            before, keep: the masks (out, in) before and after, True where a weight stays.
        """


class GroupCriterion(Criterion):
    """A criterion that keeps scores of whole groups, whatever the structure. Its ``score`` of single weights then only
    says which weights of a group of ``n:m`` stay. States are buffers as those of single weights are.
    """

    def group_state(self, magnitudes: Tensor) -> State:
        """What it keeps of the groups of a site; ``magnitudes`` (groups,) sums the absolute weights that pruning each
        group removes, at the start. Like all that it takes these are float32.
        """
        raise NotImplementedError

    def observe_groups(self, state: State, products: Tensor, sizes: Tensor, alive: Tensor) -> None:
        """Takes the sums of weight * gradient and those of its absolute value over each group (groups,), of masked
        groups as well, once an optimizer step; ``alive`` says which are not masked, bool (groups,).
        """
        raise NotImplementedError

    def group_score(self, state: State) -> Tensor:
        """Importance of each group (groups,), higher stays."""
        raise NotImplementedError

    def choose(self, states: Sequence[State], share: float) -> list[Tensor] | None:
        """Which groups stay, before the schedule ends; None to have those with the lowest scores counted out.

        Args:
            states: of the sites whose groups are ranked together.
            share: of these groups that should be pruned now.

        Returns:
            a bool tensor (groups,) for each site, True where a group stays.
        """
        return None
