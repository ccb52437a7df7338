"""What is called from outside: ``serve`` runs a server, ``app`` makes an application for another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError, UsageError
from optkit.serving.folder import read_folder

if TYPE_CHECKING:
    from fastapi import FastAPI

    from optkit.serving.settings import Settings

Folders = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
#: The modules of the extra ``optkit[serve]`` that serving cannot do without.
_MODULES = ("fastapi", "uvicorn", "prometheus_client")


def serve(folders: Folders = (), *, config: str | Path | None = None, **settings: Any) -> None:
    """Serves models over HTTP until SIGTERM or ctrl-C.

    Args:
        folders: of exported models; with names, where they are served under other names than those of their tasks;
            none for those of ``config`` or of OPTKIT_SERVE_MODELS.
        config: a YAML file with settings.
        **settings: such as ``port=8000``; see ``docs/serving.md``.

    Raises:
        UsageError: for unknown settings or wrong values, or a folder without a model that can be served.
        OptkitError: if no model can be loaded, the port is taken, or a package is missing.
    """
    _need_extra()
    from optkit.serving.server import run
    from optkit.serving.settings import api_key

    found = _settings(folders, settings, config)
    for folder in found.models.values():
        read_folder(folder)
    run(found, api_key())


def app(folders: Folders, *, key: str | None = None, **settings: Any) -> FastAPI:
    """An ASGI application that serves models, to be run by any server or mounted in another application.

    The models are loaded before this returns. Settings of the process (``host``, ``workers``, ``drain`` ...) have no
    effect, and variables OPTKIT_SERVE_... count as for ``optkit serve``.

    Args:
        folders: of exported models, each with ``openvino_model.xml``, ``config.json`` and ``tokenizer.json``; with
            names, where they are served under other names than those of their tasks.
        key: that requests carry as ``Authorization: Bearer KEY``; that of OPTKIT_SERVE_API_KEY if None.
        **settings: such as ``max_texts=64``; see ``docs/serving.md``.

    Raises:
        UsageError: for unknown settings or wrong values, or a folder without a model that can be served.
        OptkitError: if no model can be loaded, or a package is missing.
    """
    _need_extra()
    from optkit.serving.application import build
    from optkit.serving.settings import api_key

    return build(_settings(folders, settings), key if key is not None else api_key())


def _settings(folders: Folders, settings: Mapping[str, Any], config: str | Path | None = None) -> Settings:
    from optkit.serving.settings import load_settings

    given = dict(settings)
    if folders:
        listed = [folders] if isinstance(folders, (str, Path)) else folders
        given["models"] = dict(listed) if isinstance(listed, Mapping) else list(listed)
    found = load_settings(given, config=None if config is None else Path(config))
    if not found.models:
        raise UsageError("no model: give the folder of an exported model, such as runs/NAME/openvino")
    return found


def _need_extra() -> None:
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise OptkitError(f"serving needs {', '.join(missing)}: pip install 'optkit[serve]'")
