from __future__ import annotations

import pytest

from optkit.errors import DataError
from optkit.models.wordpiece import SPECIAL, train_wordpiece

TEXTS = [
    f"The {a} {b}'s {c} déjà-vu, number {i}!" for i, (a, b, c) in enumerate(zip("abcdef" * 9, "uvwxyz" * 9, "nml" * 18))
]
TEXTS += ["unhappy unhappiness happier playing played player", "walking walked walker talking talked talker"] * 3


def test_every_training_learns_the_same_vocabulary():
    first = train_wordpiece(TEXTS, 160, 32).get_vocab()
    assert all(train_wordpiece(TEXTS, 160, 32).get_vocab() == first for _ in range(8))


def test_size_specials_and_casing():
    tokenizer = train_wordpiece(TEXTS, 160, 32)
    vocabulary = tokenizer.get_vocab()
    assert len(tokenizer) == 160 and sorted(vocabulary.values()) == list(range(160))
    assert [vocabulary[token] for token in SPECIAL] == [0, 1, 2, 3, 4]
    assert tokenizer.model_max_length == 32
    assert tokenizer.tokenize("Playing DÉJÀ") == tokenizer.tokenize("playing deja")
    assert tokenizer.decode(tokenizer("talked walker")["input_ids"], skip_special_tokens=True) == "talked walker"


def test_a_pair_has_token_types_and_unknown_characters_become_unk():
    encoded = train_wordpiece(TEXTS, 160, 32)("talked", "walker 漢")
    first = encoded["token_type_ids"].index(1)
    assert encoded["token_type_ids"] == [0] * first + [1] * (len(encoded["input_ids"]) - first)
    assert encoded["input_ids"][0] == 2 and encoded["input_ids"][first - 1] == 3 and encoded["input_ids"][-1] == 3
    assert encoded["input_ids"][-2] == 1


def test_autotokenizer_loads_it_unchanged(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = train_wordpiece(TEXTS, 160, 32, token_types=False)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["The a u's n déjà-vu", "walking", "x" * 300]
    assert loaded(texts).data == tokenizer(texts).data
    assert sorted(loaded(texts)) == ["attention_mask", "input_ids"]
    assert loaded.model_max_length == 32 and loaded.get_vocab() == tokenizer.get_vocab()


def test_a_small_vocabulary_keeps_to_its_size():
    texts = ["".join(chr(0x4E00 + i + j) + " " for j in range(50)) for i in range(0, 500, 50)]
    assert len(train_wordpiece(texts, 64, 16)) <= 64


def test_nothing_to_learn_from():
    with pytest.raises(DataError, match="hold nothing to train a tokenizer on"):
        train_wordpiece(["", "  "], 100, 16)
