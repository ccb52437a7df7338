"""What a benchmark measured: the JSON format of `optkit bench --json` and of the benchmark in report.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from optkit.json_types import Count, Ends, Number, Part, Positive, Ratio, Size
from optkit.variant import Variant, VariantId

#: 3: rows name a variant; 2: OpenVINO computed at its default precision, where in 1 it had the f32 hint.
FORMAT: Literal[3] = 3
_T = TypeVar("_T")


class Row(Part):
    """One variant at one shape.

    Attributes:
        variant: see ``optkit.variant``.
        name: in tables.
        path: that the user named, where there was one; the case in scripts/bench_runtime.py.
        milliseconds: of an inference, the median; ``quartiles`` and the 95 % ``interval`` of the median.
        per_second: examples done in a second.
        reference: whether the ratios of this shape are against it.
        ratio: how many times as fast as the reference; None for the reference, and where there is none.
        plain: whether ``over_plain`` is against it.
        over_plain: how many times as fast as the exported model in plain OpenVINO.
        noisy: whether the figures scatter too widely to be reliable.
        rounds: seconds of an inference in each round.
        difference: of the outputs from those of the first row of the same model, as a share of the largest.
        p90, p99: milliseconds, of texts one at a time.
        streams, requests: of throughput.
        plan: of optkit, in a sentence.
        kernels: of optkit's plan: the number of linear layers by kernel, such as ``block4x8``, and by ``OpenVINO``.
    """

    variant: VariantId
    name: str
    path: str | None = None
    milliseconds: Positive
    quartiles: Ends | None = None
    interval: Ends | None = None
    per_second: Positive
    reference: bool
    ratio: Ratio | None = None
    ratio_quartiles: Ends | None = None
    plain: bool = False
    over_plain: Ratio | None = None
    noisy: bool = False
    rounds: list[Positive] = []
    difference: Annotated[float, Field(ge=0)] | None = None
    p90: Positive | None = None
    p99: Positive | None = None
    streams: Size | None = None
    requests: Size | None = None
    plan: str | None = None
    kernels: dict[str, Count] | None = None


class TextFacts(Part):
    """The texts of a file: how many there are, how many were timed in how many batches, their tokens, the padding."""

    texts: Size
    timed: Size
    batches: Size
    shortest: Count
    median: Count
    longest: Count
    padding: Annotated[float, Field(ge=0, le=1)]


class Shape(Part):
    """The rows at one shape; ``seq`` is None for images of so many ``pixels``, and for ``texts``."""

    batch: Size
    seq: Size | None
    pixels: str | None = None
    texts: TextFacts | None = None
    rows: list[Row]

    @property
    def inputs(self) -> str:
        """A batch in words: ``1 x 128 tokens``, ``8 texts at a time, 3 to 40 tokens``, ``1 x 3 x 224 x 224 pixels``."""
        if self.texts is not None:
            plural = "s" if self.batch > 1 else ""
            return f"{self.batch} text{plural} at a time, {self.texts.shortest} to {self.texts.longest} tokens"
        if self.pixels is not None:
            return f"{self.batch} x {self.pixels} pixels"
        return f"{self.batch} x {self.seq} tokens" if self.seq else f"batch {self.batch}"

    @property
    def against(self) -> Variant | None:
        """The variant that ratios are against."""
        return next((row.variant for row in self.rows if row.reference), None)

    @property
    def plain(self) -> Variant | None:
        """The exported model in plain OpenVINO."""
        return next((row.variant for row in self.rows if row.plain), None)

    @property
    def milliseconds(self) -> dict[Variant, float]:
        """By variant, as of all that follows; for results in which each variant has one row."""
        return {row.variant: row.milliseconds for row in self.rows}

    @property
    def quartiles(self) -> dict[Variant, list[float]]:
        return self._given(lambda row: row.quartiles)

    @property
    def ratios(self) -> dict[Variant, list[float]]:
        return self._given(lambda row: row.ratio)

    @property
    def over_plain(self) -> dict[Variant, list[float]]:
        return self._given(lambda row: row.over_plain)

    @property
    def noisy(self) -> list[Variant]:
        return [row.variant for row in self.rows if row.noisy]

    @property
    def per_second(self) -> dict[Variant, float]:
        return {row.variant: row.per_second for row in self.rows}

    def _given(self, of: Callable[[Row], _T | None]) -> dict[Variant, _T]:
        found = {row.variant: of(row) for row in self.rows}
        return {variant: value for variant, value in found.items() if value is not None}

    @model_validator(mode="after")
    def _has_one_reference(self) -> Shape:
        references = sum(row.reference for row in self.rows)
        if references > 1 or (not references and any(row.ratio for row in self.rows)):
            raise ValueError(f"rows has {references} references: ratios are against one row")
        return self


class Load(Part):
    """Seconds that a model takes to load, and the most bytes that the process held, with and before the model."""

    seconds: Positive
    all: list[Positive]
    imports: Count | None = None
    peak: Count | None = None


class ModelFacts(Part):
    """One model that was timed; ``bytes`` and ``load`` where its files are known and loading was measured."""

    variant: VariantId
    name: str
    path: str | None = None
    source: str | None = None
    exported: bool = False
    bytes: Count | None = None
    load: Load | None = None


class LeftOut(Part):
    """A backend that cannot run the model of a path, or a variant that cannot be measured, and why."""

    why: str
    path: str | None = None
    backend: str | None = None
    variant: VariantId | None = None


class Settings(Part):
    """The settings of all rows; ``precision`` is OpenVINO's default, in which rows without the f32 hint compute."""

    mode: Literal["latency", "throughput"] = "latency"
    threads: Size
    streams: Size | None = None
    duration: Positive | None = None
    rounds: Size | None = None
    repeats: Size | None = None
    limit: Positive | None = None
    texts: str | None = None
    precision: str | None = None


class Machine(Part):
    """A machine, as far as figures depend on it, see ``optkit.machine``."""

    cpu: str
    cores: Size | None = None
    physical_cores: Size | None = None
    system: str = "an unknown system"
    instruction_sets: list[str] = []


class BenchmarkMachine(Machine):
    """Where a benchmark ran; ``load`` and ``steal`` are of a ``LoadMonitor``."""

    cpu: str = "an unknown CPU"
    load: list[Number] = []
    steal: Number | None = None


class BenchmarkResult(Part):
    """Everything that one benchmark measured."""

    format: Literal[3] = FORMAT
    command: str = ""
    settings: Settings
    machine: BenchmarkMachine = BenchmarkMachine()
    versions: dict[str, str] = {}
    models: list[ModelFacts] = []
    left_out: list[LeftOut] = []
    shapes: list[Shape]
    warnings: list[str] = []

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self.model_dump(mode="json")

    @property
    def threads(self) -> int:
        """Of each engine."""
        return self.settings.threads

    @property
    def rounds(self) -> int:
        """Of the shape that had the fewest."""
        counted = min((len(row.rounds) for shape in self.shapes for row in shape.rows), default=0)
        return counted or self.settings.rounds or 0

    @property
    def precision(self) -> str | None:
        """What OpenVINO computed in by default; None in results of releases that did not record it."""
        return self.settings.precision

    @property
    def runtime(self) -> str | None:
        """optkit's plan for the first shape, in a sentence; None where there is none."""
        return next((row.plan for shape in self.shapes for row in shape.rows if row.plan), None)
