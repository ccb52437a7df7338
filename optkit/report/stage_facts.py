"""Types of report.json: where the model comes from, and what the stages did."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from optkit.json_types import Count, Number, Part, Share, Size


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


class SmoothingTrial(Part):
    """The error of the outputs with one strength of SmoothQuant, null for none."""

    strength: Number | None
    error: Number


class Smoothing(Part):
    """SmoothQuant's strength, null for none, and those that were tried for it."""

    strength: Number | None
    trials: list[SmoothingTrial]


class Quantization(Part):
    """How the IR was quantized and which modules stayed ``fp32``."""

    method: str
    fp32: list[str] = []
    smoothing: Smoothing | None = None
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
