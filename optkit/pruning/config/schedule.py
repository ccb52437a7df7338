"""How fast: spans of training, and sparsity as a function of the optimizer step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Span:
    """A length of training: a share of it, a number of optimizer steps, or a number of epochs."""

    value: float
    unit: Literal["share", "steps", "epochs"]

    def __post_init__(self) -> None:
        if not self.value >= 0 or (self.unit == "share" and self.value > 1):
            raise ValueError(f"'{self}' is not a part of training: write 5%, a number of steps, or 1ep")

    @classmethod
    def parse(cls, value: str | int | float | Span) -> Span:
        """Reads ``"5%"`` and ``0.05`` (shares), ``200`` (optimizer steps), ``"1ep"`` or ``"0.5ep"`` (epochs)."""
        if isinstance(value, Span):
            return value
        if isinstance(value, bool):
            raise ValueError(f"'{value}' is not a part of training: write 5%, a number of steps, or 1ep")
        if isinstance(value, int):
            return cls(value, "steps")
        if isinstance(value, float):
            return cls(value, "share")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|ep)", str(value).strip())
        if not match:
            raise ValueError(f"'{value}' is not a part of training: write 5%, a number of steps, or 1ep")
        number = float(match[1])
        return cls(number / 100, "share") if match[2] == "%" else cls(number, "epochs")

    def steps(self, total: int, per_epoch: float) -> int:
        """The optimizer step this span ends at, given ``total`` steps of training and ``per_epoch`` steps an epoch."""
        length = {"share": self.value * total, "steps": self.value, "epochs": self.value * per_epoch}[self.unit]
        return round(length)

    def __str__(self) -> str:
        number = f"{self.value * 100:g}%" if self.unit == "share" else f"{self.value:g}"
        return number + "ep" if self.unit == "epochs" else number


SHAPES = ("cubic", "linear", "exponential", "stepwise", "constant")


@dataclass(frozen=True)
class Schedule:
    """Sparsity as a function of the optimizer step: from ``initial`` at ``begin`` to ``to`` at ``end``.

    Args:
        shape: ``cubic`` (fast first, slow last; Zhu & Gupta 2017), ``linear``, ``exponential`` (the same share of what
            is left at every change), ``stepwise`` (``jumps`` equal ones), or ``constant`` (``to`` from ``begin`` on).
        initial: sparsity at ``begin`` (``from`` in a recipe).
        to: sparsity at ``end`` and after.
        begin, end: spans of training; see ``Span.parse`` for what they may be given as.
        every: time between two changes of the masks, a span of at least one step; stepwise and constant change them at
            their jumps alone.
        jumps: of a stepwise schedule, evenly spaced and the last one at ``end``; 4 if None. Fewer leave more training
            to recover in after each. None for the other shapes.
    """

    shape: Literal["cubic", "linear", "exponential", "stepwise", "constant"] = "cubic"
    initial: float = 0.0
    to: float = 0.8
    begin: Span = Span(0.05, "share")
    end: Span = Span(0.7, "share")
    every: Span = Span(20, "steps")
    jumps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", Span.parse(self.begin))
        object.__setattr__(self, "end", Span.parse(self.end))
        object.__setattr__(self, "every", every_of(self.every))
        if self.shape not in SHAPES:
            raise ValueError(f"unknown schedule shape '{self.shape}': one of {', '.join(SHAPES)}")
        if not 0.0 <= self.initial <= self.to < 1.0:
            raise ValueError(f"sparsity must grow within [0, 1), got from {self.initial:g} to {self.to:g}")
        object.__setattr__(self, "jumps", jumps_of(self.shape, self.jumps))


def every_of(every: str | int | float | Span) -> Span:
    """The span between two changes of the masks; raises ValueError if it is none or nothing."""
    span = Span.parse(every)
    if span.value <= 0:
        raise ValueError(f"every must be at least 1 optimizer step, got {every}")
    return span


def jumps_of(shape: str, jumps: int | None) -> int | None:
    """How many jumps a schedule of ``shape`` makes when its rule says ``jumps``; None where the shape has none.

    Raises:
        ValueError: if there are fewer than 1, or the shape takes none.
    """
    if shape != "stepwise":
        if jumps is not None:
            raise ValueError(f"jumps belong to the shape stepwise, and this is {shape}: remove them")
        return None
    if jumps is not None and jumps < 1:
        raise ValueError(f"jumps must be at least 1, got {jumps}")
    return 4 if jumps is None else jumps
