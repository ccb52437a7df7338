"""A learning rate that rewinds: it decays linearly and returns to its peak, as at each jump of a stepwise schedule.

A network that has just lost weights learns best at a high rate, and settles at a low one. Kurtic & Alistarh 2022, GMP*,
https://arxiv.org/abs/2210.06384, and Kurtic et al. 2022, oBERT, https://arxiv.org/abs/2203.07259, train so.

With a Trainer of your own::

    rewinds = rewind_steps("jumps", rules, total_steps, steps_per_epoch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    Trainer(..., optimizers=(optimizer, rewinding_lr(optimizer, rewinds, total_steps, floor=0.01)))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from optkit.errors import PruningError
from optkit.pruning.config import Rule, Span
from optkit.pruning.schedules import resolve


def rewound(step: int, *, rewinds: Sequence[int], total: int, warmup: int = 0, floor: float = 0.0) -> float:
    """The learning rate of the next optimizer step once ``step`` are done, as a share of its peak.

    Args:
        rewinds: the steps, above 0 and in order, at which it returns to its peak; the last cycle goes on to ``total``.
        warmup: steps over which it rises from 0 first; the first cycle decays after them.
        floor: the share of the peak that each cycle decays to.
    """
    if step < warmup:
        return step / warmup
    ends = [*rewinds, total]
    cycle = bisect_right(rewinds, step)
    start = rewinds[cycle - 1] if cycle else warmup
    length = ends[cycle] - start
    progress = min((step - start) / length, 1.0) if length > 0 else 1.0
    return floor + (1.0 - floor) * (1.0 - progress)


def rewinding_lr(
    optimizer: Optimizer, rewinds: Sequence[int], total: int, *, warmup: int = 0, floor: float = 0.0
) -> LambdaLR:
    """``rewound`` as a learning-rate scheduler: a function of the step alone, so it resumes where it stopped.

    Raises:
        PruningError: if the warm-up does not end before the first rewind.
    """
    rewinds = [step for step in rewinds if 0 < step < total]
    check_warmup(warmup, rewinds)
    return LambdaLR(optimizer, partial(rewound, rewinds=rewinds, total=total, warmup=warmup, floor=floor))


def check_warmup(warmup: int, rewinds: Sequence[int]) -> None:
    """Raises PruningError if a warm-up of so many steps does not end before the first of ``rewinds``."""
    if rewinds and warmup >= rewinds[0]:
        raise PruningError(
            f"the warm-up of {warmup} steps does not end before the learning rate is rewound at step {rewinds[0]}: "
            "shorten it"
        )


def rewind_steps(
    at: Literal["jumps"] | Span | str | int | float, rules: Sequence[Rule], total_steps: int, steps_per_epoch: float
) -> list[int]:
    """The optimizer steps at which the learning rate returns to its peak.

    Args:
        at: ``jumps``: where the stepwise schedules of ``rules`` ask for more; or the time between two rewinds, see
            ``Span.parse``.
        rules: those without a schedule have no say.

    Raises:
        PruningError: under ``jumps``, if a schedule is not stepwise, two jump at different steps, or there is none.
        ValueError: if ``at`` is no span.
    """
    if at != "jumps":
        every = max(Span.parse(at).steps(total_steps, steps_per_epoch), 1)
        return list(range(every, total_steps, every))
    jumps: list[tuple[str, list[int]]] = []
    for rule in rules:
        if rule.schedule is None:
            continue
        if rule.schedule.shape != "stepwise":
            raise PruningError(
                f"the learning rate is rewound at jumps, and the schedule of rule '{rule.name}' is "
                f"{rule.schedule.shape}: make it stepwise, or give the time between two rewinds"
            )
        table = resolve(rule.schedule, total_steps, steps_per_epoch).table()
        before = [0.0, *(target for _, target in table)]
        jumps.append((rule.name, [step for (step, target), last in zip(table, before) if target > last]))
    if not jumps:
        raise PruningError(
            "the learning rate is rewound at jumps, and no rule has a schedule: give the time between two rewinds"
        )
    (first, steps), *others = jumps
    for name, other in others:
        if other != steps:
            raise PruningError(
                f"the learning rate is rewound at jumps, and rules '{first}' and '{name}' jump at different steps: "
                "give them the same begin, end and jumps"
            )
    return steps
