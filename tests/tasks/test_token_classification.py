from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from data_problems import problems
from datasets import ClassLabel, Features, List, Value

from optkit.errors import PlanError
from optkit.models import Head
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

AUTO = "AutoModelForTokenClassification"
TAGS = ["O", "B-PER", "I-PER"]
HEAD = Head(AUTO, TAGS)


def task(**values):
    given = {"text": "tokens", "label": "tags", "dataset": {"files": {"train": "a.json"}}} | values
    return get_task(TaskSpec(type="token-classification", **given))


def rows(tokens, tags, names=None, split=None):
    features = None
    if names:
        features = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=names))})
    return datasets.Dataset.from_dict({"tokens": tokens, "tags": tags}, features, split=split)


def faults(splits, **values):
    return problems(task(**values), splits)


@pytest.mark.parametrize(
    ("tags", "names", "expected"),
    [
        ([[0, 1], [2]], TAGS, TAGS),
        ([[2, 1], [0]], None, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ([["I-PER", "O"], ["B-PER"]], None, ["B-PER", "I-PER", "O"]),
    ],
)
def test_names_of_labels(tags, names, expected):
    splits = {"train": rows([["a", "b"], ["c"]], tags, names)}
    assert task().head(splits) == Head(AUTO, expected)
    task().check(splits)


def test_names_decide_which_label_another_split_means():
    other = rows([["a", "b", "c"]], [[0, 1, 2]], ["I-PER", "O", "B-PER"])
    assert [ids.tolist() for ids in task().references(other, HEAD)] == [[2, 0, 1]]


GOOD = [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    ("tokens", "tags", "said"),
    [
        (GOOD, [[0, 1], [1, 0]], "split 'train', row 2: 1 words in column 'tokens' and 2 labels in column 'tags'"),
        (GOOD, [[0, 1], None], "split 'train', row 2: 1 words in column 'tokens' and none in column 'tags'"),
        (GOOD, [[0, None], [1]], "split 'train', row 1: word 2 has no label in column 'tags'"),
        (GOOD, [[0, 2], [0]], "task.label: the labels of column 'tags' in split 'train' are 0, 2: number them from 0"),
        (GOOD, [[0, 0], [0]], "task.label: every word of split 'train' has the same label in column 'tags': 0"),
        (GOOD, [0, 1], "task.label: column 'tags' of split 'train' holds int64: token-classification needs a list of"),
        (GOOD, [[0.5, 1.0], [0.0]], "task.label: column 'tags' of split 'train' holds list<item: double>: token-"),
        (["a b", "c"], [[0, 1], [1]], "task.text: column 'tokens' of split 'train' holds string: token-classification"),
        ([["a", None], ["c"]], [[0, 1], [1]], "split 'train', row 1: word 2 of column 'tokens' is missing"),
        ([["a", "b"], []], [[0, 1], []], "split 'train', row 2: column 'tokens' holds no words: remove the row"),
        ([["a", "b"], None], [[0, 1], []], "split 'train', row 2: column 'tokens' holds no words: remove the row"),
    ],
)
def test_bad_rows_are_one_line(tokens, tags, said):
    problems = faults({"train": rows(tokens, tags)})
    assert len(problems) == 1 and problems[0].startswith(said)


def test_a_label_that_training_has_not():
    said = rows(GOOD, [["O", "B-PER"], ["O"]]), rows(GOOD, [["O", "O"], ["B-LOC"]])
    problems = faults(dict(zip(("train", "test"), said, strict=True)))
    assert problems == ["split 'test', row 2: label 'B-LOC' of word 1 is no class: the classes are B-PER, O"]


def test_entities_need_tags():
    assert task().label_mismatches(HEAD) == []
    words = task().label_mismatches(Head(AUTO, ["NOUN", "VERB"]))
    assert len(words) == 1 and "needs tags such as B-PER" in words[0] and "NOUN, VERB: use token_accuracy" in words[0]
    numbers = task().label_mismatches(Head(AUTO, ["LABEL_0", "LABEL_1"]))
    assert len(numbers) == 1 and "is numbers without names, and the start model has none" in numbers[0]
    assert task(metric="token_accuracy").label_mismatches(Head(AUTO, ["NOUN", "VERB"])) == []
    with pytest.raises(PlanError, match="needs tags"):
        task().score([np.array([0])], [np.array([0])], Head(AUTO, ["NOUN", "VERB"]))


LONG = "qqqq"  # a word of several tokens, which no vocabulary knows


def test_the_first_token_of_a_word_has_its_label(tokenizer):
    data = rows([["the", LONG, "soup"], ["soup", "\u200b", "the"]], [[0, 1, 2], [1, 2, 0]], TAGS)
    encoded = task().encode(data, tokenizer, HEAD)
    assert set(encoded.column_names) == {"input_ids", "token_type_ids", "attention_mask", "labels", "_words"}
    pieces = [len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in ("the", LONG, "soup")]
    assert pieces[0] == pieces[2] == 1
    first = encoded[0]
    assert first["_words"] == [1, 2, 2 + pieces[1]]
    assert first["labels"] == [-100, 0, 1, *[-100] * (pieces[1] - 1), 2, -100]
    # A word that leaves no token has no label either.
    second = encoded[1]
    assert second["_words"] == [1, -1, 2] and second["labels"] == [-100, 1, 0, -100]
    unlabelled = task().encode(data, tokenizer, None)
    assert unlabelled["input_ids"][:] == encoded["input_ids"][:]
    assert {label for labels in unlabelled["labels"] for label in labels} == {-100}
    batch = task().collator(tokenizer)([encoded[0], encoded[1]])
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels"}
    assert batch["labels"].shape == batch["input_ids"].shape and batch["labels"][1, -1] == -100
    # Calibration needs no labels.
    assert "labels" not in task().collator(tokenizer)([{k: v for k, v in first.items() if k != "labels"}])


def logits_of(labels, width, classes=3):
    """Logits whose highest is the label at each place of (row, place, label)."""
    found = np.zeros((1 + max(row for row, *_ in labels), width, classes), np.float32)
    for row, place, label in labels:
        found[row, place, label] = 1
    return found


def test_words_that_are_cut_off_are_predicted_outside(tokenizer):
    data = rows([["the", "soup", "of", "day"], ["soup"]], [[1, 0, 1, 2], [1]], TAGS)
    short = task(max_length=4)
    encoded = short.encode(data, tokenizer, HEAD)
    assert [len(ids) for ids in encoded["input_ids"]] == [4, 3] and encoded["_words"][0] == [1, 2, -1, -1]
    outputs = logits_of([(0, 1, 1), (0, 2, 2), (1, 1, 1)], 4)
    found = short.decode(outputs, encoded, HEAD)
    assert [ids.tolist() for ids in found] == [[1, 2, 0, 0], [1]]
    references = short.references(data, HEAD)
    # Of PER, PER PER and PER there is the last alone.
    assert short.score(found, references, HEAD) == {"entity_f1": pytest.approx(2 * 1 / (2 + 3))}
    assert short.agreement(found, references) == pytest.approx(2 / 5)
    plain = Head(AUTO, ["NOUN", "VERB", "X"])
    assert short.decode(outputs, encoded, plain)[0].tolist() == [1, 2, -1, -1]
    scores = task(metric="token_accuracy", max_length=4).score([np.array([1, -1])], [np.array([1, 1])], plain)
    assert scores == {"token_accuracy": 0.5}


def test_predictions_do_not_depend_on_the_tokenizer(tokenizer):
    from optkit.models.wordpiece import train_wordpiece

    data = rows([["the", "soup", "of", "day"]], [[0, 1, 2, 0]], TAGS)
    other = train_wordpiece(["e h t"] * 2, vocab_size=64, max_length=64)
    for processor in (tokenizer, other):
        encoded = task().encode(data, processor, HEAD)
        outputs = logits_of([(0, place, label) for place, label in zip(encoded["_words"][0], (0, 1, 2, 0))], 64)
        assert task().decode(outputs, encoded, HEAD)[0].tolist() == [0, 1, 2, 0]


def _splitters():
    from tokenizers import Regex, pre_tokenizers

    def byte_level(**values):
        return pre_tokenizers.ByteLevel(add_prefix_space=False, **values)

    words = Regex(r"\p{L}+| ?[^\s\p{L}]+|\s+(?!\S)|\s+")
    return {
        "byte level": byte_level(),
        "byte level, untrimmed": byte_level(trim_offsets=False),
        "split, then bytes": pre_tokenizers.Sequence(
            [pre_tokenizers.Split(words, "merged_with_next"), byte_level(use_regex=False)]
        ),
        "digits, then bytes": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()]),
        "metaspace never": pre_tokenizers.Metaspace(prepend_scheme="never"),
        "metaspace first": pre_tokenizers.Metaspace(prepend_scheme="first"),
        "spaces, then metaspace": pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        ),
    }


