"""`quantize`: how the model becomes int8, and what is done so that it holds its accuracy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from optkit.quantization.config import AUTO, Quantization
from optkit.recipe.fields import Many, Part, Word, check_pattern


def _alpha(value: Any) -> Any:
    """A strength of SmoothQuant, False for none."""
    if value is None or value is False or value == AUTO:
        return value or False
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    raise ValueError(f"expected a strength above 0 and up to 1, auto, or false to switch it off, got {value!r}")


def _correction(value: Any) -> Any:
    return {True: "fast", None: False}.get(value, value) if value is None or isinstance(value, bool) else value


class CalibrationSpec(Part):
    """Which examples of the training split quantization looks at."""

    samples: int = Field(300, ge=1)


class ControlSpec(Part):
    """How many examples `max_drop` is held against: of the training split, where there is no hold-out."""

    samples: int = Field(1000, ge=1)


class FinetuneSpec(Part):
    """Fine-tuning with quantization simulated, before the model is quantized."""

    steps: int = Field(200, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    batch_size: int = Field(32, ge=1)


class QuantizeSpec(Part):
    """Post-training int8."""

    method: Literal["int8", "int8_weights"] = "int8"
    weight_range: Literal["half", "full"] = "half"
    accuracy_backend: Literal["openvino", "optkit"] = "openvino"
    smooth_quant: Annotated[
        Any,
        BeforeValidator(
            _alpha, json_schema_input_type=Literal["auto", False] | Annotated[float, Field(gt=0, le=1)] | None
        ),
    ] = AUTO
    bias_correction: Annotated[Literal["auto", "fast", "accurate", False], BeforeValidator(_correction)] = AUTO
    ignored: Many[Annotated[Word, AfterValidator(check_pattern)]] = ()
    calibration: CalibrationSpec = CalibrationSpec()
    max_drop: float | None = Field(None, ge=0, le=100)
    control: ControlSpec = ControlSpec()
    sensitivity: bool = False
    finetune: FinetuneSpec | None = None

    @field_validator("weight_range", "accuracy_backend")
    @classmethod
    def _are_for_int8_products(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("method") == "int8_weights" and value != cls.model_fields[info.field_name].default:
            raise ValueError(
                "is for int8 products, and int8_weights multiplies in floating point: remove it, or write method: int8"
            )
        return value

    @field_validator("smooth_quant", "bias_correction")
    @classmethod
    def _of_activations(cls, value: Any, info: ValidationInfo) -> Any:
        weights_only = info.data.get("method") == "int8_weights"
        if value == AUTO:
            return False if weights_only else {"smooth_quant": AUTO, "bias_correction": "fast"}[info.field_name]
        if value is not False and weights_only:
            raise ValueError(
                "is about activations, which int8_weights does not change: remove it, or write method: int8"
            )
        return value

    @field_validator("finetune")
    @classmethod
    def _of_both(cls, finetune: FinetuneSpec | None, info: ValidationInfo) -> FinetuneSpec | None:
        if finetune is not None and info.data.get("method") == "int8_weights":
            raise ValueError("is for method: int8 only, as int8_weights loses little: remove it, or write method: int8")
        return finetune

    def build(self) -> Quantization:
        """What the export is told; ``control`` and ``finetune`` are the stages' own."""
        return Quantization(
            weight_range=self.weight_range,
            method=self.method,
            smooth_quant=None if self.smooth_quant is False else self.smooth_quant,
            bias_correction=self.bias_correction or None,
            ignored=self.ignored,
            max_drop=self.max_drop,
            sensitivity=self.sensitivity,
        )
