"""The doors that a person's input goes through, and the judge of what came out: success, a clean refusal, or a fault.

A case is a command line of optkit, run in this process with ``--debug``, so that an error which is none of
``optkit.errors`` arrives as it was raised.
"""

from __future__ import annotations

import contextlib
import io
import re
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from optkit.errors import OptkitError

#: Seconds of the processor that a case may take before it counts as a fault: a recipe of a few keys must not keep a
#: person waiting.
PATIENCE = 60
#: Characters of a problem's line: a value of many thousands is quoted from its beginning.
LONGEST = 1500

#: What a case says that got to where the long work begins.
STOPPED = "case: here the long work begins"

#: What Python says to programmers, and a person cannot act on.
_INTERNAL = re.compile(
    r"Traceback|<class|object has no attribute|has no attribute '|is not subscriptable|is not iterable|not callable"
    r"|index out of range|invalid literal for int|could not convert string to float|'NoneType|(?<!with )KeyError\b|(?<!with )IndexError\b"
    r"|unexpected \w+Error|not supported between|unhashable|unsupported operand|positional argument|keyword argument"
    r"|at 0x[0-9a-f]{6}|must be str, not|argument must be|codec can't|embedded null|not enough values to unpack"
    r"|unpack|cannot be interpreted as an integer|indices must be|maximum recursion|pydantic\.dev|input_value="
    r"|StrictDataclass|Validation error for field"
)
#: A key of the recipe, an option, a file, or something quoted: where to look.
_PLACE = re.compile(r"\w+\.\w+|--?\w|/|'|^\w+:|: ")


class TookTooLong(BaseException):
    """No Exception, so that nothing on the way takes it for an error of its own."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        kind: ``success``, ``refused`` or ``fault``.
        said: what was printed, or the traceback of a fault.
        signature: of a fault: the error's class and where optkit was.
    """

    kind: str
    said: str = ""
    signature: str = ""


def call(arguments: Sequence[object]) -> Outcome:
    """Runs ``optkit ARGUMENTS`` and judges the outcome."""
    from optkit.cli.app import main

    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        with _patience(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([*words, "--debug"])
    except SystemExit as end:
        code = end.code or 0
    except OptkitError as error:
        if str(error) == STOPPED:
            return Outcome("success", STOPPED)
        return judge(str(error), error)
    except TookTooLong as error:
        return Outcome("fault", f"took more than {PATIENCE} s\n{_trace(error)}", f"slow at {_where(error)}")
    except BaseException as error:
        return Outcome("fault", _trace(error), f"{type(error).__name__} at {_where(error)}: {str(error)[:80]}")
    if code == 0:
        return Outcome("success", out.getvalue())
    return judge(err.getvalue(), None)


def judge(message: str, error: OptkitError | None) -> Outcome:
    """Whether a refusal is clean: lines that name a place and hold nothing of Python's own words."""
    problems = getattr(error, "problems", None) or [message]
    wrong = ""
    for problem in problems:
        if not problem.strip():
            wrong = "says nothing"
        elif found := _INTERNAL.search(problem.splitlines()[0]):  # the next quote the recipe's own text
            wrong = f"speaks of '{found[0]}'"
        elif not _PLACE.search(problem):
            wrong = "names no place"
        elif max(map(len, problem.splitlines())) > LONGEST:
            wrong = "is too long"
        elif not getattr(error, "faults", None) and error is not None and len(problem.splitlines()) > 1:
            wrong = "is more than a line"
        if wrong:
            said = f"{problem[:LONGEST]}\n{_trace(error) if error else ''}"
            return Outcome(
                "fault", said, f"{wrong}: {re.sub(r'[0-9]+|/[^ ]*/', '#', problem)[:110]} at {_where(error)}"
            )
    return Outcome("refused", message)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3500:]


def _where(error: BaseException | None) -> str:
    """The innermost frame of optkit."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    ours = [frame for frame in frames if "/optkit/" in frame.filename and "site-packages" not in frame.filename]
    return f"{ours[-1].filename.rpartition('/optkit/')[2]}:{ours[-1].lineno}" if ours else "?"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
