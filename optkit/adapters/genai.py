"""openvino-genai: its pipelines compile models inside C++, with one core for the whole process."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, last_line


def add_extension(library: Path) -> None:
    """Adds an extension library to the core of openvino-genai; does nothing where that package is not installed.

    Its documented property ``extensions`` does that, but of the pipelines of 2026.4 those for embeddings and reranking
    do not read it. All share one core, so it is given to one that does, without a model to load.

    Raises:
        OptkitError: if the core refuses the library.
    """
    if find_spec("openvino_genai") is None:
        return
    import_openvino()
    try:
        import openvino_genai
    except ImportError:  # nobody can use it in this process
        return
    with tempfile.TemporaryDirectory() as empty:
        try:
            openvino_genai.LLMPipeline(empty, "CPU", extensions=[str(library)])
        except RuntimeError as error:
            if "extension" in str(error):
                raise OptkitError(f"{library}: openvino-genai refuses it: {last_line(error)}") from error
