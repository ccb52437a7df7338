"""How many times as fast as the dense model an exported one is, from what stage `benchmark` left in a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What a speedup may be against, and what it may be of: the first of them that was measured.
DENSE = ("dense openvino", "dense torch")
#: The exported model in plain OpenVINO, the other thing that anybody would run.
PLAIN = ("int8 openvino", "openvino")
EXPORTED = ("int8 optkit", "optkit", "int8 openvino", "openvino")
_ENGINES = {
    "dense torch": "dense, PyTorch",
    "dense openvino": "dense, OpenVINO",
    "dense openvino f32": "dense, OpenVINO with the f32 hint",
    "pruned torch": "pruned, PyTorch",
    "compact torch": "compacted, PyTorch",
    "int8 openvino": "int8, OpenVINO",
    "int8 openvino f32": "int8, OpenVINO with the f32 hint",
    "openvino": "fp32 IR, OpenVINO",
    "openvino f32": "fp32 IR, OpenVINO with the f32 hint",
    "int8 optkit": "int8, optkit",
    "optkit": "fp32 IR, optkit",
}


@dataclass(frozen=True)
class Speedup:
    """The dense model's time over the exported one's, at the same inputs in the same run.

    Attributes:
        ratio: how many times as fast.
        of, against: the engines.
        batch, seq: examples and tokens; ``seq`` is None for inputs that are no tokens.
        milliseconds: of ``of``, a batch.
        threads: of each engine.
        interval: of 95 % confidence around ``ratio``; None in reports that have medians alone.
        noisy: whether times were spread too widely to tell.
        inputs: a batch in words: ``1 x 128 tokens``.
        precision: that OpenVINO computed in.
        over_plain: how many times as fast as the same model in plain OpenVINO, with the interval; None where ``of`` is
            that, or it was not measured.
    """

    ratio: float
    of: str
    against: str
    batch: int
    seq: int | None
    milliseconds: float
    threads: int
    interval: tuple[float, float] | None = None
    noisy: bool = False
    inputs: str = ""
    precision: str = "f32"
    over_plain: tuple[float, ...] | None = None

    @property
    def reference(self) -> str:
        """What it is against, with its precision: two speedups compare where these are the same."""
        return f"{self.against} in {self.precision}" if self.against.endswith("openvino") else self.against

    @property
    def gains(self) -> bool:
        """Whether it is faster beyond what was measured by chance."""
        return (self.interval[0] if self.interval else self.ratio) > 1


def speedup(benchmark: Mapping[str, Any] | None, batch: int | None = None, seq: int | None = None) -> Speedup | None:
    """The speedup at a batch and length, the first that was measured where they are None; None if none was."""
    measured = benchmark or {"rows": []}
    for row in measured["rows"]:
        times, against = row["milliseconds"], reference(row)
        of = next((name for name in EXPORTED if name in times), None)
        if (batch, seq) != (None, None) and (row["batch"], row["seq"]) != (batch, seq):
            continue
        if against is not None and of is not None:
            ratio, *interval = ratios(row)[of]
            return Speedup(
                *(ratio, of, against, row["batch"], row["seq"], times[of], measured["threads"]),
                interval=(interval[0], interval[1]) if interval else None,
                noisy=bool({of, against} & set(row.get("noisy", ()))),
                inputs=inputs(row),
                precision=precision(measured),
                over_plain=tuple(row["over_plain"][of]) if of in row.get("over_plain", {}) else None,
            )
    return None


def precision(benchmark: Mapping[str, Any]) -> str:
    """What OpenVINO computed in where no engine's name says another; reports of the releases that do not say it are of
    models compiled with the f32 hint.
    """
    return benchmark.get("precision", "f32")


def reference(row: Mapping[str, Any]) -> str | None:
    """The engine that a row's ratios are against."""
    return row.get("against") or next((name for name in DENSE if name in row["milliseconds"]), None)


def ratios(row: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """How many times as fast as the reference each engine is, with its interval where rounds were kept.

    Returns:
        (ratio, low, high) by engine, or (ratio,) of medians; nothing without a reference.
    """
    times, against = row["milliseconds"], reference(row)
    if against is None:
        return {}
    found = {name: (times[against] / time,) for name, time in times.items()}
    return found | {name: tuple(ratio) for name, ratio in row.get("ratios", {}).items() if name in times}


def per_second(row: Mapping[str, Any]) -> dict[str, float]:
    """Inferences of each engine in a second, one batch at a time."""
    return {name: row["batch"] * 1000.0 / time for name, time in row["milliseconds"].items()}


def inputs(row: Mapping[str, Any]) -> str:
    """A batch of a row in words."""
    if row.get("pixels"):
        return f"{row['batch']} x {row['pixels']} pixels"
    return f"{row['batch']} x {row['seq']} tokens" if row["seq"] else f"batch {row['batch']}"


def engine(name: str, *, dense: bool = True) -> str:
    """What a reader knows an engine by; ``dense`` is whether what was pruned began dense here."""
    said = _ENGINES.get(name, name)
    return said if dense else said.replace("dense", "baseline").replace("pruned", "checkpoint")


def reference_engine(benchmark: Mapping[str, Any], name: str, *, dense: bool = True) -> str:
    """``engine`` of what others are held against, with OpenVINO's precision where that is not f32."""
    low = name in ("dense openvino", *PLAIN) and precision(benchmark) != "f32"
    return engine(name, dense=dense) + (f" at its default precision ({precision(benchmark)})" if low else "")


def times(ratio: float) -> str:
    """A ratio with as many digits as mean something."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def span(ratio: tuple[float, ...]) -> str:
    """A ratio and its interval, as tables have it."""
    return times(ratio[0]) + (f" ({times(ratio[1])} to {times(ratio[2])})" if len(ratio) == 3 else "")
