"""One transfer of a repository to or from the Hub: tries, pauses, and one line for what goes wrong."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from optkit.adapters import reason
from optkit.adapters.hub import error_chain
from optkit.errors import OptkitError, PlanError
from optkit.progress import size

if TYPE_CHECKING:
    from optkit.progress import Reporter

T = TypeVar("T")
#: Tries of a whole transfer, each of which continues where the last one stopped; the longest pause between them, in s.
ATTEMPTS, LONGEST = 4, 120.0
#: Files of at least this many bytes are announced, each in a line of its own.
_LARGE = 1_000_000
AGAIN = "run the same command again: what has arrived is not sent again"
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class Transfer:
    """The transfer of one repository: what its tries share, and how often it is tried."""

    def __init__(self, repo_id: str, what: str, reporter: Reporter):
        from huggingface_hub import HfApi

        self.api, self.repo_id, self.what, self.reporter = HfApi(library_name="optkit"), repo_id, what, reporter
        self.made = False  # the repository, by one of the tries
        self.committing = False
        self._announced: set[str] = set()

    def announce(self, name: str, count: int | None) -> None:
        """Names a large file, once."""
        if (count or 0) >= _LARGE and name not in self._announced:
            self._announced.add(name)
            self.reporter.say(f"  {name}: {size(count)}")

    def persist(self, attempt: Callable[[], T], refusal: Callable[[int], str | None]) -> T:
        """Returns what ``attempt`` returns; temporary failures are retried after the pause that the Hub asks for.

        Args:
            refusal: the message for an HTTP status, or None.
        """
        with _silence_hub(self.reporter):
            for number in range(1, ATTEMPTS + 1):
                try:
                    return attempt()
                except OptkitError:
                    raise
                except Exception as error:
                    pause = _pause(error, number)
                    if pause is None or pause > LONGEST or number == ATTEMPTS:
                        kind = PlanError if _status(error) in (400, 404) else OptkitError
                        message = (
                            f"{self.what}: {_describe(error, refusal, pause)}{self._describe_leftovers(error, pause)}"
                        )
                        raise kind(_redact(message)) from error
                    time.sleep(pause)
        raise AssertionError

    def _describe_leftovers(self, error: Exception, pause: float | None) -> str:
        """What a failed upload leaves on the Hub."""
        if self.committing and pause is not None and _status(error) != 429:
            return "; it is not known whether the commit arrived"
        return "; nothing was committed, and the new repository is empty" if self.made else ""


def _response(error: BaseException) -> Any:
    """The Hub's answer behind ``error``, if there was one."""
    answers = (getattr(link, "response", None) for link in error_chain(error))
    return next((answer for answer in answers if answer is not None), None)


def _status(error: BaseException) -> int | None:
    answer = _response(error)
    return None if answer is None else answer.status_code


def _pause(error: BaseException, number: int) -> float | None:
    """Seconds to wait before the next try; None if another try is of no use."""
    import httpx
    from huggingface_hub.errors import OfflineModeIsEnabled

    answer, chain = _response(error), error_chain(error)
    if any(isinstance(link, OfflineModeIsEnabled) for link in chain):
        return None
    if answer is not None and answer.status_code >= 400:
        retry_after = answer.headers.get("Retry-After", "")
        pause = float(retry_after) if retry_after.isdecimal() else 2.0 ** (number - 1)
        return pause if answer.status_code in _TEMPORARY else None
    # The error page of a proxy is not JSON.
    broken = (httpx.TransportError, ConnectionError, json.JSONDecodeError)
    return 2.0 ** (number - 1) if any(isinstance(link, broken) for link in chain) else None


def _describe(error: BaseException, refusal: Callable[[int], str | None], pause: float | None) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    chain, status = error_chain(error), _status(error)
    if type(error) is ValueError:  # what the Hub's checks say of the card's metadata
        return " ".join(str(error).split())
    if any(isinstance(link, OfflineModeIsEnabled) for link in chain):
        return "HF_HUB_OFFLINE is set: unset it to reach the Hub"
    if status is not None and status >= 400:
        explanation = refusal(status)
        if explanation:
            return explanation
        if status == 429:
            wait = f"asks to wait {pause:.0f} s" if pause else "asks to wait"
            return f"the Hub {wait} (429, too many requests): then {AGAIN}"
        if status in _TEMPORARY:
            return f"the Hub cannot answer (error {status}): {AGAIN}"
        messages = (getattr(link, "server_message", None) for link in chain)
        server = next((message for message in messages if message), None)
        return f"the Hub refuses ({status}): {' '.join((server or reason(error)).split())}"
    if pause is not None:
        return f"the connection to the Hub broke ({reason(chain[-1])}): {AGAIN}"
    return reason(error)


def _redact(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text


@contextmanager
def _silence_hub(reporter: Reporter) -> Iterator[None]:
    """Keeps huggingface_hub's messages off the terminal; its progress bars stay if stderr is one.

    Its messages on a failed try name URLs that carry signatures.
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
