"""The base class and the number types of typed JSON files: report.json and results of benchmarks."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

#: Above this no number was measured; Python's whole numbers may be too large for the arithmetic of floats.
_LARGEST = 1e100
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Positive = Annotated[float, Field(gt=0, le=_LARGEST)]
Share = Annotated[float, Field(ge=0, le=_LARGEST)]
Count = Annotated[int, Field(ge=0, le=10**18)]
Size = Annotated[int, Field(ge=1, le=10**12)]


def _complete(ratio: list[float]) -> list[float]:
    if len(ratio) == 2:
        raise ValueError("is no ratio with its interval")
    return ratio


#: A ratio of times alone, or with the two ends of its 95 % interval.
Ratio = Annotated[list[Number], Field(min_length=1, max_length=3), AfterValidator(_complete)]
#: The two ends of an interval.
Ends = Annotated[list[Number], Field(min_length=2, max_length=2)]


class Part(BaseModel):
    """An object of a JSON file. Types are not converted: a number in quotes is refused. Unknown keys are kept."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
