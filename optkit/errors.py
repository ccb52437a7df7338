"""The errors that users see: one line that says what is wrong, where, and the way out.

The command line prints ``str(error)`` and exits with ``error.exit_code``; a traceback appears only with ``--debug``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_SPELLING = ContextVar("spelling", default="{}=")


def argument(name: str) -> str:
    """The spelling of the argument ``name`` for messages: ``name=`` in Python, ``--name`` on the command line."""
    spelling = _SPELLING.get()
    return spelling.format(name.replace("_", "-") if spelling.startswith("-") else name)


@contextmanager
def on_the_command_line() -> Iterator[None]:
    """Inside this context messages name command line options instead of Python arguments."""
    before = _SPELLING.set("--{}")
    try:
        yield
    finally:
        _SPELLING.reset(before)


#: The most characters of a message, and of one word in it, that are shown: a quoted value may be very long.
_MESSAGE, _WORD = 2000, 400


class OptkitError(Exception):
    """The job failed. The message is one line: cause, place, way out."""

    exit_code = 1

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


def why_not(path: str | Path, reason: str) -> str:
    """Why ``path`` is not what was asked for: that nothing is there, or, where something is, ``reason``."""
    return reason if Path(path).exists() else "no such file or folder"


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, with very long words and messages shortened."""
    text = re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", text)
    text = re.sub(rf"\S{{{_WORD},}}", lambda word: f"{word[0][:60]}...{word[0][-20:]}", text)
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}..."


def in_a_line(error: BaseException) -> str:
    """The line to print for any error; an error that is not an OptkitError is a bug, so its type is named too."""
    if isinstance(error, OptkitError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("optkit"):
        return f"the package {error.name} is not installed: install optkit with all that it requires"
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {text} (run again with --debug for the traceback)"


class UsageError(OptkitError):
    """What the caller gave is wrong: an argument, a missing file. ``problems`` holds every fault, a line each."""

    exit_code = 2

    def __init__(self, problems: str | list[str]):
        self.problems = [one_line(text) for text in ([problems] if isinstance(problems, str) else problems)]
        Exception.__init__(self, "\n".join(self.problems))


class RecipeError(UsageError):
    """The recipe is wrong; ``problems`` holds every fault of one level."""


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
