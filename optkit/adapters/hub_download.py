"""Downloads a whole repository from the Hub; each file is checked, and the folder appears when it is complete."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub_transfer import Transfer
from optkit.errors import OptkitError, PlanError
from optkit.folders import move_into_place

if TYPE_CHECKING:
    from optkit.progress import Reporter


def download(repo_id: str, output: Path, *, revision: str, reporter: Reporter) -> dict[str, Any]:
    """Downloads a model's repository into the folder ``output``, which appears when it is complete.

    What arrived before a connection broke is not downloaded again, in a later call either. No code of it is executed.

    Returns:
        ``commit`` that the revision stands for, and ``files``, their bytes by name.

    Raises:
        PlanError: if there is no such repository or revision, or ``output`` is not empty.
        OptkitError: if the Hub cannot be reached, or a file arrived damaged.
    """
    if output.resolve() == Path.cwd():
        raise PlanError(f"{output}: is the current folder: name another --output")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise PlanError(f"{output}: is not an empty folder: choose another --output")
    transfer = Transfer(repo_id, f"pull {repo_id}", reporter)
    return transfer.persist(lambda: _download(transfer, output, revision), _pull_refusal(revision))


def _download(transfer: Transfer, output: Path, revision: str) -> dict[str, Any]:
    api, repo_id = transfer.api, transfer.repo_id
    found = api.model_info(repo_id, revision=revision, files_metadata=True)
    files = {file.rfilename: file for file in found.siblings or () if file.rfilename != ".gitattributes"}
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise OptkitError(
                f"{transfer.what}: its file {name} would be written outside the folder: nothing was downloaded"
            )
    partial = output.with_name(f".{output.name}.{found.sha[:12]}.part")
    for name, file in files.items():
        transfer.announce(name, file.size)
        path = Path(api.hf_hub_download(repo_id, name, revision=found.sha, local_dir=partial))
        if file.lfs is not None and _sha256(path) != file.lfs.sha256:
            path.unlink()
            raise OptkitError(f"{transfer.what}: {name} arrived damaged: run the same command again")
    partial.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    move_into_place(partial, output)
    sizes = {name: (output / name).stat().st_size for name in files}
    return {"commit": found.sha, "files": sizes}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pull_refusal(revision: str) -> Callable[[int], str | None]:
    hidden = (
        f"the Hub has no such model or no revision '{revision}' of it: correct the name, or log in if it is private"
    )
    return {401: hidden, 403: hidden, 404: hidden}.get
