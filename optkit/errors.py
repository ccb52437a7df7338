"""The errors that users see: one line that says what is wrong, where, and the way out.

The command line prints ``str(error)`` and exits with ``error.exit_code``; a traceback appears only with ``--debug``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SPELLING = ContextVar("spelling", default="{}=")


def argument(name: str) -> str:
    """How whoever is told gives the argument ``name``: ``name=`` in Python, ``--name`` on the command line."""
    spelling = _SPELLING.get()
    return spelling.format(name.replace("_", "-") if spelling.startswith("-") else name)


@contextmanager
def on_the_command_line() -> Iterator[None]:
    """Within it messages name options, not arguments."""
    before = _SPELLING.set("--{}")
    try:
        yield
    finally:
        _SPELLING.reset(before)


#: Characters of a message, and of a word in it, that are shown: a value may be a file that was pasted.
_MESSAGE, _WORD = 2000, 400


class OptkitError(Exception):
    """The job failed. The message is one line: cause, place, way out."""

    exit_code = 1

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """``text`` without line breaks and other control characters, and without the most of what no one can read."""
    text = re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text)
    text = re.sub(rf"\S{{{_WORD},}}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", text)
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}..."


def in_a_line(error: BaseException) -> str:
    """What to print of any error: an OptkitError says it all, of others it is a bug that one may want to look into."""
    if isinstance(error, OptkitError):
        return str(error)
    said = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {said} (run again with --debug for the traceback)"


class RecipeError(OptkitError):
    """The recipe or the arguments are wrong; ``problems`` holds every fault of one level, each printable as it is."""

    exit_code = 2

    def __init__(self, problems: str | list[str]):
        self.problems = [one_line(text) for text in ([problems] if isinstance(problems, str) else problems)]
        Exception.__init__(self, "\n".join(self.problems))


class PlanError(RecipeError):
    """The recipe is well-formed, but cannot work with this model or this data."""


class DataError(PlanError):
    """A data file, column or label is not what the recipe says."""


class PruningError(OptkitError):
    """A pruning rule cannot be applied to this model, or did not reach its target."""


class ExportError(OptkitError):
    """The exported model does not hold what the checkpoint holds."""


class Interrupted(OptkitError):
    """The user pressed ctrl-C; the message says what is kept."""

    exit_code = 130
