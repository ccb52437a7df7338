"""What is scored or timed: which model, in which number format, on which engine.

One type for the stages, the benchmark and the report. Code compares variants and their fields; the text of an ``id`` is
for JSON files alone, and so is ``migrate_name``, which reads the names that files of earlier releases hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, PlainSerializer

#: ``given`` is a model that the user named, of which nothing else is known.
Model = Literal["dense", "pruned", "compact", "given"]
#: ``int8``: weights and activations; ``int8_dynamic``: the same, the ranges of activations found at each inference;
#: ``int8_weights``: weights alone.
Precision = Literal["fp32", "bf16", "int8", "int8_dynamic", "int8_weights"]
Engine = Literal["torch", "torch-compile", "onnxruntime", "ctranslate2", "openvino", "tvm", "optkit"]

_HINT = "f32"
_MODELS = {"dense": "dense", "pruned": "pruned", "compact": "compacted", "given": "checkpoint"}
_PRECISIONS = {"bf16": "bf16", "int8": "int8", "int8_dynamic": "int8 dynamic", "int8_weights": "int8 weights"}
_ENGINES = {
    "torch": "PyTorch",
    "torch-compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "ctranslate2": "CTranslate2",
    "openvino": "OpenVINO",
    "tvm": "TVM",
    "optkit": "optkit",
}


@dataclass(frozen=True)
class Variant:
    """One model in one number format on one engine.

    Attributes:
        model: what it is a form of: the ``dense`` baseline, the ``pruned`` model, its ``compact`` form, or a ``given``
            one. What is exported of the pruned model, compacted or not, is ``pruned``.
        precision: number format of the files.
        engine: what runs them.
        f32_hint: whether OpenVINO is told to compute in f32 what is not int8, where its default may be bf16.
    """

    model: Model
    precision: Precision
    engine: Engine
    f32_hint: bool = False

    @property
    def id(self) -> str:
        """Its name in JSON files, such as ``pruned/int8/openvino``; the f32 hint is a fourth part, ``/f32``."""
        return "/".join((self.model, self.precision, self.engine, *((_HINT,) if self.f32_hint else ())))

    @classmethod
    def parse(cls, text: str) -> Variant:
        """The variant of an ``id`` that was read from a JSON file.

        Raises:
            ValueError: if it is no variant's id.
        """
        parts = text.split("/")
        allowed = (get_args(Model), get_args(Precision), get_args(Engine), (_HINT,))
        if len(parts) < 3 or len(parts) > 4 or any(part not in names for part, names in zip(parts, allowed)):
            raise ValueError(f"'{text}' is no variant: expected such as pruned/int8/openvino")
        model, precision, engine = parts[:3]
        return cls(model, precision, engine, len(parts) == 4)  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        """What a reader knows it by: ``dense, PyTorch``, ``int8, OpenVINO with the f32 hint``."""
        return f"{self.model_label}, {self.engine_label}"

    @property
    def model_label(self) -> str:
        """The model's part of ``label``: an exported one goes by its number format."""
        if self.model == "dense":
            return " ".join(filter(None, ("dense", _PRECISIONS.get(self.precision))))
        if self.precision != "fp32":
            return _PRECISIONS[self.precision]
        formats = {"openvino": "fp32 IR", "optkit": "fp32 IR", "onnxruntime": "fp32 ONNX"}
        return formats.get(self.engine) or _MODELS[self.model]

    @property
    def engine_label(self) -> str:
        """The engine's part of ``label``."""
        return _ENGINES[self.engine] + (" with the f32 hint" if self.f32_hint else "")

    @property
    def quantized(self) -> bool:
        """Whether weights are 8-bit numbers."""
        return self.precision.startswith("int8")

    @property
    def exported(self) -> bool:
        """Whether it is of the pruned model's export: an IR or ONNX."""
        return self.model == "pruned" and self.engine in ("openvino", "optkit", "onnxruntime")

    def on(self, engine: Engine) -> Variant:
        """The same files on another engine, at its default precision."""
        return replace(self, engine=engine, f32_hint=False)

    def hinted(self) -> Variant:
        """The same with the f32 hint."""
        return replace(self, f32_hint=True)


DENSE = Variant("dense", "fp32", "torch")
PRUNED = Variant("pruned", "fp32", "torch")


def migrate_name(name: str, *, int8: Precision = "int8") -> Variant:
    """The variant that files of earlier releases call ``name``, such as ``int8 optkit``; ids are read as they are.

    Args:
        int8: what those files call int8: ``int8_weights`` if the run quantized weights alone.

    Raises:
        ValueError: if it is no such name.
    """
    plain = name.removesuffix(f" {_HINT}")
    known: dict[str, Variant] = {
        "dense": DENSE,
        "dense torch": DENSE,
        "dense openvino": DENSE.on("openvino"),
        "pruned": PRUNED,
        "pruned torch": PRUNED,
        "compact torch": Variant("compact", "fp32", "torch"),
    }
    for before, precision in (("int8 ", int8), ("", "fp32")):
        ir = Variant("pruned", precision, "openvino")
        known |= {f"{before}openvino": ir, f"{before}optkit": ir.on("optkit")}
        known |= {f"{before}onnx": ir.on("onnxruntime")}
    known["int8"] = known["int8 openvino"]
    found = known.get(plain)
    if found is None or (plain != name and found.engine != "openvino"):
        return Variant.parse(name)
    return found if plain == name else found.hinted()


def _read(value: Any) -> Any:
    return Variant.parse(value) if isinstance(value, str) else value


#: A variant in a pydantic model, also as a key of a mapping: its id in JSON.
VariantId = Annotated[
    Variant, BeforeValidator(_read, json_schema_input_type=str), PlainSerializer(lambda own: own.id, str)
]
