from __future__ import annotations

import datasets
import numpy as np
import pytest
from data_problems import problems

from optkit.data.splits import load_splits
from optkit.errors import DataError
from optkit.models import Head
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

AUTO = "AutoModelForSequenceClassification"
FILES = {"files": {"train": "a.tsv"}}


def task(**values):
    return get_task(TaskSpec(type="text-classification", dataset=FILES, **values))


def rows(text, label, **columns):
    features = columns.pop("features", None)
    return datasets.Dataset.from_dict({"text": text, "label": label, **columns}, features)


def faults(splits, **values):
    return problems(task(**values), splits)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 0, 1], ["LABEL_0", "LABEL_1"]),
        ([True, False, True], ["LABEL_0", "LABEL_1"]),
        (["b", "c", "a"], ["a", "b", "c"]),
        ([2, 1, 0], ["LABEL_0", "LABEL_1", "LABEL_2"]),
    ],
)
def test_class_names(labels, expected):
    splits = {"train": rows(["x"] * 3, labels), "validation": rows(["x"], labels[:1])}
    assert task().head(splits) == Head(AUTO, expected)
    task().check(splits)


def named(names, labels):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    return rows(["x"] * len(labels), labels, features=features)


def test_class_names_of_the_feature(tokenizer):
    train, other = named(["z", "a", "q"], [0, 1]), named(["a", "q", "z"], [0, 2, 1])
    head = task().head({"train": train, "validation": other})
    assert head == Head(AUTO, ["z", "a", "q"])
    # The names decide where another split numbers them otherwise.
    assert task().encode(other, tokenizer, head)["labels"][:] == [1, 0, 2]


def test_encoding(tiny_files, tokenizer):
    files = {"files": {split: str(path) for split, path in tiny_files.items()}}
    spec = TaskSpec(type="text-classification", dataset=files, text="sentence", max_length=8)
    text = get_task(spec)
    splits = load_splits(spec.dataset, seed=0, needed=["train", "validation"])
    text.check(splits)
    head = text.head(splits)
    encoded = text.encode(splits["train"], tokenizer, head)
    assert sorted(encoded.column_names) == ["attention_mask", "input_ids", "labels", "token_type_ids"]
    assert encoded["labels"][:] == splits["train"]["label"][:]
    for i in (0, 1, 95):
        expected = tokenizer(splits["train"][i]["sentence"], truncation=True, max_length=8)
        assert {k: v for k, v in encoded[i].items() if k != "labels"} == dict(expected)
    assert max(map(len, encoded["input_ids"])) == 8 and not encoded.cache_files
    assert text.encode(splits["train"], tokenizer, head).to_dict() == encoded.to_dict()


def test_pairs_numbers_and_words(tokenizer):
    data = rows(["the soup", "the song"], ["yes", "no"], second=[12, 7])
    pairs = task(text=["text", "second"])
    pairs.check({"train": data})
    encoded = pairs.encode(data, tokenizer, Head(AUTO, ["no", "yes"]))
    assert encoded["input_ids"][0] == tokenizer("the soup", "12")["input_ids"]
    assert set(encoded["token_type_ids"][0]) == {0, 1}
    assert encoded["labels"][:] == [1, 0]


def test_more_rows_than_one_batch_keep_their_order(tokenizer):
    count = 4321
    data = rows([f"day {i}" for i in range(count)], [i % 2 for i in range(count)])
    encoded = task().encode(data, tokenizer, Head(AUTO, ["LABEL_0", "LABEL_1"]))
    assert len(encoded) == count
    assert encoded[4000]["input_ids"] == tokenizer("day 4000")["input_ids"]
    # A shuffled or selected data set is encoded in its own order.
    chosen = task().encode(data.select([4000, 3, 1]), tokenizer, Head(AUTO, ["LABEL_0", "LABEL_1"]))
    assert chosen["labels"][:] == [0, 1, 1] and chosen[0]["input_ids"] == encoded[4000]["input_ids"]


def test_longer_texts_than_the_model_takes_are_cut(tokenizer):
    encoded = task(max_length=512).encode(rows(["the soup " * 100], [0]), tokenizer, Head(AUTO, ["LABEL_0", "LABEL_1"]))
    assert len(encoded["input_ids"][0]) == tokenizer.model_max_length == 64


