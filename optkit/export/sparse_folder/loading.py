"""Loads the checkpoint of a sparse folder as a model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.export.sparse_folder.archive import unpack_sparse
from optkit.export.sparse_folder.index import read_index
from optkit.pruning.compaction.checkpoint import load_compact


def load_sparse(folder: str | Path) -> Any:
    """The model of a sparse folder as transformers' own class, in evaluation mode, every weight bit for bit.

    Raises:
        OptkitError: if the folder holds no checkpoint, is not whole, or not what its index says.
    """
    files = [name for name in read_index(Path(folder)) if name.endswith(".safetensors")]
    if not files:
        raise OptkitError(f"{folder}: holds no checkpoint: unpack_sparse gives back the IR that it was made of")
    with tempfile.TemporaryDirectory() as dense:
        unpack_sparse(folder, dense, only=files)
        return load_compact(dense)
