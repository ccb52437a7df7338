"""What report.json holds: one typed model that every page, the card and the comparisons of runs read.

``optkit.report.reading`` reads what any release wrote; keys that a newer one added are kept as they are. The same model
as a JSON schema lies beside, in ``report.schema.json``, which ``scripts/report_schema`` writes.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from optkit.report.migrations import FORMAT
from optkit.variant import DENSE, Variant, VariantId

#: Above what a number is none that was measured; Python's whole numbers may be too large for any arithmetic of floats.
_LARGEST = 1e100
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Positive = Annotated[float, Field(gt=0, le=_LARGEST)]
Share = Annotated[float, Field(ge=0, le=_LARGEST)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Size = Annotated[int, Field(ge=1, le=10**12)]


def _whole(ratio: list[float]) -> list[float]:
    if len(ratio) == 2:
        raise ValueError("is no ratio with its interval")
    return ratio


#: A ratio of times alone, or with the two ends of its 95 % interval.
Ratio = Annotated[list[Number], Field(min_length=1, max_length=3), AfterValidator(_whole)]
Ends = Annotated[list[Number], Field(min_length=2, max_length=2)]
Scores = dict[str, Number]


class Part(BaseModel):
    """Types are taken as they are written: a number in quotes is none."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Machine(Part):
    """A machine, as far as figures depend on it."""

    cpu: str
    cores: int | None = None
    physical_cores: int | None = None
    system: str = "an unknown system"
    instruction_sets: list[str] = []


class Provenance(Part):
    """The machine and the versions of packages that a stage ran with; None where it did not record them."""

    machine: Machine | None = None
    versions: dict[str, str] | None = None


class Origin(Part):
    """Where the model comes from, see ``optkit.report.lineage``."""

    base: list[str] = []
    local: bool = False
    datasets: list[str] = []
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None


class Dataset(Part):
    """What the metrics were measured on, as a model-index says it."""

    type: str
    name: str | None = None
    config: str | None = None
    revision: str | None = None
    files: dict[str, str] = {}


class Task(Part):
    """What the model does; ``shape`` is (batch, tokens) of a model that takes one shape alone."""

    type: str = ""
    ov_class: str = ""
    pair: bool = False
    shape: Annotated[list[Size], Field(min_length=2, max_length=2)] | None = None
    dataset: Dataset


class Split(Part):
    """The scores of every model on one split, by model and metric, and how alike checkpoint and IR are."""

    examples: Count = 0
    agreement: Number | None = None
    scores: dict[VariantId, Scores]


class Precision(Part):
    """Which precision OpenVINO computes in by default on the CPU that scored, and which one to serve with."""

    default: str
    serve: str
    differs: bool
    difference: Number | None
    error: Number | None


class Evaluation(Part):
    """The scores. ``drop`` is what the model ``judged`` lost on the first split in points of 100, None without a
    baseline.
    """

    baseline: str | None = None
    metric: str
    splits: Annotated[dict[str, Split], Field(min_length=1)]
    judged: VariantId | None = None
    drop: Number | None
    max_drop: Number | None = None
    within_max_drop: bool = True
    agrees: str = "predict the same for"
    precision: Precision | None = None
    plan_of: dict[str, Any] | None = None
    runtime: str | None = None

    @property
    def first(self) -> dict[Variant, Scores]:
        """Scores by model on the first split, which ``drop`` is of."""
        return next(iter(self.splits.values())).scores

    @property
    def baseline_scores(self) -> Scores | None:
        """The dense model's scores on the first split; None without a baseline."""
        return self.first.get(DENSE)

    @model_validator(mode="after")
    def _headline(self) -> Evaluation:
        for split, found in self.splits.items():
            for model, scores in found.scores.items():
                if self.metric not in scores:
                    raise ValueError(f"splits.{split}.{model.id} has no {self.metric}")
        return self


class Zeros(Part):
    """Zeros among so many weights."""

    zeros: Count = 0
    size: Count = 0
    sparsity: Share


class Layer(Part):
    """Zeros of one linear layer."""

    name: str
    shape: list[Count] = []
    original_shape: list[Count] | None = None
    dtype: str | None = None
    structure: str
    zeros: Count | None = None
    size: Count | None = None
    sparsity: Share
    blocks: dict[str, Share] = {}
    block_sparsity: Share | None = None
    int8_sparsity: Share | None = None
    tagged_sparsity: Share | None = None
    original_sparsity: Share | None = None


class Sparsity(Part):
    """Zeros of one folder, by four denominators and by layer."""

    path: str = ""
    kind: str = ""
    denominators: dict[str, Zeros | None]
    layers: list[Layer]
    notes: list[str] = []


class Load(Part):
    """What else went on while times were taken: the mean load before, and the share of time that the host took."""

    load: list[Number] = []
    steal: Number | None = None


