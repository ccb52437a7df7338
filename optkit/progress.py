"""What a long job says while it works: bars on a terminal, plain lines elsewhere, all on stderr, nothing when quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

#: Seconds between two plain lines of one task.
EVERY = 10.0


class Reporter:
    """Says lines and shows tasks; the same calls whether anybody watches or not.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    @cached_property
    def console(self) -> Any:
        from rich.console import Console

        return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, line: Any) -> None:
        """Prints one line, or anything that rich can print."""
        if not self.quiet:
            self.console.print(line)

    @contextmanager
    def task(self, name: str) -> Iterator[Task]:
        """A task that is told how far it is, as far as that is known: until it is, the time that it takes is shown."""
        if self.quiet:
            yield Task()
        elif self.console.is_terminal:
            from rich.progress import (
                BarColumn,
                Progress,
                ProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            plain = partial(TextColumn, markup=False)
            columns: list[ProgressColumn] = [plain("{task.description}"), BarColumn(), plain("{task.fields[count]}")]
            columns += [TimeElapsedColumn(), plain("left"), TimeRemainingColumn(), plain("{task.fields[facts]}")]
            with Progress(*columns, console=self.console, transient=True) as bar:
                yield _Bar(bar, bar.add_task(name, total=None, facts="", count=""))
        else:
            lines = _Lines(name, self.console)
            with lines.heard():
                yield lines


class Task:
    """Progress of one task that nobody watches."""

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        """``done`` of ``total`` steps are done; ``facts`` are what is worth showing beside."""


class _Bar(Task):
    def __init__(self, bar: Any, number: Any):
        self.bar, self.number = bar, number

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        extra = {"facts": _format_facts(facts)} if facts else {}
        self.bar.update(self.number, completed=done, total=total, count=f"{done}/{total}", **extra)


class _Lines(Task):
    """Lines where there is no terminal: with each news worth showing, and now and then while there is none."""

    def __init__(self, name: str, console: Any):
        self.name, self.console = name, console
        self.begun = self.last = self.started = time.monotonic()
        self.first: int | None = None
        self.done, self.total, self.facts = 0, 0, ""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Says where the task is whenever nothing was said for a while."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(EVERY / 2):
                if time.monotonic() - self.last >= EVERY:
                    self._say(time.monotonic())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def advance(self, done: int, total: int, facts: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if self.first is None or done < self.done:
            self.first, self.begun = done, now
        self.done, self.total = done, total
        self.facts = f"  {_format_facts(facts)}" if facts else self.facts
        if facts and (now - self.last >= EVERY or done >= total):
            self._say(now)

    def _say(self, now: float) -> None:
        self.last = now
        if self.first is None:
            elapsed = f" {duration(now - self.started)} so far"
        else:
            pace = (now - self.begun) / max(self.done - self.first, 1)
            left = f", {duration(pace * (self.total - self.done))} left" if self.done > self.first else ""
            elapsed = f" {self.done}/{self.total}{left}{self.facts}"
        self.console.print(f"  {self.name}:{elapsed}")


#: For those whom nobody listens to.
SILENT = Reporter(quiet=True)


def _format_facts(facts: Mapping[str, float]) -> str:
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


def thread_count(count: int) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{count} thread{'s' * (count != 1)}"
