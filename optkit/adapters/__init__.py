"""One file for each dependency whose API moves fast, and the silence that all of them need."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator

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


def reason(error: BaseException) -> str:
    """The first sentence of a library's error, which says what is wrong; its name where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.split(r"(?<=[a-z)'\"])\. ", lines[0])[0][:300]
