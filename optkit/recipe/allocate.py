"""`allocate` inside a rule: the sparsity of each layer is chosen by what the layer loses, not the same for all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from optkit.recipe.fields import Many, Part, Share, Word, Wrong, refuse


class AllocateSpec(Part):
    """How the layers of a rule share what is removed: by what each of them loses, and by what it costs in time."""

    by: Literal["sensitivity", "latency"]
    speedup: float | None = Field(None, gt=1.0)
    samples: int = Field(128, ge=1)
    grid: Many[Annotated[Share, Field(gt=0.0, le=1.0)]] = ()
    costs: Word | None = None
    batch: int | None = Field(None, ge=1)
    seq: int | None = Field(None, ge=1)

    @field_validator("speedup")
    @classmethod
    def _latency_has_a_goal(cls, speedup: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("by") == "latency" and speedup is None:
            raise ValueError("required with by: latency: write the speedup over the dense model to reach, such as 6")
        return _of_latency(speedup, info)

    @field_validator("costs", "batch", "seq")
    @classmethod
    def _latency_measures(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name != "costs" and value is not None and info.data.get("costs") is not None:
            raise ValueError("the table in `costs` was measured for one batch and length: remove this")
        return _of_latency(value, info)


def _of_latency(value: Any, info: ValidationInfo) -> Any:
    if value is not None and info.data.get("by") == "sensitivity":
        raise ValueError("is read with by: latency only: remove it")
    return value


def follows_from_speedup(schedule: Any) -> None:
    """Refuses what the schedule of a rule allocated by latency cannot say: how sparse the rule becomes comes out."""
    wrong = [key for key, said in (("from", schedule.initial > 0), ("to", "to" in schedule.model_fields_set)) if said]
    if wrong:
        refuse(*(Wrong((key,), "allocate.speedup decides the sparsity: remove it") for key in wrong))
