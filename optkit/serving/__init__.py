"""Serves exported models over HTTP: the interfaces of Text Embeddings Inference, of OpenAI for embeddings, and the
health and metadata of the Open Inference Protocol.

``app`` makes an application, ``ModelRunner`` runs one model without HTTP. Needs the extra ``optkit[serve]``, and of
optkit's own requirements openvino, numpy, tokenizers and pydantic. Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.lazy import lazy_attributes

if TYPE_CHECKING:
    from optkit.serving.encoder import RunnerOptions
    from optkit.serving.folder import read_folder
    from optkit.serving.launch import app
    from optkit.serving.runner import ModelRunner

__all__ = ["ModelRunner", "RunnerOptions", "app", "read_folder"]

#: The module of each public name.
_NAMES = {
    "app": "optkit.serving.launch",
    "ModelRunner": "optkit.serving.runner",
    "RunnerOptions": "optkit.serving.encoder",
    "read_folder": "optkit.serving.folder",
}

if not TYPE_CHECKING:  # else a type checker would take every name for a public one
    __getattr__ = lazy_attributes(__name__, _NAMES)
