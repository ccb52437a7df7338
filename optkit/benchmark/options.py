"""The options of a benchmark, and the check of their values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optkit.benchmark.backends import BACKENDS
from optkit.cpu import cpu_cores, physical_cores
from optkit.errors import UsageError

#: Tokens where no number is given.
SEQ = 128


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of a benchmark; defaults as on the command line.

    Attributes:
        backends: of ``BACKENDS``, in the order of rows; empty for all that can run.
        batch, seq: shapes; no ``seq`` stands for 128 tokens, fewer where the model takes fewer, and with ``texts`` for
            the longest that it takes.
        threads: of each engine; None for the physical cores that this process may use.
        streams: of throughput; None leaves them to the engine.
        duration: seconds of each engine at each shape.
        texts: a file with a text a line.
        against: the backend that ratios are against; None for the first that is named, or where none is for the first
            of openvino, openvino-int8 and any other that takes part.
        loads: whether to measure load time and memory, each in a process of its own.
        rounds: at most, but for texts; None for as many as ``duration`` takes.
        repeats: timed inferences of a turn of latency; None for as many as let all turns last about as long.
        limit: seconds of latency at a shape after which no further round begins, once there are enough for an interval.
    """

    backends: tuple[str, ...] = ()
    batch: tuple[int, ...] = (1,)
    seq: tuple[int, ...] = ()
    threads: int | None = None
    streams: int | None = None
    mode: Literal["latency", "throughput"] = "latency"
    duration: float = 5.0
    texts: Path | None = None
    against: str | None = None
    loads: bool = True
    rounds: int | None = None
    repeats: int | None = None
    limit: float | None = None

    def check(self) -> None:
        """Raises UsageError, with every fault, if a value is wrong."""
        found = [
            f"{option}: unknown backend '{name}', one of {', '.join(BACKENDS)}"
            for option, names in (("--backends", self.backends), ("--against", [self.against] if self.against else []))
            for name in names
            if name not in BACKENDS
        ]
        numbers = {"--batch": self.batch, "--seq": self.seq, "--threads": (self.threads,), "--streams": (self.streams,)}
        numbers |= {"rounds": (self.rounds,), "repeats": (self.repeats,)}
        found += [
            f"{o}: must be at least 1, got {n}" for o, own in numbers.items() for n in own if n is not None and n < 1
        ]
        if self.mode not in ("latency", "throughput"):
            found.append(f"--mode: '{self.mode}' is neither latency nor throughput")
        if not 0 < self.duration < float("inf"):
            found.append(f"--duration: must be more than 0 seconds, got {self.duration:g}")
        if self.threads is not None and self.threads > cpu_cores():
            found.append(f"--threads {self.threads}: this process may use {cpu_cores()} CPUs")
        if self.streams is not None and self.mode == "latency":
            found.append("--streams: latency has one inference at a time: leave it out, or --mode throughput")
        elif self.streams is not None and self.streams > (self.threads or physical_cores()):
            found.append(f"--streams {self.streams}: each needs a thread: give as many --threads")
        if self.texts is not None and len(self.seq) > 1:
            found.append("--texts: texts are cut to one length: give --seq one number")
        if not self.batch:
            found.append("--batch: give a number")
        if found:
            raise UsageError(found)
