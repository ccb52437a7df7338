"""openvino-tokenizers: a Hugging Face tokenizer as an IR, so that a program without Python can feed the model.

The package is an extra, ``optkit[tokenizers]``. Who reads such an IR needs it too, for the operations in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from optkit.adapters import quiet, reason
from optkit.errors import ExportError
from optkit.ir.io import import_openvino, last_line

TOKENIZER_FILE = "openvino_tokenizer.xml"


def missing() -> str | None:
    """Why a tokenizer cannot be converted here, in a line; None where it can."""
    if find_spec("openvino_tokenizers") is not None:
        return None
    return "openvino-tokenizers is not installed: pip install 'optkit[tokenizers]'"


def convert_tokenizer(
    tokenizer: Any, folder: Path, texts: Sequence[Sequence[str]], *, max_length: int, seq: int | None = None
) -> Path:
    """Writes ``openvino_tokenizer.xml`` into ``folder``, and checks that it gives the ids of ``tokenizer``.

    Args:
        tokenizer: of transformers.
        folder: of the model's IR.
        texts: columns of texts to compare by, at least one each: one column, or two for pairs.
        max_length: longer inputs are cut.
        seq: pad every input to this length; None pads to the longest of a batch.

    Raises:
        ExportError: if the package is missing, it cannot convert this kind of tokenizer, or an id differs.
    """
    problem = missing()
    if problem is not None:
        raise ExportError(f"export.tokenizer: {problem}")
    openvino = import_openvino()
    with quiet():
        import openvino_tokenizers

        try:
            model = openvino_tokenizers.convert_tokenizer(
                tokenizer,
                truncation=True,
                max_length=max_length if seq is None else seq,
                use_max_padding=seq is not None,
                number_of_inputs=len(texts),
            )
        except Exception as error:  # a parser of each kind of tokenizer, with errors of its own
            why = f"openvino-tokenizers cannot convert a {type(tokenizer).__name__}: {reason(error)}"
            raise ExportError(f"{why}: set export.tokenizer: false") from error
        path = Path(folder) / TOKENIZER_FILE
        openvino.save_model(model, path)
        try:
            compiled = openvino.Core().compile_model(path, "CPU")
            found = compiled(list(map(list, texts)) if len(texts) > 1 else list(texts[0]))
        except RuntimeError as error:
            raise ExportError(f"{path}: OpenVINO cannot run it ({last_line(error)})") from error
    padding = {"padding": True} if seq is None else {"padding": "max_length"}
    longest = max_length if seq is None else seq
    expected = tokenizer(*map(list, texts), truncation=True, max_length=longest, return_tensors="np", **padding)
    names = {name for port in compiled.outputs for name in port.get_names()}
    for name in tokenizer.model_input_names:
        if name not in names or not _equal(found[name], expected[name]):
            raise ExportError(
                f"{path}: its {name} differ from the Hugging Face tokenizer's on the training texts: "
                "set export.tokenizer: false"
            )
    return path


def _equal(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and bool((ours == theirs).all())
