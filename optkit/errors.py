"""The errors that users see: one line that says what is wrong, where, and the way out.

The command line prints ``str(error)`` and exits with ``error.exit_code``; a traceback appears only with ``--debug``.
"""

from __future__ import annotations


class OptkitError(Exception):
    """The job failed. The message is one line: cause, place, way out."""

    exit_code = 1


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
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


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
