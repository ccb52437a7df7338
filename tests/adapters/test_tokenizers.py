from __future__ import annotations

import numpy as np
import pytest
from capabilities import need
from transformers import AutoTokenizer

from optkit.adapters import tokenizers
from optkit.errors import ExportError

need("tokenizers")
TEXTS = [["the soup was fine", "Ünknown – words 漢字!", "day " * 50], ["of day 3", "", "grim " * 40]]


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.mark.parametrize(("columns", "seq"), [(1, None), (1, 24), (2, None)])
def test_its_ids_are_those_of_transformers(tokenizer, tmp_path, columns, seq):
    import openvino

    path = tokenizers.convert_tokenizer(tokenizer, tmp_path, TEXTS[:columns], max_length=24, seq=seq)
    assert path == tmp_path / "openvino_tokenizer.xml" and path.with_suffix(".bin").is_file()
    other = [["a river", "sour song ."], ["lovely", "table table"]][:columns]
    found = openvino.Core().compile_model(path, "CPU")(other if columns > 1 else other[0])
    padding = True if seq is None else "max_length"
    expected = tokenizer(*other, truncation=True, max_length=24, padding=padding, return_tensors="np")
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert np.array_equal(found[name], expected[name])


def test_other_ids_and_what_is_missing_are_one_line(tokenizer, tmp_path, monkeypatch):
    class Shifted:
        model_input_names = tokenizer.model_input_names

        def __call__(self, *texts, **options):
            found = tokenizer(*texts, **options)
            found["input_ids"] = found["input_ids"] + 1
            return found

    import openvino_tokenizers

    convert = openvino_tokenizers.convert_tokenizer
    monkeypatch.setattr(
        openvino_tokenizers, "convert_tokenizer", lambda given, **options: convert(tokenizer, **options)
    )
    with pytest.raises(ExportError, match="its input_ids differ from the Hugging Face tokenizer's"):
        tokenizers.convert_tokenizer(Shifted(), tmp_path, TEXTS[:1], max_length=24)
    monkeypatch.setattr(openvino_tokenizers, "convert_tokenizer", convert)
    with pytest.raises(
        ExportError, match="openvino-tokenizers cannot convert a object: .*: set export.tokenizer: false"
    ):
        tokenizers.convert_tokenizer(object(), tmp_path, TEXTS[:1], max_length=24)
    monkeypatch.setattr(tokenizers, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="^export.tokenizer: openvino-tokenizers is not installed: pip install"):
        tokenizers.convert_tokenizer(tokenizer, tmp_path, TEXTS[:1], max_length=24)