def test_collator_pads_to_the_longest(tokenizer):
    encoded = task().encode(rows(["the", "the soup was fine"], [0, 1]), tokenizer, Head(AUTO, ["LABEL_0", "LABEL_1"]))
    batch = task().collator(tokenizer)([encoded[0], encoded[1]])
    assert batch["input_ids"].shape == (2, len(encoded[1]["input_ids"])) and batch["labels"].tolist() == [0, 1]
    assert batch["attention_mask"][0].tolist() == [1, 1, 1] + [0] * (len(encoded[1]["input_ids"]) - 3)


def test_predictions_and_scores():
    text = task(metric=["matthews_correlation", "accuracy"])
    head = Head(AUTO, ["LABEL_0", "LABEL_1"])
    predictions = text.decode(np.array([[0.1, 0.9], [2.0, -1.0], [0.0, 1.0]]), None, head)
    assert predictions.tolist() == [1, 0, 1]
    assert text.score(predictions, np.array([1, 0, 0]), head) == pytest.approx(
        {"matthews_correlation": 0.5, "accuracy": 2 / 3}
    )


def test_missing_columns_name_those_there():
    splits = {"train": rows(["x"], [0]), "validation": rows(["x"], [0])}
    assert faults(splits, text=["text", "sentence"], label="lable") == [
        "task.text: no column 'sentence' in splits train, validation: the columns are text, label",
        "task.label: no column 'lable' in splits train, validation, did you mean 'label'?: the columns are text, label",
    ]


def test_faults_of_several_splits_at_once():
    splits = {
        "train": rows(["x", None, "z"], [0, 1, 1]),
        "validation": rows([1.5], [0]),
        "test": rows(["x", "y"], [1, 7]),
    }
    assert faults(splits) == [
        "split 'train', row 2: column 'text' holds no text: remove the row",
        "task.text: column 'text' of split 'validation' holds double, not text",
        "split 'test', row 2: label 7 is no class: the classes are 0 to 1",
    ]


def test_an_empty_split():
    assert faults({"train": rows(["x", "y"], [0, 1]), "validation": rows([], [])}) == ["split 'validation' is empty"]


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (["a", "b", None], ["a"], "split 'train', row 3: column 'label' holds no label"),
        (["a", " ", "b"], ["a"], "split 'train', row 2: column 'label' holds no label"),
        ([0.0, float("nan"), 1.0], [0], "split 'train', row 2: column 'label' holds no label"),
        ([0, 1, 0], [0, None], "split 'validation', row 2: column 'label' holds no label"),
        (["a", "b", "a"], ["c"], "split 'validation', row 1: label 'c' is no class: the classes are a, b"),
        ([0, 1, 0], [1, -1], "split 'validation', row 2: label -1 is no class: the classes are 0 to 1"),
        ([0, 1, 0], ["a"], "split 'validation', row 1: label 'a' is no class: the classes are 0 to 1"),
        (
            [1, 2, 1],
            [1],
            "task.label: the labels of column 'label' in split 'train' are 1, 2: number the classes from 0",
        ),
        ([-1, 1, 0], [1], "task.label: the labels of column 'label' in split 'train' are -1, 0, 1: number the classes"),
        (
            [0, 10**12, 1],
            [1],
            "task.label: the labels of column 'label' in split 'train' are 0, 1, 1000000000000: number",
        ),
        (
            [0.5, 1.0, 2.0],
            [0],
            "task.metric: accuracy does not measure regression, which column 'label' is for: use pearson or spearman, or",
        ),
        (["a", "a", "a"], ["a"], "task.label: every row of split 'train' has the same label in column 'label': a"),
    ],
)
def test_labels_that_are_no_classes(train, validation, said):
    (problem,) = faults({"train": rows(["x"] * 3, train), "validation": rows(["x"] * len(validation), validation)})
    assert problem.startswith(said)


def test_encoding_refuses_a_label_of_another_model(tokenizer):
    with pytest.raises(DataError) as raised:
        task().encode(rows(["x", "y"], ["a", "c"]), tokenizer, Head(AUTO, ["a", "b"]))
    assert str(raised.value) == "split 'dataset', row 2: label 'c' is no class: the classes are a, b"


MULTI, REGRESSION = "multi_label_classification", "regression"


def test_lists_of_words_are_sets_of_labels(tokenizer):
    train = rows(["a", "b", "c"], [["red", "blue"], [], ["green"]])
    colours = task(metric=["f1", "accuracy"])
    colours.check({"train": train})
    head = colours.head({"train": train})
    assert head == Head(AUTO, ["blue", "green", "red"], MULTI)
    encoded = colours.encode(train, tokenizer, head)
    assert encoded["labels"][:] == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    batch = colours.collator(tokenizer)([encoded[0], encoded[1]])
    assert batch["labels"].dtype.is_floating_point and batch["labels"].shape == (2, 3)
    found = colours.decode(np.array([[3.0, -1.0, 0.2], [-1.0, -2.0, -0.1], [-1.0, 2.0, 3.0]]), encoded, head)
    assert found.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]
    references = colours.references(train, head)
    assert references.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert colours.score(found, references, head) == pytest.approx({"f1": (1 + 1 + 2 / 3) / 3, "accuracy": 2 / 3})
    assert colours.agreement(found, references) == pytest.approx(2 / 3)


