"""What a long job says while it works: bars on a terminal, plain lines elsewhere, all on stderr, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Seconds between two plain lines of one task.
EVERY = 10.0


class Reporter:
    """Says lines and shows tasks; the same calls whether anybody watches or not.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False):
        from rich.console import Console

        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, line: Any) -> None:
        """Prints one line, or anything that rich can print."""
        if not self.quiet:
            self.console.print(line)

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """A task with a number of steps that is told as it goes."""
        if self.quiet:
            yield Task()
        elif self.console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, TextColumn("{task.fields[facts]}"), console=self.console, transient=True) as bar:
                yield _Bar(bar, bar.add_task(name, total=None, facts=""))
        else:
            yield _Lines(name, self.console)


class Task:
    """Progress of one task that nobody watches."""

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        """``done`` of ``total`` steps are done; ``facts`` are what is worth showing beside."""


class _Bar(Task):
    def __init__(self, bar: Any, number: Any):
        self.bar, self.number = bar, number

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        extra = {"facts": _shown(facts)} if facts else {}
        self.bar.update(self.number, completed=done, total=total, **extra)


class _Lines(Task):
    def __init__(self, name: str, console: Any):
        self.name, self.console = name, console
        self.begun = self.last = time.monotonic()
        self.first: int | None = None

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.begun = done, now
        if not facts or (now - self.last < EVERY and done < total):
            return
        self.last = now
        pace = (now - self.begun) / max(done - self.first, 1)
        left = f", {duration(pace * (total - done))} left" if done > self.first else ""
        self.console.print(f"  {self.name}: {done}/{total}{left}  {_shown(facts)}")


def _shown(facts: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in facts.items())


def duration(seconds: float) -> str:
    """Seconds in words short enough for a line: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes in words: ``1.5 MB``, decimal units."""
    units = ("B", "kB", "MB", "GB")
    power = min(len(units) - 1, max(0, len(f"{count:.0f}") - 1) // 3)
    return f"{count / 1000**power:.{bool(power):d}f} {units[power]}"