@pytest.mark.parametrize("kind", _splitters())
def test_words_are_read_as_within_a_text(kind):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = _splitters()[kind]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(["the cat sat on the mat", "a dog saw the cat"] * 9, trainer)
    processor = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    words = ["the", "dog", "", "sats", " on ", "\u200b", "mat2"]
    text = "the dog sats on \u200b mat2"
    data = rows([words], [[0, 1, 0, 2, 0, 0, 1]], TAGS)
    (encoded,) = task().encode(data, processor, HEAD)
    assert encoded["input_ids"] == processor(text)["input_ids"]
    # Each word begins where the running text has its first token.
    for word, first, label in zip(words, encoded["_words"], [0, 1, 0, 2, 0, 0, 1]):
        if not word:
            assert first == -1
            continue
        assert encoded["labels"][first] == label
        pieces = processor.convert_ids_to_tokens(encoded["input_ids"][first:])
        said = "".join(pieces).replace("\u0120", " ").replace("\u2581", " ").lstrip()
        assert word == "\u200b" or said.startswith(word.strip())
    assert sum(label != -100 for label in encoded["labels"]) == 6


def test_a_tokenizer_without_alignment_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(PlanError, match="asks which word a token is of, which Slow cannot say, being no fast"):
        task().encode(rows(GOOD, [[0, 1], [1]], TAGS), Slow(), HEAD)


def test_what_is_kept_of_a_batch():
    found = type("Found", (), {"logits": torch.zeros(2, 5, 3)})
    assert task().outputs(found, {}).shape == (2, 5, 3)
    assert task().postprocess(np.zeros((2, 5, 3))).shape == (2, 5, 3)
