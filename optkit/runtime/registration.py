"""Lets other packages load baked IRs: every OpenVINO core of the process gets the extension before it reads a model.

OpenVINO has no list of extensions for a process, only ``Core.add_extension``, and packages such as optimum-intel keep
cores of their own that they made when they were imported. So the four methods of ``openvino.Core`` by which a model
comes in are wrapped, which also reaches cores that exist already.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from optkit.adapters import genai
from optkit.ir.io import import_openvino
from optkit.runtime import extension

if TYPE_CHECKING:
    import openvino

#: Methods of a core that take a model, or bytes of one.
_METHODS = ("read_model", "compile_model", "import_model", "query_model")

_lock = Lock()
_originals: dict[str, Callable[..., Any]] = {}
_extended: WeakSet[openvino.Core] = WeakSet()
_active = False


def register() -> None:
    """Lets every OpenVINO core of this process load baked IRs, whichever package it belongs to.

    Afterwards ``SentenceTransformer`` and ``CrossEncoder`` with ``backend="openvino"``, optimum-intel's ``OVModel...``
    and openvino-genai's pipelines load what ``bake`` wrote like any other IR, with the configuration that they pass to
    OpenVINO. Cores made before and afterwards have it, those of Python; of C++ that of openvino-genai. A second call
    changes nothing.

    Raises:
        OptkitError: if the extension is missing, or was built for another OpenVINO than the one installed.
    """
    global _active
    extension.library()
    core_class = import_openvino().Core
    with _lock:
        for name in _METHODS if not _originals else ():
            _originals[name] = getattr(core_class, name)
            setattr(core_class, name, _with_extension(_originals[name]))
        _active = True
    genai.add_extension(extension.extension_path())


def unregister() -> None:
    """Undoes ``register``: cores that have read no model since then load baked IRs no longer.

    OpenVINO cannot take an extension from a core that has it, so others still do, and so does that of openvino-genai.
    """
    global _active
    core_class = import_openvino().Core
    with _lock:
        _active = False
        # Whoever wrapped a method after us keeps that, and our wrapper in it only passes calls on.
        if all(getattr(getattr(core_class, name), "_optkit", False) for name in _originals):
            for name, original in _originals.items():
                setattr(core_class, name, original)
            _originals.clear()


def _with_extension(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def extended(self: openvino.Core, *args: Any, **kwargs: Any) -> Any:
        if _active and self not in _extended:
            with _lock:
                if self not in _extended:
                    extension.add_to(self)
                    _extended.add(self)
        return method(self, *args, **kwargs)

    extended._optkit = True  # type: ignore[attr-defined]
    return extended
