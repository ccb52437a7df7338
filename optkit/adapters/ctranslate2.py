"""CTranslate2: int8 encoders of transformers models, see https://opennmt.net/CTranslate2.

The package is an extra, ``optkit[bench]``.
"""

from __future__ import annotations

import copy
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optkit.adapters import library_errors, quiet, reason
from optkit.errors import ExportError, OptkitError
from optkit.json_files import read_json

#: In the folder of a converted model: the checkpoint that it was made of, which has the head.
CHECKPOINT = "checkpoint"


def missing() -> str | None:
    """Why CTranslate2 cannot be used here, in a line; None where it can."""
    if find_spec("ctranslate2") is None:
        return "ctranslate2 is not installed: pip install 'optkit[bench]'"
    return None


def convert(checkpoint: Path, output: Path) -> None:
    """Writes the encoder of ``checkpoint`` as an int8 model of CTranslate2 into ``output``, a folder that is not there.

    Raises:
        ExportError: if CTranslate2 does not know this architecture, or cannot convert it.
    """
    with quiet():
        from ctranslate2.converters import TransformersConverter

    failed = f"{checkpoint}: CTranslate2 cannot convert it"
    with library_errors(failed, ExportError), tempfile.TemporaryDirectory() as folder:
        _with_positions(checkpoint, Path(folder))
        TransformersConverter(folder).convert(str(output), quantization="int8")
    (output / CHECKPOINT).symlink_to(checkpoint.resolve())


def _with_positions(checkpoint: Path, folder: Path) -> None:
    """Links ``checkpoint`` into ``folder``, its config saying how positions are embedded: CTranslate2 asks for that,
    and transformers 5 writes it only where they are not absolute.
    """
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    config = read_json(checkpoint / "config.json")
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({"position_embedding_type": "absolute"} | config), encoding="utf-8")


def with_encoder(model: Any, folder: Path, threads: int) -> Any:
    """A copy of ``model`` whose encoder is the one in ``folder``, run by CTranslate2; the head stays torch's.

    Args:
        model: of transformers, whole.
        threads: of the encoder.

    Raises:
        OptkitError: if it cannot be loaded.
    """
    import ctranslate2

    try:
        encoder = ctranslate2.Encoder(str(folder), device="cpu", inter_threads=1, intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise OptkitError(f"{folder}: CTranslate2 cannot load it: {reason(error)}") from error
    stand_in = _encoder(encoder, "token_type_ids" in _inputs(model))
    if model.base_model is model:
        return stand_in
    head = copy.copy(model)
    head._modules = {**model._modules, model.base_model_prefix: stand_in}
    return head


def _inputs(model: Any) -> set[str]:
    import inspect

    return set(inspect.signature(model.base_model.forward).parameters)


def _encoder(encoder: Any, typed: bool) -> Any:
    """``encoder`` as a module that stands where transformers' own did; ``typed`` if it takes token types."""
    import ctranslate2
    import numpy as np
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    class Encoder(torch.nn.Module):
        def forward(
            self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, **_: Any
        ) -> BaseModelOutputWithPooling:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            lengths = mask.sum(1)
            if bool((mask[:, 1:] > mask[:, :-1]).any()):
                raise OptkitError("CTranslate2 takes padding behind the tokens alone")
            options = {"token_type_ids": token_type_ids.tolist()} if typed and token_type_ids is not None else {}
            ids, sizes = (
                ctranslate2.StorageView.from_array(np.ascontiguousarray(each.numpy(), np.int32))
                for each in (input_ids, lengths)
            )
            found = encoder.forward_batch(ids, sizes, **options)
            pooled = found.pooler_output
            return BaseModelOutputWithPooling(
                last_hidden_state=torch.from_numpy(np.array(found.last_hidden_state)),
                pooler_output=None if pooled is None else torch.from_numpy(np.array(pooled)),
            )

    return Encoder().eval()
