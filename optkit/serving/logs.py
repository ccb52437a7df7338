"""What a server says of itself, on stderr: lines for people, or JSON for programs. Never a client's text or key."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

_LOGGERS = ("optkit.serving", "uvicorn.error")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        said |= getattr(record, "facts", {})
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)


def configure(form: Literal["text", "json"], *, access: bool) -> None:
    """Sets up the loggers of the server, of this process.

    Args:
        access: whether each request is logged.
    """
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(_Json() if form == "json" else plain)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("optkit.serving").setLevel(logging.INFO)
    logging.getLogger("optkit.serving.access").setLevel(logging.INFO if access else logging.WARNING)
    # What it says of connections is of no use to who runs a server.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
