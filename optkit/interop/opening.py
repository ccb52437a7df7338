"""What a model from elsewhere is: a checkpoint, an adapter, an ONNX model or an IR; and where its config lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optkit.adapters.hub import model_folder
from optkit.checkpoints.files import has_weights
from optkit.errors import UsageError
from optkit.ir.io import find_xml

ADAPTER = "adapter_config.json"
_WAY_OUT = "give the folder of a model, an .onnx or .xml file, or the Hub id of a model"


@dataclass(frozen=True)
class Opened:
    """A model as it was found.

    Attributes:
        path: the folder of a ``checkpoint`` or an ``adapter``, the file of an ``onnx`` model, the xml of an ``ir``.
        setup: the folder of its config and tokenizer.
    """

    kind: Literal["checkpoint", "adapter", "onnx", "ir"]
    path: Path
    setup: Path


def open_model(name: str | Path, revision: str = "main") -> Opened:
    """Finds the model ``name``: a folder, an .onnx or .xml file, or a Hub id, which is fetched.

    Of several forms in one folder the weights of PyTorch are taken, then those of an adapter, an IR, an ONNX model.

    Raises:
        UsageError: if nothing is there, or what is there is no model.
        OptkitError: if the Hub can't be reached.
    """
    path = Path(name)
    if path.is_file():
        if path.suffix == ".onnx":
            return Opened("onnx", path, path.parent)
        if path.suffix == ".xml":
            return Opened("ir", path, path.parent)
        raise UsageError(f"{path}: not a model file: give the folder of the model, or an .onnx or .xml file")
    if path.suffix in (".onnx", ".xml"):
        raise UsageError(f"{path}: no such file: {_WAY_OUT}")

    folder = model_folder(str(name), revision, key="model", others=True, way_out=_WAY_OUT)
    if has_weights(folder):
        return Opened("checkpoint", folder, folder)
    if (folder / ADAPTER).is_file():
        return Opened("adapter", folder, folder)
    if (xml := find_xml(folder)) is not None:
        return Opened("ir", xml, folder)
    models = sorted(folder.glob("*.onnx"))
    if (folder / "model.onnx").is_file() or len(models) == 1:
        return Opened("onnx", folder / "model.onnx" if (folder / "model.onnx").is_file() else models[0], folder)
    if models:
        raise UsageError(f"{folder}: which of {', '.join(file.name for file in models[:5])}? Name the file")
    if has_weights(folder / "pruned"):
        raise UsageError(f"{folder}: a run folder: give its checkpoint, {folder / 'pruned'}")
    raise UsageError(
        f"{folder}: no model in this folder, none of model.safetensors, pytorch_model.bin, {ADAPTER}, "
        f"openvino_model.xml and model.onnx: {_WAY_OUT}"
    )
