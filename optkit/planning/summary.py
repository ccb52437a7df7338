"""A recipe's plan as plain data and as text for the terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from optkit.progress import duration, size

if TYPE_CHECKING:
    from optkit.planning.estimate import Estimate


@dataclass(frozen=True)
class RulePlan:
    """What one rule matches. ``share`` is of all linear weights of the model; ``changes`` are (step, target) pairs.

    ``allocate`` is by what the layers' own sparsities are chosen, ``speedup`` what they shall reach together; with one,
    targets are shares of what is chosen.
    """

    name: str
    criterion: str
    structure: str
    scope: str
    layers: list[str]
    weights: int
    groups: int
    share: float
    changes: list[tuple[int, float]]
    allocate: str | None = None
    speedup: float | None = None


@dataclass
class Plan:
    """The plan of one recipe; ``estimate`` is None until something was measured. ``notes`` are lines on the rules,
    ``models`` on what of the models is not as they are stored, and ``answers`` says what the labels are taken for.
    """

    name: str
    examples: dict[str, int]
    labels: list[str]
    answers: str
    steps: int
    per_epoch: int
    baseline: str | None
    rules: list[RulePlan]
    rewinds: list[int] = field(default_factory=list)
    calibration: int = 0
    notes: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    estimate: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def render(self) -> Any:
        """The plan as something rich prints."""
        table = Table(title=f"plan of {self.name}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("rule", "criterion", "structure", "scope"):
            table.add_column(column, overflow="fold")
        for column in ("layers", "weights", "of linear", "to"):
            table.add_column(column, justify="right", no_wrap=True)
        lines = []
        for rule in self.rules:
            to = f"{rule.changes[-1][1]:.0%}" if rule.changes else "kept"
            to = f"{rule.speedup:g}x" if rule.speedup else to
            scope = f"by {rule.allocate}" if rule.allocate else rule.scope
            table.add_row(
                *(rule.name, rule.criterion, rule.structure, scope, str(len(rule.layers))),
                *(f"{rule.weights:,}", f"{rule.share:.0%}", to),
            )
            if rule.changes and self.steps:
                (first, low), (last, high) = rule.changes[0], rule.changes[-1]
                lines.append(
                    f"masks of {rule.name}: {len(rule.changes)} changes, {low:.1%} at step {first:,} to {high:.1%} at "
                    f"step {last:,}{' of what is allocated' if rule.speedup else ''}"
                )
        lines += self.notes
        counts = ", ".join(f"{name} {count:,}" for name, count in self.examples.items())
        answers = f"{self.answers}; " if self.answers else ""
        lines.append(f"examples: {counts}; {answers}baseline: {self.baseline or 'none'}")
        if self.steps:
            lines.append(f"training: {self.steps:,} optimizer steps, {self.per_epoch:,} an epoch")
        if self.calibration:
            what = "what `from` says, before the training" if self.steps else "no training"
            lines.append(f"one shot: {what}, {self.calibration:,} examples of the training split to go by")
        if self.rewinds:
            lines.append(f"learning rate: rewound at step {', '.join(f'{step:,}' for step in self.rewinds)}")
        lines += [f"note: {note}" for note in self.models]
        if self.estimate:
            e = self.estimate
            time = f"{e.step:.2f} s a step, {duration(e.seconds)} of training, " if self.steps else ""
            lines.append(f"estimate: {time}{size(e.memory)} of memory, {size(e.disk)} of disk")
        return Group(*([table] if self.rules else []), *lines)
