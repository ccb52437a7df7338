"""The speedup of the exported model over the dense one, from the benchmark of a report."""

from __future__ import annotations

from dataclasses import dataclass

from optkit.benchmark.result import BenchmarkResult, Shape
from optkit.variant import Variant


@dataclass(frozen=True)
class Speedup:
    """The dense model's time over the exported one's, at the same inputs in the same run.

    Attributes:
        ratio: how many times as fast.
        of, against: the variants.
        batch, seq: examples and tokens; ``seq`` is None for inputs that are no tokens.
        milliseconds: of ``of``, a batch.
        threads: of each engine.
        interval: of 95 % confidence around ``ratio``; None in reports that have medians alone.
        noisy: whether times scatter too widely to be reliable.
        inputs: a batch in words: ``1 x 128 tokens``.
        precision: that OpenVINO computed in.
        over_plain: how many times as fast as the same model in plain OpenVINO, with the interval; None where ``of`` is
            that, or it was not measured.
    """

    ratio: float
    of: Variant
    against: Variant
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
        """The reference with its precision: speedups compare only where these are the same."""
        return f"{self.against.label} in {self.precision}" if self.against.engine == "openvino" else self.against.label

    @property
    def gains(self) -> bool:
        """Whether it is faster by more than chance: the whole interval is above 1."""
        return (self.interval[0] if self.interval else self.ratio) > 1


def speedup(benchmark: BenchmarkResult | None, batch: int | None = None, seq: int | None = None) -> Speedup | None:
    """The speedup at a batch and length, any where they are None: the first that was measured; None if none was."""
    for shape in benchmark.shapes if benchmark else ():
        if batch not in (None, shape.batch) or seq not in (None, shape.seq):
            continue
        against, of = shape.against, exported(shape)
        if benchmark is not None and against is not None and of is not None:
            ratio, *interval = ratios(shape)[of]
            return Speedup(
                *(ratio, of, against, shape.batch, shape.seq, shape.milliseconds[of], benchmark.threads),
                interval=(interval[0], interval[1]) if interval else None,
                noisy=bool({of, against} & set(shape.noisy)),
                inputs=shape.inputs,
                precision=precision(benchmark),
                over_plain=tuple(shape.over_plain[of]) if of in shape.over_plain else None,
            )
    return None


def precision(benchmark: BenchmarkResult) -> str:
    """What OpenVINO computed in where no variant has the f32 hint; reports of the releases that do not say it are of
    models compiled with the hint.
    """
    return benchmark.precision or "f32"


def exported(shape: Shape) -> Variant | None:
    """The exported model that a speedup is of: on optkit's runtime if that was timed, else in plain OpenVINO."""
    timed = [own for own in shape.milliseconds if own.exported and not own.f32_hint]
    return next((own for engine in ("optkit", "openvino") for own in timed if own.engine == engine), None)


def ratios(shape: Shape) -> dict[Variant, tuple[float, ...]]:
    """How many times as fast as the reference each variant is, with its interval where rounds were kept.

    Returns:
        (ratio, low, high) by variant, or (ratio,) of medians; nothing without a reference.
    """
    times, against = shape.milliseconds, shape.against
    if against is None:
        return {}
    medians: dict[Variant, tuple[float, ...]] = {name: (times[against] / time,) for name, time in times.items()}
    return medians | {name: tuple(ratio) for name, ratio in shape.ratios.items() if name in times}


def reference_label(benchmark: BenchmarkResult, variant: Variant) -> str:
    """The label of a reference, with OpenVINO's precision where that is not f32."""
    low = variant.engine == "openvino" and not variant.f32_hint and precision(benchmark) != "f32"
    return variant.label + (f" at its default precision ({precision(benchmark)})" if low else "")


def ratio_text(ratio: float) -> str:
    """A ratio with its significant digits."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def ratio_with_interval(ratio: tuple[float, ...]) -> str:
    """A ratio and its interval, as tables have it."""
    ends = f" ({ratio_text(ratio[1])} to {ratio_text(ratio[2])})" if len(ratio) == 3 else ""
    return ratio_text(ratio[0]) + ends
