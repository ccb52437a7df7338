"""The packages that write and run ONNX, and where a model's file lies."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError

MODEL_FILE = "model.onnx"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def missing() -> str | None:
    """Why ONNX cannot be written here, in a line; None where it can."""
    absent = [name for name in _PACKAGES if find_spec(name) is None]
    if not absent:
        return None
    return f"{', '.join(absent)} {'are' if len(absent) > 1 else 'is'} not installed: pip install 'optkit[onnx]'"


def load_package(name: str) -> Any:
    """The module ``name``, of one of these packages.

    Raises:
        OptkitError: if one of them is missing.
    """
    problem = missing()
    if problem is not None:
        raise OptkitError(f"ONNX: {problem}")
    return import_module(name)


def find(path: Path) -> Path | None:
    """The ONNX file that ``path`` is, or holds as ``model.onnx``; else None."""
    path = Path(path)
    path = path / MODEL_FILE if path.is_dir() else path
    return path if path.is_file() and path.suffix == ".onnx" else None