class Row(Part):
    """The times at one batch and length.

    ``milliseconds`` by engine; ``ratios`` are how many times as fast as ``against`` each is, ``over_plain`` as
    ``plain``, each with its 95 % interval; ``noisy`` names the engines whose times tell little. ``seq`` is None for
    images, of so many ``pixels``.
    """

    batch: Size
    seq: Size | None
    pixels: str | None = None
    milliseconds: dict[VariantId, Positive]
    quartiles: dict[VariantId, Ends] = {}
    against: VariantId | None = None
    ratios: dict[VariantId, Ratio] = {}
    plain: VariantId | None = None
    over_plain: dict[VariantId, Ratio] = {}
    noisy: list[VariantId] = []

    @model_validator(mode="after")
    def _names(self) -> Row:
        if self.against is not None and self.against not in self.milliseconds:
            raise ValueError("against names no engine that was timed")
        return self


class Benchmark(Part):
    """Times. OpenVINO computed in ``precision`` where no engine's name says another; ``runtime`` says in a sentence
    what optkit's runtime took of the model.
    """

    rows: list[Row]
    skipped: dict[str, str] = {}
    threads: Size
    rounds: Count = 0
    precision: str | None = None
    runtime: str | None = None
    machine: Load | None = None


class Compaction(Part):
    """What left the model: ``kept`` has what is left and what there was, by kind."""

    compacted: bool
    reason: str | None = None
    kept: dict[str, Annotated[list[Count], Field(min_length=2, max_length=2)]] = {}
    plain: bool = True
    differ: Number = 0.0


class LayerShare(Part):
    """The sparsity that was chosen for a layer."""

    name: str
    sparsity: Share


class Allocation(Part):
    """What was chosen for a rule; the figures behind ``speedup`` are there where it was chosen by latency."""

    by: str
    sparsity: Share
    layers: Annotated[list[LayerShare], Field(min_length=1)]
    speedup: Number | None = None
    predicted: Number | None = None
    measured: Number | None = None
    dense_milliseconds: Number | None = None
    batch: Size | None = None
    seq: Size | None = None
    threads: Size | None = None
    precision: str | None = "f32"


class Control(Part):
    """What accuracy control held int8 to, and what it won."""

    metric: str
    examples: Count
    held_out: bool
    limit: Number
    reference: Number
    before: Number
    after: Number
    tried: Count


class LayerError(Part):
    """The error of the outputs with one layer in int8."""

    module: str
    error: Number


class Sensitivity(Part):
    """Errors of the outputs by the layer that is in int8, the largest first, and with all of them."""

    layers: list[LayerError]
    together: Number
    samples: Count


class Quantization(Part):
    """How the IR was quantized and which modules stayed ``fp32``."""

    method: str
    fp32: list[str] = []
    control: Control | None = None
    sensitivity: Sensitivity | None = None


class Export(Part):
    """The exported IR."""

    quantization: Quantization | None = None
    seconds: dict[str, Number] = {}
    decompression_rate: Number | None = None
    layers: Count | None = None


class StoredFile(Part):
    """A file of weights and the bytes that are stored for it."""

    size: Count
    stored: Count


class SparseFolder(Part):
    """The files of ``sparse/`` by name."""

    files: dict[str, StoredFile]


class RuleResult(Part):
    """What a pruning rule reached."""

    name: str
    structure: str | None = None


class Chosen(Part):
    """The best of the checkpoints at the target, by its score on held-out examples."""

    step: Count
    metric: str
    score: Number
    loss: Number | None = None
    examples: Count


class StepScore(Part):
    """A score on held-out examples during training."""

    step: Count
    score: Number


class Training(Part):
    """The training; no steps where the model was pruned in one shot or came as it is."""

    steps: Count = 0
    resumed_at: Count = 0
    processes: Count = 1
    rules: list[RuleResult] = []
    chosen: Chosen | None = None
    scores: list[StepScore] = []


class Gain(Part):
    """The speedup of the exported model, see ``optkit.report.speed.Speedup``, and ``why`` there is none."""

    ratio: Number
    of: VariantId
    against: VariantId
    batch: Size
    seq: Size | None
    milliseconds: Positive
    threads: Size
    interval: Ends | None
    noisy: bool
    inputs: str
    precision: str
    over_plain: Ratio | None = None
    gains: bool
    why: list[str]


class FrontierPoint(Part):
    """A model that was scored and timed."""

    name: str
    drop: Number
    ratio: Number
    dominated: bool


class FrontierFacts(Part):
    """Accuracy against speed, ``against`` an engine, at one batch."""

    against: VariantId
    inputs: str
    points: list[FrontierPoint]


class CostFacts(Part):
    """Dollars for a million inferences of one engine on one machine."""

    engine: VariantId
    instance: str
    dollars: Number
    per_second: Positive
    saved: Number | None


class CostTable(Part):
    """What inferences cost by a price list of this date and source."""

    date: str
    source: str
    inputs: str
    threads: Size
    costs: Annotated[list[CostFacts], Field(min_length=1)]


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
    benchmark: Benchmark | None
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
    def first_row(self) -> Row | None:
        """The times that the verdict is about; None where nothing was timed."""
        return self.benchmark.rows[0] if self.benchmark and self.benchmark.rows else None

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
