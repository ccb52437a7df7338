"""Inputs by chance and texts from a file: shapes, order, lengths, padding."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from optkit.benchmark.inputs import InputSpec, SharedInputs, Texts
from optkit.errors import OptkitError, UsageError

LINES = ["the soup was fine .", "grim", "", "the song of day 3 was lovely and the river was sour .", "great table", "x"]


@pytest.fixture
def needs(tiny_checkpoint):
    return InputSpec.of(tiny_checkpoint)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_tokens_by_chance(needs, tiny_checkpoint):
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    assert (needs.vocabulary, needs.longest, needs.pixels) == (config["vocab_size"], 64, None)
    made = SharedInputs.of([needs]).dummy_inputs(3, 17)
    assert set(made) == {"input_ids", "attention_mask", "token_type_ids"}
    assert {array.shape for array in made.values()} == {(3, 17)}
    assert {array.dtype for array in made.values()} == {np.dtype(np.int64)}
    assert made["attention_mask"].all() and not made["token_type_ids"].any()
    assert made["input_ids"].min() >= 5 and made["input_ids"].max() < needs.vocabulary
    again = SharedInputs.of([needs]).dummy_inputs(3, 17)
    assert np.array_equal(made["input_ids"], again["input_ids"])


def test_pixels_by_chance(tiny_vit, tmp_path):
    made = SharedInputs.of([InputSpec.of(tiny_vit)]).dummy_inputs(2, 1)
    assert {name: array.shape for name, array in made.items()} == {"pixel_values": (2, 3, 24, 24)}
    shutil.copyfile(tiny_vit / "config.json", tmp_path / "config.json")  # without a processor the config tells
    assert InputSpec.of(tmp_path).pixels == (3, 24, 24)


def test_several_models_share_what_all_take(needs, tiny_vit, tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 50, "max_position_embeddings": 514, "model_type": "roberta"}')
    other = InputSpec.of(tmp_path)
    assert other.longest == 512  # its positions start behind its padding
    assert SharedInputs.of([needs, other]) == SharedInputs(50, 64, None)
    with pytest.raises(UsageError, match="take different inputs: benchmark them separately"):
        SharedInputs.of([needs, InputSpec.of(tiny_vit)])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no config.json here, which describes the inputs"),
        ("{", "config.json: not JSON"),
        ("[]", "has neither vocab_size nor image_size"),
        ('{"hidden_size": 2}', "has neither vocab_size nor image_size"),
    ],
)
def test_configs_that_do_not_tell(tmp_path, config, said):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(OptkitError, match=said):
        InputSpec.of(tmp_path)


def test_texts_keep_their_order_and_lengths(needs, file, tiny_checkpoint):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    texts = [line for line in LINES if line]
    read = Texts.read(file, [needs], None)
    assert read.ids == [tokenizer(text)["input_ids"] for text in texts]
    assert read.lengths() == [len(tokenizer(text)["input_ids"]) for text in texts]
    batches = read.batches(2)
    assert [batch["input_ids"].shape for batch in batches] == [
        (2, max(read.lengths()[:2])),
        (2, max(read.lengths()[2:4])),
        (1, read.lengths()[4]),
    ]
    for start, batch in zip((0, 2, 4), batches):
        expected = tokenizer(texts[start : start + 2], padding=True, return_tensors="np")
        for name, array in batch.items():
            assert np.array_equal(array, expected[name]), name
    assert [len(batch["input_ids"]) for batch in read.batches(8)] == [5]


def test_texts_are_cut(needs, file):
    assert max(Texts.read(file, [needs], 6).lengths()) == 6
    assert max(Texts.read(file, [needs], 1000).lengths()) <= 64


def test_texts_of_models_without_a_limit_are_whole(tiny_checkpoint, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_checkpoint / name, tmp_path / name)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    said.pop("model_max_length", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    (tmp_path / "config.json").write_text(
        '{"vocab_size": 50, "model_type": "deberta-v2", "position_biased_input": false, "relative_attention": true}'
    )
    (tmp_path / "texts.txt").write_text("the soup " * 400)
    spec = InputSpec.of(tmp_path)
    assert spec.longest is None and Texts.read(tmp_path / "texts.txt", [spec], None).lengths()[0] > 800


def test_padding_on_the_left():
    batch = Texts([[7, 8, 9], [4]], None, 2, True).batches(2)[0]
    assert batch["input_ids"].tolist() == [[7, 8, 9], [2, 2, 4]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_texts_that_cannot_be_fed_are_a_line(needs, file, tmp_path, tiny_vit, tiny_checkpoint):
    with pytest.raises(UsageError, match="--texts: .*nothing.txt: No such file"):
        Texts.read(tmp_path / "nothing.txt", [needs], None)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(UsageError, match="no texts here: write one a line"):
        Texts.read(empty, [needs], None)
    with pytest.raises(UsageError, match="takes images: leave --texts out"):
        Texts.read(file, [InputSpec.of(tiny_vit)], None)
    other = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    stored = json.loads((other / "tokenizer.json").read_text())
    vocabulary = stored["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.get)
    stored["model"]["vocab"] = {word: number for number, word in enumerate(words[:5] + words[5:][::-1])}
    (other / "tokenizer.json").write_text(json.dumps(stored))
    with pytest.raises(UsageError, match="tokenize texts differently: benchmark them separately"):
        Texts.read(file, [needs, InputSpec.of(other)], None)
