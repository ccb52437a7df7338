"""Apache TVM: models of transformers as compiled libraries, dense or with block-sparse layers.

Whatever imports TVM is in this folder; the package is an extra, ``optkit[tvm]``.
"""

from __future__ import annotations

from importlib.util import find_spec


def missing() -> str | None:
    """Why TVM cannot be used here, in a line; None where it can."""
    if find_spec("tvm") is None:
        return "apache-tvm is not installed: pip install 'optkit[tvm]'"
    return None