def test_several_columns_are_sets_of_labels_by_their_names(tokenizer):
    train = rows(["a", "b"], ["-", "-"], toxic=[1, 0], rude=[True, True])
    both = task(label=["toxic", "rude"], problem=MULTI)
    head = both.head({"train": train})
    assert head == Head(AUTO, ["toxic", "rude"], MULTI)
    assert both.encode(train, tokenizer, head)["labels"][:] == [[1.0, 1.0], [0.0, 1.0]]
    assert both.metrics.names == ("f1",)
    wrong = rows(["a", "b"], ["-", "-"], toxic=[1, 2], rude=[0, 1])
    assert faults({"train": wrong}, label=["toxic", "rude"], problem=MULTI) == [
        "split 'train', row 2: column 'toxic' holds 2, neither 0 nor 1"
    ]


@pytest.mark.parametrize("flags", [["True", "False"], ["true", " false"], [True, False], ["1", "0.0"]])
def test_truth_values_in_columns_are_flags(tokenizer, flags):
    table = datasets.Dataset.from_dict({"text": ["x", "y"], "rude": flags, "kind": flags[::-1]})
    several = task(label=["rude", "kind"], metric="f1")
    head = several.head({"train": table})
    assert several.encode(table, tokenizer, head)["labels"][:] == [[1.0, 0.0], [0.0, 1.0]]
    assert faults(
        {"train": table.select([0]).map(lambda row: {"rude": "yes"})}, label=["rude", "kind"], metric="f1"
    ) == ["split 'train', row 1: column 'rude' holds 'yes', neither 0 nor 1"]


def test_numbers_with_a_fraction_are_scores(tokenizer):
    train = rows(["a", "b", "c"], [0.5, 4.0, 2.25])
    scores = task(metric=["spearman", "pearson"])
    head = scores.head({"train": train})
    assert head == Head(AUTO, ["LABEL_0"], REGRESSION)
    encoded = scores.encode(train, tokenizer, head)
    assert encoded["labels"][:] == [0.5, 4.0, 2.25]
    found = scores.decode(np.array([[1.0], [3.0], [2.0]], np.float32), encoded, head)
    assert scores.score(found, scores.references(train, head), head)["spearman"] == pytest.approx(1.0)
    assert scores.agreement(found, found + np.array([0.0, 0.019, 0.021], np.float32)) == pytest.approx(2 / 3)
    # Whole numbers are classes unless the recipe says otherwise.
    whole = rows(["a", "b", "c"], [0, 2, 1])
    assert task().head({"train": whole}).problem is None
    rated = task(problem=REGRESSION)
    assert rated.metrics.names == ("pearson",) and rated.head({"train": whole}).problem == REGRESSION


@pytest.mark.parametrize(
    ("labels", "values", "said"),
    [
        ([0.5, float("nan")], {}, "split 'train', row 2: column 'label' holds no number"),
        (["a", "b"], {"problem": REGRESSION}, "split 'train', row 1: column 'label' holds no number"),
        ([["a"], None], {"metric": "f1"}, "split 'train', row 2: column 'label' holds no list of labels"),
        (
            [["a"], ["a"]],
            {"metric": "f1"},
            "task.label: the rows of split 'train' have fewer than two different labels",
        ),
        (
            [[1, 0], [0, 1]],
            {"metric": "f1"},
            "task.label: every row of split 'train' has all labels of column 'label', 0, 1: a list holds the classes",
        ),
        (
            [[0], [2]],
            {"metric": "f1"},
            "task.label: the labels of column 'label' in split 'train' are 0, 2: number the",
        ),
        (
            [["a"], ["b"]],
            {"metric": "accuracy", "problem": "single_label_classification"},
            "task.label: column 'label'",
        ),
    ],
)
def test_labels_that_fit_no_problem(labels, values, said):
    metric = {"metric": "pearson"} if "metric" not in values and "problem" not in values else {}
    (problem,) = faults({"train": rows(["x", "y"], labels)}, **values, **metric)
    assert problem.startswith(said)
