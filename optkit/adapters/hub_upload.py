"""Uploads a whole repository to the Hub in one commit.

The token is read from the environment or the login by huggingface_hub, and is in no message of ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub_transfer import AGAIN, Transfer
from optkit.errors import OptkitError

if TYPE_CHECKING:
    from optkit.progress import Reporter


def token_problem() -> str | None:
    """Why a push cannot work, as far as that is known without asking the Hub; None if it may work."""
    from huggingface_hub import get_token, is_offline_mode

    token = get_token()
    if is_offline_mode():
        return "HF_HUB_OFFLINE is set: unset it to push"
    if token is None:
        return "no token for the Hub: set HF_TOKEN, or run `hf auth login`"
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        return f"{_token_source()} contains characters that tokens do not have: copy the token again"
    return None


def upload(
    repo_id: str, files: Mapping[str, Path | bytes], *, private: bool, message: str, reporter: Reporter
) -> dict[str, Any]:
    """Publishes ``files`` (contents by path) in one commit; a repository that does not exist is created.

    A broken connection is retried, and what has arrived is not sent again, in a later call either. Other files of the
    repository stay.

    Args:
        repo_id: ORG/NAME.
        private: create the repository as a private one; an existing public one is refused.
        message: of the commit.

    Returns:
        ``url`` of the repository, ``commit``, and ``changed``, false if the repository held exactly this before.

    Raises:
        OptkitError: if the token, the name or the card is refused, or the Hub cannot be reached.
    """
    if problem := token_problem():
        raise OptkitError(problem)
    transfer = Transfer(repo_id, f"push to {repo_id}", reporter)
    return transfer.persist(lambda: _upload(transfer, files, private, message), _push_refusal)


def _upload(transfer: Transfer, files: Mapping[str, Path | bytes], private: bool, message: str) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import RepositoryNotFoundError

    api, repo_id = transfer.api, transfer.repo_id
    try:
        there = api.model_info(repo_id)
    except RepositoryNotFoundError as error:
        if error.response.status_code == 401:
            raise
        there = None
    if there is None:
        api.create_repo(repo_id, private=True if private else None, exist_ok=True)
        transfer.made = True
    elif private and not there.private:
        raise OptkitError(
            f"{transfer.what}: the repository exists and is public: make it private in its settings, or leave out "
            "--private"
        )
    # Made anew for each try, since each asks the Hub again what it holds by now.
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    for operation in operations:
        transfer.announce(operation.path_in_repo, operation.upload_info.size)
        api.preupload_lfs_files(repo_id, additions=[operation], free_memory=False)
    # With its parent named, the commit does not overwrite what somebody else commits meanwhile.
    parent, transfer.committing = there.sha if there else None, True
    commit = api.create_commit(repo_id, operations, commit_message=message, parent_commit=parent)
    return {"url": f"{api.endpoint}/{repo_id}", "commit": commit.oid, "changed": commit.oid != parent}


def _push_refusal(status: int) -> str | None:
    return {
        401: f"the Hub does not accept the token ({_token_source()}): make one with write permission in your settings "
        "there, and set HF_TOKEN or run `hf auth login`",
        403: f"the token ({_token_source()}) has no write permission there: use one that has it for this "
        "organisation, or another --repo",
        404: "the repository does not exist, or the token cannot see it: correct --repo, or use another token",
        412: f"somebody else has committed meanwhile, and nothing was overwritten: {AGAIN}",
        409: f"somebody else is committing: {AGAIN}",
    }.get(status)


def _token_source() -> str:
    variable = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return f"from {variable}" if variable else "from the login"
