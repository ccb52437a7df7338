"""Which backends can run the model at a path: a run's folder, a checkpoint, an IR or an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optkit.benchmark.backends import BACKENDS
from optkit.benchmark.engines.base import Source
from optkit.checkpoints.files import has_weights, weight_files
from optkit.errors import OptkitError, UsageError
from optkit.export.tvm.index import INDEX as TVM_INDEX
from optkit.export.tvm.index import read_index
from optkit.interop.opening import open_model
from optkit.ir.io import find_xml
from optkit.json_files import read_json
from optkit.pipeline.run_folder import is_run
from optkit.runtime.loading import is_baked
from optkit.variant import Model, Precision, Variant

#: What a checkpoint becomes for the backends that take no checkpoint, in folders of these names.
EXPORTS = {
    "onnxruntime": "onnx",
    "onnxruntime-int8": "onnx-int8",
    "onnxruntime-int8-dynamic": "onnx-int8-dynamic",
    "ctranslate2-int8": "ctranslate2",
    "openvino": "ir",
    "openvino-f32": "ir",
}
#: What runs an fp32 checkpoint.
_DENSE = ("torch", "torch-compile", "torch-compile-bf16", *EXPORTS)


#: What runs a library of TVM takes neither a run nor what it is made of.
_NOT_COMPILED = "give the folder that `optkit compile` made"


@dataclass(frozen=True)
class RunnableModel:
    """A model that one backend can run.

    Attributes:
        path: that the user named.
        kind: its name in tables: ``dense``, ``checkpoint``, ``fp32 IR``, ``int8 IR``, ``baked IR``, ``ONNX`` or
            ``TVM library``.
        backend: of ``BACKENDS``.
        source: its files; a checkpoint has to be exported first for all backends but torch's.
        setup: the folder of its config and tokenizer.
    """

    path: Path
    kind: str
    backend: str
    variant: Variant
    source: Source
    setup: Path

    @property
    def exported(self) -> bool:
        """Whether the source has yet to be exported for the backend."""
        return self.source.kind == "checkpoint" and self.backend in EXPORTS

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.backend}"


@dataclass
class BackendSupport:
    """The models of a path by the backend that can run them, in the order of ``BACKENDS``, and why others cannot."""

    path: Path
    models: list[RunnableModel] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        backends: tuple[str, ...],
        kind: str,
        model: Model,
        source: Source,
        setup: Path,
        precision: Precision | None = None,
    ) -> None:
        self.models += [
            RunnableModel(self.path, kind, name, BACKENDS[name].variant(model, precision), source, setup)
            for name in backends
        ]

    def with_reasons(self, reasons: Mapping[str, str]) -> BackendSupport:
        """Sorts the models by backend, and sets the reason of each backend that has none."""
        reasons, order = {**reasons, "tvm": _NOT_COMPILED}, list(BACKENDS)
        self.models.sort(key=lambda model: order.index(model.backend))
        supported = {model.backend for model in self.models}
        self.unsupported = {backend: reasons[backend] for backend in BACKENDS if backend not in supported}
        return self


def backend_support(path: str | Path) -> BackendSupport:
    """Which backends can run the model at ``path``: a run's folder, a checkpoint's, an IR or an ONNX model (folder or
    file), or the id of one on the Hub.

    Raises:
        UsageError: if nothing is there, or nothing that can be run.
        OptkitError: if it cannot be read.
    """
    path = Path(path)
    if is_run(path):
        return _of_run(path)
    if (path / TVM_INDEX).is_file():
        found = BackendSupport(path)
        precision: Precision = "int8" if read_index(path).int8 else "fp32"
        found.add(("tvm",), "TVM library", "given", Source("tvm", path), path, precision)
        return found.with_reasons({b: f"{path} is a library of TVM" for b in BACKENDS})
    opened = open_model(str(path))
    found = BackendSupport(path)
    if opened.kind == "adapter":
        raise UsageError(f"{path}: an adapter is no model by itself: merge it into its model and save the result")
    if opened.kind == "checkpoint":
        weight_files(opened.path)
        found.add(_DENSE, "checkpoint", "given", Source("checkpoint", opened.path), opened.setup)
        return found.with_reasons({b: f"{path} is a checkpoint: give its IR" for b in BACKENDS})
    if opened.kind == "onnx":
        found.add(("onnxruntime",), "ONNX", "given", Source("onnx", opened.path), opened.setup)
        return found.with_reasons({b: f"{path} is an ONNX model" for b in BACKENDS})
    kind = _add_ir(found, "given", opened.path, opened.setup)
    return found.with_reasons(
        {b: f"{path} is an {kind}" if kind != "baked IR" else f"{path} is baked" for b in BACKENDS}
    )


def _of_run(path: Path) -> BackendSupport:
    found, exported = BackendSupport(path), find_xml(path / "openvino")
    if exported is None:
        raise UsageError(f"{path}: this run has no IR in openvino/ yet: finish it with `optkit run`")
    dense = _dense_folder(path)
    if dense is not None and has_weights(dense):
        found.add(_DENSE, "dense", "dense", Source("checkpoint", dense), dense)
        why = ""
    elif dense is not None:
        why = f"the dense baseline of {path} is not at {dense} any more: name its checkpoint as another path"
    else:
        why = f"{path} has no dense baseline: name a checkpoint as another path"
    kind = _add_ir(found, "pruned", exported, path / "openvino")
    return found.with_reasons({b: why if why and b in _DENSE else f"{path} exported an {kind}" for b in BACKENDS})


def _dense_folder(run: Path) -> Path | None:
    """The folder of the baseline's checkpoint by the run's report, or in the run; None if there is neither."""
    report = run / "report.json"
    if report.is_file():
        try:
            folders = read_json(report)["folders"]
            named = folders.get("dense")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OptkitError(f"{report}: not a report that this optkit can read: run the recipe again") from error
        if isinstance(named, str) and Path(named).is_dir():
            return Path(named)
        # A run that was moved keeps the baseline that it trained itself.
        inside = run / Path(named).name if isinstance(named, str) else None
        return inside if inside is not None and inside.is_dir() else (Path(named) if isinstance(named, str) else None)
    return run / "dense" if (run / "dense").is_dir() else None


def _add_ir(found: BackendSupport, model: Model, xml: Path, setup: Path) -> str:
    """Adds the backends that run the IR; returns its kind."""
    from optkit.ir.io import read_model
    from optkit.ir.layers import linear_layers

    source = Source("ir", xml)
    if is_baked(xml):
        found.add(("optkit",), "baked IR", model, source, setup, "int8")
        return "baked IR"
    graph = read_model(xml)
    if not any(layer.weight.dtype[0] in "iu" for layer in linear_layers(graph)):
        found.add(("openvino", "openvino-f32", "optkit"), "fp32 IR", model, source, setup, "fp32")
        return "fp32 IR"
    # Activations are 8-bit where the graph rounds them.
    rounded = any(node.get_type_name() == "FakeQuantize" for node in graph.get_ops())
    precision: Precision = "int8" if rounded else "int8_weights"
    found.add(("openvino-int8", "openvino-int8-f32", "optkit"), "int8 IR", model, source, setup, precision)
    return "int8 IR"
