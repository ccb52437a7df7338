"""What a path holds, and which backends can run it: a run's folder, a checkpoint, an IR, an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optkit.benchmark.engine import Source
from optkit.benchmark.engines import BACKENDS, SLOW_TO_LOAD
from optkit.checkpoints.files import has_weights, weight_files
from optkit.errors import OptkitError, RecipeError
from optkit.interop.opening import open_model
from optkit.ir.io import find_xml
from optkit.json_files import read_json
from optkit.pipeline.run_folder import is_run
from optkit.runtime.loading import is_baked

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
_DENSE = ("torch", *SLOW_TO_LOAD, *EXPORTS)


@dataclass(frozen=True)
class Offer:
    """A model that one backend can run.

    Attributes:
        path: that the user named.
        model: what it is: ``dense``, ``checkpoint``, ``fp32 IR``, ``int8 IR``, ``baked IR`` or ``ONNX``.
        backend: of ``BACKENDS``.
        source: its files; a checkpoint has to be exported first for all backends but torch's.
        setup: the folder of its config and tokenizer.
    """

    path: Path
    model: str
    backend: str
    source: Source
    setup: Path

    @property
    def exported(self) -> bool:
        """Whether the source has yet to be exported for the backend."""
        return self.source.kind == "checkpoint" and self.backend in EXPORTS

    @property
    def name(self) -> str:
        return f"{self.model}, {self.backend}"


@dataclass
class Offers:
    """What a path offers, by the order of ``BACKENDS``, and why it offers other backends nothing."""

    path: Path
    runs: list[Offer] = field(default_factory=list)
    without: dict[str, str] = field(default_factory=dict)

    def add(self, backends: tuple[str, ...], model: str, source: Source, setup: Path) -> None:
        self.runs += [Offer(self.path, model, backend, source, setup) for backend in backends]

    def close(self, reasons: Mapping[str, str]) -> Offers:
        """Orders the offers, and gives each backend without one its reason."""
        self.runs.sort(key=lambda offer: BACKENDS.index(offer.backend))
        there = {offer.backend for offer in self.runs}
        self.without = {backend: reasons[backend] for backend in BACKENDS if backend not in there}
        return self


def offers(path: str | Path) -> Offers:
    """What is at ``path``: a run's folder, a checkpoint's, an IR (its folder or xml), an ONNX model (likewise), or the
    Hub's id of one.

    Raises:
        RecipeError: if nothing is there, or nothing that can be run.
        OptkitError: if it cannot be read.
    """
    path = Path(path)
    if is_run(path):
        return _of_run(path)
    opened = open_model(str(path))
    found = Offers(path)
    if opened.kind == "adapter":
        raise RecipeError(f"{path}: an adapter, and no model by itself: merge it into its model, and save that")
    if opened.kind == "checkpoint":
        weight_files(opened.path)
        found.add(_DENSE, "checkpoint", Source("checkpoint", opened.path), opened.setup)
        return found.close({b: f"{path} is a checkpoint: give its IR" for b in BACKENDS})
    if opened.kind == "onnx":
        found.add(("onnxruntime",), "ONNX", Source("onnx", opened.path), opened.setup)
        return found.close({b: f"{path} is an ONNX model" for b in BACKENDS})
    model = _add_ir(found, opened.path, opened.setup)
    return found.close({b: f"{path} is an {model}" if model != "baked IR" else f"{path} is baked" for b in BACKENDS})


def _of_run(path: Path) -> Offers:
    found, exported = Offers(path), find_xml(path / "openvino")
    if exported is None:
        raise RecipeError(f"{path}: this run has no IR in openvino/ yet: finish it with `optkit run`")
    dense = _dense_folder(path)
    if dense is not None and has_weights(dense):
        found.add(_DENSE, "dense", Source("checkpoint", dense), dense)
        why = ""
    elif dense is not None:
        why = f"the dense baseline of {path} is not at {dense} any more: name its checkpoint as another path"
    else:
        why = f"{path} has no dense baseline: name a checkpoint as another path"
    model = _add_ir(found, exported, path / "openvino")
    return found.close({b: why if why and b in _DENSE else f"{path} exported an {model}" for b in BACKENDS})


def _dense_folder(run: Path) -> Path | None:
    """Where the baseline's checkpoint lies by the run's report, or in the run; None where neither tells."""
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


def _add_ir(found: Offers, xml: Path, setup: Path) -> str:
    """Adds what runs the IR, and says what it is."""
    from optkit.ir.io import read_model
    from optkit.ir.layers import linear_layers

    source = Source("ir", xml)
    if is_baked(xml):
        found.add(("optkit",), "baked IR", source, setup)
        return "baked IR"
    int8 = any(layer.weight.dtype[0] in "iu" for layer in linear_layers(read_model(xml)))
    model, plain = ("int8 IR", "openvino-int8") if int8 else ("fp32 IR", "openvino")
    found.add((plain, f"{plain}-f32", "optkit"), model, source, setup)
    return model


def files(source: Source) -> list[Path]:
    """The files that a deployment of ``source`` would carry: weights and graph.

    Raises:
        OptkitError: if a checkpoint's are not whole.
    """
    if source.kind == "checkpoint":
        return weight_files(source.path)
    if source.kind == "ctranslate2":
        return [file for file in sorted(source.path.iterdir()) if file.is_file()]
    beside = [source.path.with_suffix(".bin")] if source.kind == "ir" else [Path(f"{source.path}.data")]
    return [source.path, *(file for file in beside if file.is_file())]


def size(source: Source) -> int:
    """Bytes of ``files``."""
    return sum(file.stat().st_size for file in files(source))
