"""The files that lie beside a model's weights and that it is loaded with: configuration, tokenizer, image processor."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from optkit.adapters import sentence_transformers

# What a checkpoint holds beside its weights. Copied byte for byte, since a tokenizer that is loaded and saved again
# changes with the version of transformers, and for a checkpoint without one an empty one would appear.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    *sentence_transformers.FILES,
)


def copy_companions(
    source: Path, folder: Path, *, but: Collection[str] = (), more: Sequence[str] = (), replace: bool = True
) -> None:
    """Copies what a model is loaded with, its weights apart.

    Args:
        source, folder: from where to where.
        but: names that are left where they are.
        more: further names to copy.
        replace: whether files that are in ``folder`` already are written over.
    """
    for name in (*COMPANIONS, *more):
        if name in but or not (source / name).is_file() or (not replace and (folder / name).exists()):
            continue
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)
