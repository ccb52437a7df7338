"""What a client is told whose request is not answered: a status, a kind and a sentence, nothing of the server's inside.

The kinds are those of Text Embeddings Inference (``error_type``).
"""

from __future__ import annotations


class RequestError(Exception):
    """A request that gets no answer.

    Args:
        message: for the client: no path, no text of the request, no message of a library.

    Attributes:
        status: of HTTP.
        kind: ``error_type`` of Text Embeddings Inference.
    """

    status, kind = 500, "Backend"

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class Invalid(RequestError):
    """The request is not what the interface says."""

    status, kind = 422, "Validation"


class TooLarge(RequestError):
    """Too many bytes, texts or tokens."""

    status, kind = 413, "Validation"


class Untokenizable(RequestError):
    """The tokenizer failed on a text."""

    status, kind = 422, "Tokenizer"


class Unauthorized(RequestError):
    """The key is missing or wrong."""

    status, kind = 401, "Validation"


class NotFound(RequestError):
    """There is no such model."""

    status, kind = 404, "Validation"


class SlowClient(RequestError):
    """The body did not arrive in time."""

    status, kind = 408, "Validation"


class Failed(RequestError):
    """The model failed, or does not do what is asked."""

    status, kind = 424, "Backend"


class TimedOut(RequestError):
    """There was no answer within the time limit."""

    status, kind = 504, "Overloaded"


class Unavailable(RequestError):
    """Not now.

    Args:
        retry_after: seconds.
    """

    status, kind = 503, "Unhealthy"

    def __init__(self, message: str, retry_after: int = 1):
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Unavailable):
    """Too many requests at once."""

    kind = "Overloaded"
