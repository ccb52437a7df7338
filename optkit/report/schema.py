"""What report.json holds: one typed model that every page, the card and the comparisons of runs read.

``optkit.report.reading`` reads the reports of all releases; keys that a newer one added are kept. The same model as a
JSON schema is in ``report.schema.json``, which ``scripts/report_schema`` writes.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import model_validator

from optkit.benchmark.result import BenchmarkResult, Machine, Shape
from optkit.json_types import Count, Ends, Number, Part
from optkit.report.figures import CostTable, Evaluation, FrontierFacts, Gain, Layer, Sparsity
from optkit.report.migrations import FORMAT
from optkit.report.stage_facts import Allocation, Compaction, Export, Origin, SparseFolder, Task, Training
from optkit.variant import VariantId


class Provenance(Part):
    """The machine and the versions of packages that a stage ran with; None where it did not record them."""

    machine: Machine | None = None
    versions: dict[str, str] | None = None


class Facts(Part):
    """What the stages of a run found out."""

    format: int = FORMAT
    name: str = ""
    description: str = ""
    recipe_hash: str = ""
    resolved_recipe: str = ""
    seed: int = 0
    origin: Origin = Origin()
    task: Task
    models: list[str] = []
    quantized: bool = False
    evaluate: Evaluation
    sparsity: dict[str, Sparsity]
    bytes: dict[str, Count] = {}
    folders: dict[str, str] = {}
    benchmark: BenchmarkResult | None
    compact: Compaction | None = None
    allocation: dict[str, Allocation] | None = None
    export: Export = Export()
    sparse: SparseFolder | None = None
    training: Training = Training()
    history: list[dict[str, Any]] = []
    seconds: dict[str, Number] = {}
    versions: dict[str, str]
    machine: Machine
    measured: dict[str, Provenance] = {}

    @property
    def first_shape(self) -> Shape | None:
        """The times that the verdict is about; None where nothing was timed."""
        return self.benchmark.shapes[0] if self.benchmark and self.benchmark.shapes else None

    @property
    def prunes(self) -> bool:
        """Whether the run pruned anything: otherwise the model may have come with its zeros, and nothing is dense."""
        return bool(self.training.rules)

    @property
    def checkpoint_sparsity(self) -> Sparsity:
        """Zeros as they were counted in the checkpoint, where int8 has rounded nothing yet."""
        return self.sparsity.get("pruned") or self.sparsity["openvino"]

    @property
    def sparse_layers(self) -> list[Layer]:
        """Every layer as it was counted, if any of them is sparse."""
        layers = self.checkpoint_sparsity.layers
        return layers if any(layer.structure != "dense" for layer in layers) else []

    @property
    def structures(self) -> list[str]:
        """What the zeros of the sparse layers form, each structure once."""
        return list(dict.fromkeys(layer.structure for layer in self.sparse_layers if layer.structure != "dense"))

    @model_validator(mode="after")
    def _counted(self) -> Facts:
        if "openvino" not in self.sparsity:
            raise ValueError("sparsity.openvino is missing")
        return self


class Report(Facts):
    """A run's report: the facts, and what follows from them, see ``optkit.report.conclusions``."""

    verdict: str
    gain: Gain | None
    #: By split, variant and metric.
    intervals: dict[str, dict[VariantId, dict[str, Ends]]]
    frontier: FrontierFacts | None
    costs: CostTable | None


def json_schema() -> str:
    """``report.schema.json``: what a report is, for programs that are not in Python."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Report.model_json_schema()
    return json.dumps(schema, indent=2) + "\n"
