"""Trains a WordPiece tokenizer on the spot: the same texts give the same vocabulary, on every run and machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from optkit.errors import DataError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ALPHABET = 1000


def train_wordpiece(texts: Iterable[str], vocab_size: int, max_length: int, *, token_types: bool = True) -> Any:
    """A lower-casing BERT tokenizer with a vocabulary learned from ``texts``.

    Args:
        texts: what to learn from.
        vocab_size: the most tokens that the vocabulary may hold, special ones included; few texts give fewer.
        max_length: the longest input of the model, ``model_max_length`` of the tokenizer.
        token_types: whether the model takes token_type_ids.

    Returns:
        PreTrainedTokenizerFast, which saves to a folder that AutoTokenizer loads.

    Raises:
        DataError: if the texts hold nothing to learn from.
    """
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    vocabulary = _vocabulary(texts, vocab_size, normalizer, splitter)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
    )


def _vocabulary(texts: Iterable[str], vocab_size: int, normalizer: Any, splitter: Any) -> dict[str, int]:
    """Tokens and their ids.

    The trainer numbers single characters in the order of a hash map that differs from run to run, and breaks ties
    between merges by these numbers. Handing it every character as a special token fixes the numbers; characters that
    are left out are taken out of the texts, so that it finds no others.
    """
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(str(text))))
    characters: Counter[str] = Counter()
    for word, count in words.items():
        characters.update(dict.fromkeys(word, count))
    if not characters:
        raise DataError("model.tokenizer: the texts of the training split hold nothing to train a tokenizer on")
    most = min(_ALPHABET, (vocab_size - len(SPECIAL)) // 2)
    kept = sorted(sorted(characters, key=lambda c: (-characters[c], c))[:most])
    known = set(kept)
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *kept, *(f"##{c}" for c in kept)],
        limit_alphabet=len(kept),
        show_progress=False,
    )
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    usable = ((word, count) for word, count in sorted(words.items()) if known.issuperset(word))
    learner.train_from_iterator((word for word, count in usable for _ in range(count)), trainer)
    return learner.get_vocab()
