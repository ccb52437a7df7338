"""``tvm.json``: what the libraries of a folder take, and how they were made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from optkit.errors import OptkitError, UsageError
from optkit.json_files import read_json
from optkit.json_types import Count, Part, Share, Size

INDEX, PARAMETERS = "tvm.json", "parameters.safetensors"


class CompiledShape(Part):
    """A library and the only inputs it takes.

    Attributes:
        library: file name.
        parameters: names of the tensors of ``parameters.safetensors`` in the order in which it takes them.
    """

    batch: Size
    seq: Size
    library: str = Field(pattern=r"^[\w.-]+\.so$")
    parameters: list[str]


class CompiledLayer(Part):
    """How a linear layer is computed.

    Attributes:
        shape: (out, in) of its weight.
        form: blocks, such as ``4x4``, of a block-sparse product, or ``dense``.
        sparsity: share of zeros of its weight.
        stored: share of its weights that the product multiplies by.
    """

    shape: list[Size] = Field(min_length=2, max_length=2)
    form: str
    sparsity: Share
    stored: Share


class CompiledModel(Part):
    """The file's content.

    Attributes:
        target: TVM's, such as ``llvm -mcpu=znver4``.
        inputs: names, in the order in which the libraries take them; each is int64 (batch, seq).
        outputs: names, in their order.
        limits: by input, the number of rows of the table it looks up: what is not below is refused.
        tuned: minutes of tuning, over all shapes.
        int8: whether the sparse products are in int8.
        layers: by the name of the weight.
    """

    format: Literal[1]
    target: str
    versions: dict[str, str]
    inputs: list[str] = Field(min_length=1)
    outputs: list[str] = Field(min_length=1)
    limits: dict[str, Count]
    tuned: Share
    fast_math: bool
    int8: bool = False
    layers: dict[str, CompiledLayer]
    shapes: list[CompiledShape] = Field(min_length=1)


def read_index(folder: Path) -> CompiledModel:
    """The index of a folder.

    Raises:
        UsageError: if it has none.
        OptkitError: if it is not what the format says, or of a newer optkit.
    """
    path = folder / INDEX
    if not path.is_file():
        raise UsageError(f"{folder}: no {INDEX} in it: make the folder with `optkit compile`")
    try:
        content = read_json(path)
        if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > 1:
            raise OptkitError(f"{path}: written by a newer optkit (format {content['format']}): update optkit")
        return CompiledModel.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise OptkitError(f"{path}: {place}: {first['msg']}: compile the model again") from None
    except (OSError, ValueError) as error:
        raise OptkitError(f"{path}: {error}: compile the model again") from None
