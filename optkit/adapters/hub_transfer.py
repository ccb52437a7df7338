"""Whole repositories, up to the Hub in one commit and down from it; what goes wrong becomes one line.

The token is read from the environment or the login by huggingface_hub, and stands in no message of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from optkit.adapters import reason
from optkit.adapters.hub import error_chain
from optkit.errors import OptkitError, PlanError
from optkit.progress import size

if TYPE_CHECKING:
    from optkit.progress import Reporter

T = TypeVar("T")
#: Tries of a whole transfer, each of which goes on where the last one stopped; the longest that one waits between them.
ATTEMPTS, LONGEST = 4, 120.0
#: Bytes from which a file is worth a line of its own.
_LARGE = 1_000_000
_AGAIN = "run the same command again: what has arrived is not sent twice"
_PASSING = (408, 425, 429, 500, 502, 503, 504)


def token_problem() -> str | None:
    """Why nothing can be pushed from here, as far as that shows without asking the Hub; None if it may be."""
    from huggingface_hub import get_token, is_offline_mode

    token = get_token()
    if is_offline_mode():
        return "HF_HUB_OFFLINE is set: unset it to push"
    if token is None:
        return "no token for the Hub: set HF_TOKEN, or run `hf auth login`"
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        return f"{_token_source()} holds characters that no token has: copy the token again"
    return None


def upload(
    repo_id: str, files: Mapping[str, Path | bytes], *, private: bool, message: str, reporter: Reporter
) -> dict[str, Any]:
    """Publishes ``files`` (contents by path in the repository) in one commit; a repository that is not there is made.

    A connection that breaks is taken up again, and what has arrived is not sent twice, in a later call neither. Files
    that the repository has by other names stay.

    Args:
        repo_id: ORG/NAME.
        private: make the repository private; one that is there and public is refused.
        message: of the commit.

    Returns:
        ``url`` of the repository, ``commit``, and ``changed``, false if the repository held exactly this before.

    Raises:
        OptkitError: if the token, the name or the card is refused, or the Hub cannot be reached.
    """
    if problem := token_problem():
        raise OptkitError(problem)
    transfer = _Transfer(repo_id, f"push to {repo_id}", reporter)
    return transfer.persist(lambda: _upload(transfer, files, private, message), _push_refusal)


class _Transfer:
    """One repository on its way: what its tries share, and how often there are some."""

    def __init__(self, repo_id: str, what: str, reporter: Reporter):
        from huggingface_hub import HfApi

        self.api, self.repo_id, self.what, self.reporter = HfApi(library_name="optkit"), repo_id, what, reporter
        self.made = False  # the repository, by one of the tries
        self.committing = False
        self._announced: set[str] = set()

    def announce(self, name: str, count: int | None) -> None:
        """Names a file that takes a while, once."""
        if (count or 0) >= _LARGE and name not in self._announced:
            self._announced.add(name)
            self.reporter.say(f"  {name}: {size(count)}")

    def persist(self, attempt: Callable[[], T], refusal: Callable[[int], str | None]) -> T:
        """What ``attempt`` returns, tried again where the failure is a passing one, as long after as the Hub asks.

        Args:
            refusal: what a status means here, in words.
        """
        with _hushed(self.reporter):
            for number in range(1, ATTEMPTS + 1):
                try:
                    return attempt()
                except OptkitError:
                    raise
                except Exception as error:
                    pause = _pause(error, number)
                    if pause is None or pause > LONGEST or number == ATTEMPTS:
                        kind = PlanError if _status(error) in (400, 404) else OptkitError
                        said = f"{self.what}: {_said(error, refusal, pause)}{self._left(error, pause)}"
                        raise kind(_redacted(said)) from error
                    time.sleep(pause)
        raise AssertionError

    def _left(self, error: Exception, pause: float | None) -> str:
        """What an upload that failed for good leaves on the Hub."""
        if self.committing and pause is not None and _status(error) != 429:
            return "; whether the commit arrived is not known"
        return "; nothing was committed, and the new repository is empty" if self.made else ""


def _upload(transfer: _Transfer, files: Mapping[str, Path | bytes], private: bool, message: str) -> dict[str, Any]:
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
            f"{transfer.what}: the repository is there and public: make it private in its settings, or leave out "
            "--private"
        )
    # Made anew for each try, which asks the Hub again what it holds by now.
    operations = [CommitOperationAdd(name, held) for name, held in files.items()]
    for operation in operations:
        transfer.announce(operation.path_in_repo, operation.upload_info.size)
        api.preupload_lfs_files(repo_id, additions=[operation], free_memory=False)
    # Whatever somebody else commits meanwhile is not overwritten unseen.
    parent, transfer.committing = there.sha if there else None, True
    commit = api.create_commit(repo_id, operations, commit_message=message, parent_commit=parent)
    return {"url": f"{api.endpoint}/{repo_id}", "commit": commit.oid, "changed": commit.oid != parent}


def download(repo_id: str, output: Path, *, revision: str, reporter: Reporter) -> dict[str, Any]:
    """Fetches a model's repository into the folder ``output``, which appears when all of it is there.

    What was fetched before a connection broke is taken up again, also by a later call. Nothing of it is run.

    Returns:
        ``commit`` that the revision stands for, and ``files``, their bytes by name.

    Raises:
        PlanError: if there is no such repository or revision, or ``output`` is not empty.
        OptkitError: if the Hub cannot be reached, or a file came damaged.
    """
    if output.resolve() == Path.cwd():
        raise PlanError(f"{output}: is the current folder: name another --output")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise PlanError(f"{output}: is not an empty folder: choose another --output")
    transfer = _Transfer(repo_id, f"pull {repo_id}", reporter)
    return transfer.persist(lambda: _download(transfer, output, revision), _pull_refusal(revision))


def _download(transfer: _Transfer, output: Path, revision: str) -> dict[str, Any]:
    api, repo_id = transfer.api, transfer.repo_id
    found = api.model_info(repo_id, revision=revision, files_metadata=True)
    files = {file.rfilename: file for file in found.siblings or () if file.rfilename != ".gitattributes"}
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise OptkitError(
                f"{transfer.what}: it has a file that would lie outside the folder: {name}: nothing is fetched"
            )
    partial = output.with_name(f".{output.name}.{found.sha[:12]}.part")
    for name, file in files.items():
        transfer.announce(name, file.size)
        path = Path(api.hf_hub_download(repo_id, name, revision=found.sha, local_dir=partial))
        if file.lfs is not None and _sha256(path) != file.lfs.sha256:
            path.unlink()
            raise OptkitError(f"{transfer.what}: {name} came damaged: run the same command again")
    partial.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    os.replace(partial, output)
    held = {name: (output / name).stat().st_size for name in files}
    return {"commit": found.sha, "files": held}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _response(error: BaseException) -> Any:
    """The Hub's answer behind ``error``, if there was one."""
    answers = (getattr(link, "response", None) for link in error_chain(error))
    return next((answer for answer in answers if answer is not None), None)


