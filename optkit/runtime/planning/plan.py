"""What a plan says: for each linear layer the kernel that takes it, or that it stays OpenVINO's, and why; as JSON too.

Plans are kept on disk and may come from anywhere, so what is read back is checked in full.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from optkit.errors import OptkitError
from optkit.runtime.program import HEIGHTS, Kernel

FORMAT = 3
MODES = ("static", "measured")
#: What a Kernel can be: name to the numbers of rows.
KERNELS = {"block4": HEIGHTS, "element": HEIGHTS}


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one linear layer.

    Attributes:
        matmul: friendly name of its MatMul.
        shape: (out, in).
        quantized: whether the model quantizes its activations.
        density: share of weights that are not zero.
        block4_density: share of 1x4 blocks that hold one.
        block4_densities: the same of blocks of so many outputs x 4 inputs.
        rows: of the blocks rows x 1 that its zeros come in, 1 for single weights.
        kernel: that it is packed for; None leaves it to OpenVINO.
        reason: a sentence.
        cost, openvino_cost: of the layer by itself with the best kernel and in OpenVINO: milliseconds if the plan is
            measured, else million cycles of one core; None where neither was asked.
    """

    matmul: str
    shape: tuple[int, int]
    quantized: bool
    density: float
    block4_density: float
    block4_densities: Mapping[int, float]
    rows: int
    kernel: Kernel | None
    reason: str
    cost: float | None = None
    openvino_cost: float | None = None


@dataclass(frozen=True)
class Plan:
    """What the sparse runtime does with one model.

    Attributes:
        mode: ``static`` or ``measured``.
        isa: the kernels' instruction set that it was made for; empty where there is no extension.
        shape: (batch, sequence length) that it was made for.
        threads: that inference used when it was measured; None if it was not.
        layers: every linear layer, in execution order.
        reason: a sentence on the model as a whole.
        attention: whether attention may become part of the programs.
        dynamic: whether activations that the model does not quantize are, as they come, where the kernel is ``block4``.
        decompression_rate: OpenVINO's CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE to compile with; None leaves it unset.
        milliseconds: of one turn of the whole model at ``shape``, by candidate, where measured.
    """

    mode: str
    isa: str
    shape: tuple[int, int]
    threads: int | None
    layers: tuple[LayerPlan, ...]
    reason: str
    attention: bool = True
    dynamic: bool = False
    decompression_rate: float | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def kernels(self) -> dict[str, Kernel]:
        """Kernels by MatMul of the layers that the runtime takes."""
        return {layer.matmul: layer.kernel for layer in self.layers if layer.kernel is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        values = asdict(self)
        for layer in values["layers"]:
            layer["block4_densities"] = {str(height): share for height, share in layer["block4_densities"].items()}
        return {"format": FORMAT, **values}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that ``to_json`` wrote.

        Raises:
            OptkitError: naming the value that is not what a plan holds.
        """
        try:
            return _plan(json.loads(text))
        except ValueError as error:  # of JSON, or a number with more digits than Python reads
            raise OptkitError(f"no plan: not JSON: {error}") from None
        except RecursionError:
            raise OptkitError("no plan: JSON nested too deep") from None
        except _Fault as fault:
            raise OptkitError(f"no plan: {fault}") from None


class _Fault(Exception):
    """What is wrong with a plan, in words."""


def _plan(data: Any) -> Plan:
    values = _keys(data, {"format", *(each.name for each in fields(Plan))}, "the plan")
    if values.pop("format") != FORMAT:
        raise _Fault(f"its format is not {FORMAT}: make it again with this optkit")
    if values["mode"] not in MODES:
        raise _Fault(f"mode is not one of {', '.join(MODES)}")
    if not isinstance(values["layers"], list):
        raise _Fault("layers is no list")
    _check(values, {"isa": _text, "reason": _text, "threads": _optional(_positive)}, "the plan")
    _check(values, {"attention": _boolean, "dynamic": _boolean, "decompression_rate": _optional(_share)}, "the plan")
    if not isinstance(values["milliseconds"], dict) or not all(map(_cost, values["milliseconds"].values())):
        raise _Fault("milliseconds holds no times")
    layers = tuple(_layer(number, each) for number, each in enumerate(values["layers"]))
    if len({layer.matmul for layer in layers}) != len(layers):
        raise _Fault("two of its layers have one name")
    return Plan(**values | {"layers": layers, "shape": _sizes(values["shape"], "the plan")})


def _layer(number: int, data: Any) -> LayerPlan:
    where = f"layer {number}"
    values = _keys(data, {each.name for each in fields(LayerPlan)}, where)
    _check(values, {"matmul": _text, "reason": _text, "quantized": _boolean, "rows": _positive}, where)
    _check(values, {"density": _share, "block4_density": _share}, where)
    _check(values, {"cost": _optional(_cost), "openvino_cost": _optional(_cost)}, where)
    shares = _keys(values["block4_densities"], set(map(str, HEIGHTS)), f"block4_densities of {where}")
    _check(shares, dict.fromkeys(shares, _share), f"block4_densities of {where}")
    values["block4_densities"] = {height: shares[str(height)] for height in HEIGHTS}
    kernel = values["kernel"]
    if kernel is not None:
        kernel = _keys(kernel, {"name", "rows"}, f"the kernel of {where}")
        if kernel["name"] not in tuple(KERNELS) or kernel["rows"] not in KERNELS[kernel["name"]]:
            raise _Fault(f"{where} has a kernel that does not exist")
        kernel = Kernel(kernel["name"], int(kernel["rows"]))
    return LayerPlan(**values | {"kernel": kernel, "shape": _sizes(values["shape"], where)})


def _keys(data: Any, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _Fault(f"{where} is no mapping")
    for wrong, said in ((names - set(data), "is missing"), (set(data) - names, "is not known")):
        if wrong:
            raise _Fault(f"{where}: '{min(wrong)[:60]}' {said}")
    return dict(data)


def _check(values: Mapping[str, Any], rules: Mapping[str, Any], where: str) -> None:
    for name, rule in rules.items():
        if not rule(values[name]):
            raise _Fault(f"{where}: {name} is {json.dumps(values[name])[:60]}")


def _sizes(value: Any, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_positive, value)):
        raise _Fault(f"{where}: shape is not two sizes")
    return value[0], value[1]


def _optional(rule: Any) -> Any:
    return lambda value: value is None or rule(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _cost(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e100 and value >= 0


def _share(value: Any) -> bool:
    return _cost(value) and value <= 1
