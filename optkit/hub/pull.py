"""`pull`: downloads a model's repository from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.adapters.hub_download import download
from optkit.hub.repository import check_repository
from optkit.progress import Reporter


def pull(
    repo_id: str, output: str | Path | None = None, *, revision: str = "main", quiet: bool = True
) -> dict[str, Any]:
    """Downloads a model's repository into a folder. No code of it is executed.

    Args:
        repo_id: ORG/NAME.
        output: an empty or new folder; NAME here by default.
        revision: branch, tag or commit.
        quiet: print nothing.

    Returns:
        ``repo_id``, ``revision``, ``commit``, ``output``, ``files`` (bytes by name) and ``bytes``.

    Raises:
        UsageError: if there is no such repository or revision, or ``output`` is not empty.
        OptkitError: if the Hub cannot be reached, or a file arrived damaged.
    """
    check_repository(repo_id)
    folder = Path(output) if output is not None else Path(repo_id.split("/")[1])
    result = download(repo_id, folder, revision=revision, reporter=Reporter(quiet))
    facts = {"repo_id": repo_id, "revision": revision, "output": str(folder)}
    return facts | result | {"bytes": sum(result["files"].values())}
