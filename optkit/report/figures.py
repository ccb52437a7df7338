"""Types of report.json: scores, zeros, and the figures that follow from them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from optkit.json_types import Count, Ends, Number, Part, Positive, Ratio, Share, Size
from optkit.variant import DENSE, Variant, VariantId

Scores = dict[str, Number]


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
