"""What the interfaces for embeddings share: inputs of either kind, and vectors from rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from optkit.serving.errors import Invalid, TooLarge
from optkit.serving.outputs import normalize
from optkit.serving.runner import ModelRunner, Row

_Id = Annotated[int, Field(ge=0, lt=1 << 32)]
_Ids = Annotated[list[_Id], Field(min_length=1)]
#: A text or its token ids, or several of them.
Inputs = Annotated[
    str | _Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[_Ids], Field(min_length=1)],
    Field(description="A text or the ids of its tokens, or a list of texts or of lists of ids."),
]


def texts_of(inputs: str | list[int] | list[str] | list[list[int]], runner: ModelRunner, most: int) -> list[str]:
    """The texts of a request; ids of tokens are decoded first, as Text Embeddings Inference does.

    Raises:
        TooLarge: if there are more than ``most``.
        Untokenizable: if an id is none of the vocabulary.
    """
    if isinstance(inputs, str):
        return [inputs]
    decode: Callable[[Any], str] = runner.encoder.tokenizer.decode
    if isinstance(inputs[0], int):
        return [decode(inputs)]
    check_count(len(inputs), most)
    return [each if isinstance(each, str) else decode(each) for each in inputs]


def check_count(count: int, most: int) -> None:
    """Raises TooLarge if a request has more than ``most`` inputs."""
    if count > most:
        raise TooLarge(f"{count} inputs in a request: at most {most}")


def vectors(rows: Sequence[Row], *, unit: bool, dimensions: int | None = None) -> np.ndarray:
    """Embeddings (texts, width), float32.

    Args:
        unit: whether they have length 1.
        dimensions: of the width, the first so many.

    Raises:
        Invalid: if the model has fewer dimensions.
    """
    found = np.stack([row.output for row in rows])
    if dimensions is not None:
        if dimensions > found.shape[1]:
            raise Invalid(f"dimensions: embeddings of this model have {found.shape[1]}")
        found = found[:, :dimensions]
    return (normalize(found) if unit else found).astype("<f4")
