"""What recipes in tests share: a model made of nothing, and places that are known only when a test runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: A BERT of the sizes ``architectures.SIZES`` with random weights and a tokenizer trained on the examples.
TINY_MODEL = (
    "{config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, "
    "max_position_embeddings: 64}, tokenizer: {train: wordpiece, vocab_size: 300}}"
)


def write_recipe(path: Path, text: str, places: Mapping[str, object] | None = None) -> Path:
    """Writes ``text`` to ``path``: words in capitals, such as CHECKPOINT, become the places that they stand for, and
    TINY_MODEL becomes the model above.
    """
    for word, place in {"TINY_MODEL": TINY_MODEL, **(places or {})}.items():
        text = text.replace(word, str(place))
    path.write_text(text, encoding="utf-8")
    return path
