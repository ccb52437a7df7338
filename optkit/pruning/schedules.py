"""Target sparsity as a pure function of the optimizer step; see Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878.

Because nothing but the step enters, a run that is killed and resumed follows the same targets.
"""

from __future__ import annotations

from dataclasses import dataclass

from optkit.errors import PruningError
from optkit.pruning.config import Schedule


@dataclass(frozen=True)
class Steps:
    """A schedule resolved to optimizer steps of one training run."""

    schedule: Schedule
    begin: int
    end: int
    every: int

    def changes_at(self, step: int) -> bool:
        """Whether masks are recomputed once ``step`` optimizer steps are done."""
        if self.schedule.shape == "constant":
            return step == self.begin
        if self.schedule.shape == "stepwise":
            inside = self.begin < step <= self.end
            return step == self.begin or (inside and self._jumps(step) > self._jumps(step - 1))
        return step == self.end or (self.begin <= step < self.end and (step - self.begin) % self.every == 0)

    def target(self, step: int) -> float:
        """Sparsity once ``step`` optimizer steps are done, in [0, 1]; it changes only at ``changes_at`` steps."""
        if step < self.begin:
            return 0.0
        if step >= self.end or self.schedule.shape == "constant":
            return self.schedule.to
        initial, to = self.schedule.initial, self.schedule.to
        if self.schedule.shape == "stepwise":
            return initial + (to - initial) * self._jumps(step) / self.schedule.jumps
        step -= (step - self.begin) % self.every
        progress = (step - self.begin) / (self.end - self.begin)
        if self.schedule.shape == "exponential":
            decay = ((1.0 - to) / (1.0 - initial)) ** progress
            return min(initial + (1.0 - initial) * (1.0 - decay), to)  # rounding may step over a near target
        exponent = {"linear": 1, "cubic": 3}[self.schedule.shape]
        return to + (initial - to) * (1.0 - progress) ** exponent

    def _jumps(self, step: int) -> int:
        """How many jumps of a stepwise schedule are done at ``step``, in [begin, end] and begin < end."""
        return (step - self.begin) * self.schedule.jumps // (self.end - self.begin)

    def table(self) -> list[tuple[int, float]]:
        """Every (step, target) at which masks change, in order."""
        if self.schedule.shape == "constant":
            steps = [self.begin]
        elif self.schedule.shape == "stepwise":
            steps = [step for step in range(self.begin, self.end + 1) if self.changes_at(step)]
        else:
            steps = [*range(self.begin, self.end, self.every), self.end]
        return [(step, self.target(step)) for step in steps]


def resolve(schedule: Schedule, total: int, per_epoch: float) -> Steps:
    """Places ``schedule`` in a training of ``total`` optimizer steps, ``per_epoch`` of them an epoch.

    Raises:
        PruningError: if the target would not be reached by the last step.
    """
    begin, end = (span.steps(total, per_epoch) for span in (schedule.begin, schedule.end))
    if schedule.shape == "constant":
        end = begin
    if begin > end:
        raise PruningError(f"the schedule begins at step {begin}, after its end at step {end}: lower begin")
    if end > total:
        raise PruningError(
            f"the schedule ends at step {end}, after the training's last step {total}: lower end or train longer"
        )
    return Steps(schedule, begin, end, max(schedule.every.steps(total, per_epoch), 1))
