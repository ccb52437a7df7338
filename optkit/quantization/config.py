"""Options of post-training quantization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optkit.deprecation import renamed_arguments
from optkit.errors import UsageError

METHODS = ("int8", "int8_weights")
WEIGHT_RANGES = ("half", "full")
#: The weight range that each value of the former option ``target`` stood for.
FORMER_TARGETS = {"any": "half", "vnni": "full", "optkit": "full"}
BIAS_CORRECTIONS = ("fast", "accurate")
#: SmoothQuant's strength that is told by the outputs (``quantization.smoothing``), and the one that it begins with,
#: NNCF's own for transformers.
AUTO, STRENGTH = "auto", 0.95


@dataclass(frozen=True)
class Quantization:
    """Options of post-training int8. What is None or False is left out.

    Attributes:
        weight_range: ``half`` of the integers from -127 to 127 for the weights, and for one factor where activations
            are multiplied by activations, so that the 16-bit sums of CPUs without VNNI cannot saturate (NNCF's own
            default does so for the first convolution only); ``full`` for CPUs with VNNI or AMX, and for optkit's
            kernels, which are exact with either range.
        method: ``int8`` for weights and activations; ``int8_weights`` for weights alone, symmetric, so that zeros stay
            zeros. Then smoothing and bias correction, which are about activations, have to be off.
        smooth_quant: SmoothQuant's strength alpha in (0, 1]: how much of the activations' outliers the weights take
            over, https://arxiv.org/abs/2211.10438. ``auto`` is 0.95, but where that spoils the outputs on calibration
            samples: then the strength, or none, that does least.
        bias_correction: ``fast`` or ``accurate``.
        ignored: patterns on names of torch modules whose operations stay fp32: globs whose ``*`` crosses dots, or
            ``re:`` and a regular expression for the whole name.
        max_drop: points of 100 that may be lost against the fp32 model; layers go back to fp32 until it is kept.
        sensitivity: whether to measure what each layer's quantization does to the outputs.

    Raises:
        UsageError: if a value is unknown, out of range, or contradicts another.
    """

    weight_range: str = "half"
    method: str = "int8"
    smooth_quant: float | str | None = AUTO
    bias_correction: str | None = "fast"
    ignored: tuple[str, ...] = ()
    max_drop: float | None = None
    sensitivity: bool = False

    def __post_init__(self) -> None:
        for what, value, choices in (
            ("weight range", self.weight_range, WEIGHT_RANGES),
            ("method", self.method, METHODS),
            ("bias correction", self.bias_correction, (None, *BIAS_CORRECTIONS)),
        ):
            if value not in choices:
                known = ", ".join(str(choice) for choice in choices)
                raise UsageError(f"unknown quantization {what} '{value}': one of {known}")
        if self.smooth_quant not in (None, AUTO) and not (
            isinstance(self.smooth_quant, (int, float)) and 0 < self.smooth_quant <= 1
        ):
            raise UsageError(f"smooth_quant is {self.smooth_quant}: its alpha is above 0 and up to 1, or auto")
        if self.weights_only and (self.smooth_quant is not None or self.bias_correction is not None):
            raise UsageError("int8_weights leaves activations alone: switch smooth_quant and bias_correction off")
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError(f"max_drop is {self.max_drop:g}: points lie between 0 and 100")

    @property
    def strength(self) -> float | None:
        """SmoothQuant's, the one to begin with where it is to be found."""
        return STRENGTH if self.smooth_quant == AUTO else self.smooth_quant  # type: ignore[return-value]

    @property
    def weights_only(self) -> bool:
        return self.method == "int8_weights"

    @classmethod
    def of_weights(cls, **options: Any) -> Quantization:
        """Of weights alone, with what concerns activations off."""
        return cls(method="int8_weights", smooth_quant=None, bias_correction=None, **options)


# The class stays a class, so that isinstance and dataclasses.replace work; only calling it takes the former name.
Quantization.__init__ = renamed_arguments({"weight_range": FORMER_TARGETS}, target="weight_range")(  # type: ignore[method-assign]
    Quantization.__init__
)
