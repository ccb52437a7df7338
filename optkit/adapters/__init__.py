"""One file for each dependency whose API moves fast, and the silence that all of them need."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
import warnings
from collections.abc import Iterator

from optkit.errors import OptkitError

_LOGGERS = ("nncf", "optimum", "transformers", "openvino")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps libraries off the user's terminal: warnings, loggers, progress bars, and anything they print to stdout.

    NNCF draws its progress on stdout, where ``--json`` promises JSON alone. Errors still come through as exceptions.
    Import a library before entering: a log handler made inside would keep the closed stream.
    """
    from transformers.utils import logging as transformers_logging

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    bars = transformers_logging.is_progress_bar_enabled()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                transformers_logging.enable_progress_bar()


#: What Python says of a value that a library did not expect: the words are of the library's insides.
_INTERNAL = (AttributeError, IndexError, KeyError, NameError, RecursionError, TypeError, UnicodeError, AssertionError)


def reason(error: BaseException) -> str:
    """What is wrong, from a library's error: its first sentence, or that of the field it found a fault with.

    An error that speaks of the library's insides, as where a mapping was to be and text is, tells a user nothing: then
    it is said what kind of value to look for.
    """
    text = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", str(error))
    lines = [line.strip() for line in text.strip().splitlines()] or [type(error).__name__]
    if re.match(r"(Validation|Class validation) error for ", lines[0]) and len(lines) > 1:
        return re.sub(r"^\w+: ", "", lines[1])[:300]
    if isinstance(error, KeyError) and re.fullmatch(r"'[\w.-]+'", lines[0]):
        return f"{lines[0]} is missing, or names nothing that is known"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if number := re.match(
        r"(?:could not convert string to float|invalid literal for int\(\) with base \d+): (.*)", lines[0]
    ):
        return f"{number[1][:100]} is no number"
    if isinstance(error, _INTERNAL):
        return f"a value is missing or of the wrong type ({_library(error)} ended with {type(error).__name__})"
    first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return re.split(r"(?<=[a-z)'\"])\. ", first)[0][:300]


@contextlib.contextmanager
def library_errors(failed: str, error_class: type[OptkitError] = OptkitError) -> Iterator[None]:
    """Quiet work of libraries, whose errors become one line; errors of optkit's own stay what they are.

    Args:
        failed: what could not be done, with the file or model; the library's reason follows it.
        error_class: of the error that is raised.
    """
    try:
        with quiet():
            yield
    except OptkitError:
        raise
    except Exception as error:  # each library and architecture fails in its own way
        raise error_class(f"{failed}: {reason(error)}") from error


def _library(error: BaseException) -> str:
    """The package that raised ``error``."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame.filename.rpartition("site-packages/")[2].partition("/")[0] for frame in frames]
    return next(
        (name for name, frame in zip(inside[::-1], frames[::-1]) if "site-packages/" in frame.filename), "Python"
    )
