"""The Hub: models and datasets by id, fetched into the Hub's own cache; each failure becomes one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.adapters import reason
from optkit.errors import DataError, OptkitError, PlanError

#: Files of sentence-transformers, the first of which says that there is the second, in a folder of its own.
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
_SETUP = ["*.json", "*.txt", "*.model", "*.jinja"]
_OTHERS = ["adapter_model*.safetensors", "model.onnx*", "openvino_model.*"]
_NESTED = ["*/*"]


def model_folder(
    name: str,
    revision: str = "main",
    *,
    key: str,
    weights: bool = True,
    code: bool = False,
    others: bool = False,
    way_out: str | None = None,
) -> Path:
    """The folder that holds the model ``name``: itself if it is one, else the Hub's snapshot, fetched if needed.

    Args:
        name: local folder or Hub id.
        revision: branch, tag or commit of a Hub id.
        key: where the recipe names it, such as ``model.name``; the messages say to set that.
        weights: fetch the weights too, and not only config and tokenizer. Safetensors where the Hub has them.
        code: fetch Python files too; only for trust_remote_code.
        others: where the Hub has no weights of PyTorch, fetch an adapter's, an ONNX model or an IR.
        way_out: what the messages say instead of setting ``key``.

    Raises:
        PlanError: if there is no such folder, or no such model or revision on the Hub.
        OptkitError: if the Hub can't be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    way_out = way_out or f"give a local folder with --set {key}=FOLDER"
    if Path(name).is_file():
        raise PlanError(f"{key}: {name} is a file: {way_out}, the one saved by save_pretrained")
    if not may_be_id(name):
        raise PlanError(f"{key}: no folder {name}: {way_out}")
    import huggingface_hub

    def fetch(patterns: list[str], ignored: list[str] | None = _NESTED) -> Path:
        found = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=ignored
        )
        return Path(found)

    patterns = _SETUP + (["*.py"] if code else [])
    try:
        folder = fetch(patterns + (["model*.safetensors"] if weights else []))
        if (folder / MODULES).is_file():
            fetch([POOLING], ignored=None)
        if weights and not any(folder.glob("model*.safetensors")):
            folder = fetch(patterns + ["pytorch_model*.bin"])
            if others and not any(folder.glob("pytorch_model*.bin")):
                folder = fetch(patterns + _OTHERS)
        return folder
    except Exception as error:
        if _says(error, "RevisionNotFoundError"):
            raise PlanError(f"{key}: the Hub's {name} has no revision '{revision}'") from error
        if _says(error, "RepositoryNotFoundError", "GatedRepoError", "HFValidationError"):
            raise PlanError(
                f"{key}: neither a folder nor a model that the Hub shows you: {name}: correct the name, or {way_out}"
            ) from error
        raise OptkitError(
            f"{key}: no folder {name}, and the Hub can't be reached ({_cause(error)}): {way_out}"
        ) from error


def model_file(name: str, revision: str, file: str) -> Path | None:
    """One file beside a model's weights, such as its card, from its folder or the Hub; None where it cannot be had."""
    if Path(name).is_dir():
        return Path(name) / file if (Path(name) / file).is_file() else None
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(name, file, revision=revision))
    except Exception:  # absent, refused or out of reach: what it would say stays unknown
        return None


def load_dataset(
    name: str, config: str | None, revision: str, key: str = "task.dataset.name", way_out: str | None = None
) -> Any:
    """All splits of the Hub's dataset ``name`` as a ``datasets.DatasetDict``; ``key`` is where the recipe names it, and
    ``way_out`` what messages say instead of changing that.

    Raises:
        DataError: if there is no such dataset, config or revision.
        OptkitError: if the Hub can't be reached.
    """
    import datasets

    bars = datasets.is_progress_bar_enabled()
    part, files = key.removesuffix(".name"), "FILE" if key.startswith("distill") else "{train: FILE, validation: FILE}"
    way_out = way_out or f"use local files with --set '{part}={{files: {files}}}'"
    try:
        datasets.disable_progress_bars()
        return datasets.load_dataset(name, config, revision=None if Path(name).is_dir() else revision)
    except Exception as error:  # which class an unreachable Hub raises changes with the version
        if _says(error, "DatasetNotFoundError", "RevisionNotFoundError"):
            at = "" if revision == "main" else f" with revision '{revision}'"
            raise DataError(f"{key}: the Hub shows no dataset '{name}'{at}: {way_out}") from error
        if _unreachable(error):
            raise OptkitError(
                f"{key}: '{name}' is not cached and the Hub can't be reached ({_cause(error)}): {way_out}"
            ) from error
        raise DataError(f"{part}: '{name}' cannot be loaded: {reason(error)}: {way_out}") from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def may_be_id(name: str) -> bool:
    """Whether ``name`` has the form of a Hub id, and not of a path."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def error_chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _says(error: BaseException, *names: str) -> bool:
    """Whether the error, or what caused it, is of a class of one of these names."""
    return any(cls.__name__ in names for link in error_chain(error) for cls in type(link).__mro__)


def _unreachable(error: BaseException) -> bool:
    # After a failed connection huggingface_hub 1.x closes its client, and the retry of datasets then says only this.
    return _says(error, "ConnectionError", "ConnectError", "OfflineModeIsEnabled", "HTTPError") or (
        "client has been closed" in str(error)
    )


def _cause(error: BaseException) -> str:
    if _says(error, "OfflineModeIsEnabled") or "OfflineModeIsEnabled" in str(error):
        return "HF_HUB_OFFLINE is set"
    return reason(error_chain(error)[-1] if _says(error, "ConnectError") else error)
