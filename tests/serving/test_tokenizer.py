"""The server's tokenizer: what it does with a text before the model sees it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from optkit.serving.tokenizer import Tokenizer


@pytest.mark.parametrize("normalizer", [None, normalizers.Strip()])
def test_texts_are_brought_to_lower_case_where_the_folder_says_so(tmp_path, normalizer):
    made = FastTokenizer(models.WordLevel({"[UNK]": 0, "hello": 1, "world": 2}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if normalizer is not None:
        made.normalizer = normalizer
    made.save(str(tmp_path / "tokenizer.json"))
    for lower, ids in ((False, [0, 0]), (True, [1, 2])):
        tokenizer = Tokenizer(tmp_path / "tokenizer.json", 8, lower=lower)
        for truncate in (False, True):
            (tokens,) = tokenizer.encode(["Hello WORLD"], truncate=truncate)
            assert tokens.ids == ids
