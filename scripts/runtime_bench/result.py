"""What bench_runtime.py measured: a result of optkit's benchmark, and what is measured besides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from runtime_bench.engines import engine_of

from optkit.benchmark.result import BenchmarkResult, ModelFacts, Row, Settings, Shape
from optkit.json_types import Count, Number, Part, Positive, Size
from optkit.variant import VariantId


class RuntimeSettings(Settings):
    """How the models were made and compiled; ``isa`` is what the CPU was held to, by ``environment``."""

    size: str
    cases: list[str]
    weight_range: str
    plan: str
    static_shapes: bool = False
    isa: str | None = None
    environment: dict[str, str] = {}


class StoredModel(ModelFacts):
    """A model on disk. ``encoder_bytes`` are its constants but the embeddings; ``bake_seconds`` of optkit's alone."""

    encoder_bytes: Count
    embedding_bytes: Count
    bake_seconds: Number | None = None


class OperatorTimes(Part):
    """Milliseconds of one inference by kind of operator, and inside optkit's ``programs`` by kind of work."""

    variant: VariantId
    case: str
    batch: Size
    seq: Size
    milliseconds: Number
    operators: dict[str, Number]
    programs: dict[str, Number] = {}
    multiply_adds: Count | None = None
    multiply_adds_per_second: Positive | None = None

    @property
    def engine(self) -> str:
        return engine_of(self.variant)


class Peak(Part):
    """8-bit multiply-adds a second of one thread on data in its first-level cache."""

    isa: str
    multiply_adds_per_second: Positive


class ScheduledTime(Part):
    """What the engine's cost model expects of all programs of a model: no measurement.

    Attributes:
        threads: that there are; ``used`` take part.
        milliseconds: of one inference without OpenVINO's own operators, on a core of about 4 GHz.
    """

    case: str
    batch: Size
    seq: Size
    threads: Size
    used: Size
    milliseconds: Positive


class RuntimeResult(BenchmarkResult):
    """A ``BenchmarkResult`` in which the ``path`` of rows and models is the case."""

    settings: RuntimeSettings
    models: list[StoredModel] = []
    operators: list[OperatorTimes] = []
    peak: Peak | None = None
    schedules: list[ScheduledTime] = []

    @property
    def streams(self) -> int:
        return self.settings.streams or 1

    @property
    def case_rows(self) -> list[CaseRow]:
        """The rows of all shapes."""
        return [CaseRow(shape, row) for shape in self.shapes for row in shape.rows]


class CaseRow(NamedTuple):
    """One engine on the model of one case at one shape."""

    shape: Shape
    row: Row

    @property
    def engine(self) -> str:
        return engine_of(self.row.variant)

    @property
    def case(self) -> str:
        return self.row.path or ""

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference."""
        return self.row.ratio[0] if self.row.ratio else 1.0

    @property
    def over_fp32(self) -> float | None:
        """How many times as fast as OpenVINO on the fp32 IR of the dense model; None in results without it."""
        return self.row.over_plain[0] if self.row.over_plain else 1.0 if self.row.plain else None

    @property
    def ratio_quartiles(self) -> tuple[float, float]:
        low, high = self.row.ratio_quartiles or (1.0, 1.0)
        return low, high


def read(file: Path) -> RuntimeResult:
    """The result in a file of ``bench_runtime.py --json``.

    Raises:
        ValueError: if it holds none.
    """
    try:
        return RuntimeResult.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except (ValidationError, ValueError):
        raise ValueError(f"{file}: not written by --json of this bench_runtime.py: measure again") from None