def _status(error: BaseException) -> int | None:
    answer = _response(error)
    return None if answer is None else answer.status_code


def _pause(error: BaseException, number: int) -> float | None:
    """Seconds after which another try makes sense; None where it makes none."""
    import httpx
    from huggingface_hub.errors import OfflineModeIsEnabled

    answer, chain = _response(error), error_chain(error)
    if any(isinstance(link, OfflineModeIsEnabled) for link in chain):
        return None
    if answer is not None and answer.status_code >= 400:
        asked = answer.headers.get("Retry-After", "")
        pause = float(asked) if asked.isdecimal() else 2.0 ** (number - 1)
        return pause if answer.status_code in _PASSING else None
    # An error page of a proxy is no JSON.
    broken = (httpx.TransportError, ConnectionError, json.JSONDecodeError)
    return 2.0 ** (number - 1) if any(isinstance(link, broken) for link in chain) else None


def _said(error: BaseException, refusal: Callable[[int], str | None], pause: float | None) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    chain, status = error_chain(error), _status(error)
    if type(error) is ValueError:  # what the Hub's checks say of the card's metadata
        return " ".join(str(error).split())
    if any(isinstance(link, OfflineModeIsEnabled) for link in chain):
        return "HF_HUB_OFFLINE is set: unset it to reach the Hub"
    if status is not None and status >= 400:
        known = refusal(status)
        if known:
            return known
        if status == 429:
            wait = f"asks to wait {pause:.0f} s" if pause else "asks to wait"
            return f"the Hub {wait} (429, too many requests): then {_AGAIN}"
        if status in _PASSING:
            return f"the Hub cannot answer (error {status}): {_AGAIN}"
        messages = (getattr(link, "server_message", None) for link in chain)
        server = next((message for message in messages if message), None)
        return f"the Hub refuses ({status}): {' '.join((server or reason(error)).split())}"
    if pause is not None:
        return f"the connection to the Hub broke ({reason(chain[-1])}): {_AGAIN}"
    return reason(error)


def _push_refusal(status: int) -> str | None:
    return {
        401: f"the Hub does not accept the token ({_token_source()}): make one with write permission in your settings "
        "there, and set HF_TOKEN or run `hf auth login`",
        403: f"the token ({_token_source()}) may not write there: use one with write permission for this organisation, "
        "or another --repo",
        404: "the repository is gone, or the token may not see it: correct --repo, or use another token",
        412: f"somebody else has committed meanwhile, and nothing of it was overwritten: {_AGAIN}",
        409: f"somebody else is committing: {_AGAIN}",
    }.get(status)


def _pull_refusal(revision: str) -> Callable[[int], str | None]:
    hidden = (
        f"the Hub shows no such model, or not its revision '{revision}': correct them, or log in where it is private"
    )
    return {401: hidden, 403: hidden, 404: hidden}.get


def _token_source() -> str:
    held = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return f"from {held}" if held else "from the login"


def _redacted(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text


@contextmanager
def _hushed(reporter: Reporter) -> Iterator[None]:
    """Keeps huggingface_hub's own words off the terminal; its bars stay where somebody watches.

    What it would say of a try that failed names URLs that carry signatures.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    level, off = logging.get_verbosity(), are_progress_bars_disabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logging.set_verbosity(logging.CRITICAL)
        if reporter.quiet or not reporter.console.is_terminal:
            disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if not off:
                enable_progress_bars()
            for warning in caught:
                if "README.md" in str(warning.message):
                    reporter.say(f"note: {' '.join(str(warning.message).split())}")
