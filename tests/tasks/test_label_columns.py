"""What a column of labels is taken for, whatever the file that it is in."""

import csv
import json
from decimal import Decimal

import datasets
import pyarrow as pa
import pytest
import transformers
from pyarrow import parquet

from optkit.data.splits import load_splits
from optkit.errors import DataError
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import DatasetSpec, TaskSpec
from optkit.tasks import get_task

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
FORMS = ("csv", "tsv", "json", "jsonl", "strings", "parquet", "decimals")


def task(model=None, kind="text-classification", **values):
    values = {"type": kind, "dataset": {"files": {"train": "a.csv"}}, "text": "text", "label": "label"} | values
    return get_task(TaskSpec.model_validate(values), model)


def write(folder, split, labels, form="csv"):
    """The path of a file whose column ``label`` holds ``labels`` as a file of that form does."""
    path = folder / f"{split}.{ {'strings': 'jsonl', 'decimals': 'parquet'}.get(form, form) }"
    kept = [str(label) if form == "strings" else label for label in labels]
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(kept)]
    if form in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            if form == "tsv":
                file.writelines("\t".join(map(str, row)) + "\n" for row in [("text", "label"), *map(dict.values, rows)])
            else:
                writer = csv.DictWriter(file, ["text", "label"])
                writer.writeheader()
                writer.writerows(rows)
    elif path.suffix == ".parquet":
        column = pa.array([Decimal(str(x)) for x in kept]) if form == "decimals" else pa.array(kept)
        parquet.write_table(pa.table({"text": [row["text"] for row in rows], "label": column}), path)
    elif form == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def splits_of(folder, form="csv", **labels):
    files = {split: write(folder, split, values, form) for split, values in labels.items()}
    return load_splits(DatasetSpec(files=files), seed=1, needed=list(files))


def fault(splits, model=None, **values):
    with pytest.raises(DataError) as raised:
        task(model, **values).check(splits)
    (problem,) = raised.value.problems
    return problem


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [12, 60])
def test_numbers_with_fractions_are_scores_in_every_file(tmp_path, form, count):
    # 60 rows with five values, and 12 that are all different.
    values = [0.2 * (i % 5) if count == 60 else 0.37 * i for i in range(count)]
    values = [round(value, 2) for value in values]
    splits = splits_of(tmp_path, form, train=values, validation=values[:4])
    asked = task(metric="pearson")
    asked.check(splits)
    head = asked.head(splits)
    assert (head.problem, head.labels) == (REGRESSION, ("LABEL_0",))
    assert asked.references(splits["train"], head).tolist() == pytest.approx(values)
    assert asked.describe(splits, head) == f"label: scores from 0 to {max(values):g}"
    # The usual metric is one of classes, and no file makes classes of scores.
    assert fault(splits).startswith("task.metric: accuracy does not measure regression")


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_with_a_fraction_have_to_be_said(tmp_path, form):
    splits = splits_of(tmp_path, form, train=[0.0, 1.0, 2.0, 1.0], validation=[2.0, 0.0])
    assert fault(splits) == (
        "task.label: column 'label' of split 'train' holds whole numbers with a fraction, such as 0.0: set "
        "task.problem to regression if they are scores, or to single_label_classification if they number classes"
    )
    classes = task(problem=SINGLE)
    head = classes.head(splits)
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2") and head.problem is None
    assert classes.references(splits["validation"], head).tolist() == [2, 0]
    for said in ({"problem": REGRESSION}, {"metric": "spearman"}):
        assert task(**said).head(splits).problem == REGRESSION


@pytest.mark.parametrize("values", [[0, 1, 2, 1], ["0", "1", "2", "1"], [0.0, 1.0, 2.0, 1.0]])
def test_the_metric_and_the_only_output_of_the_start_model_make_whole_numbers_scores(tmp_path, values):
    splits = splits_of(tmp_path, "jsonl", train=values)
    assert task(metric="pearson").head(splits).problem == REGRESSION
    for outputs, expected in ((1, REGRESSION), (3, None)):
        config = transformers.BertConfig(num_labels=outputs, architectures=["BertForSequenceClassification"])
        config.save_pretrained(tmp_path / f"{outputs}")
        model = ModelSpec(name=str(tmp_path / f"{outputs}"))
        if expected or not isinstance(values[0], float):
            assert task(model).problem(splits) == (expected or SINGLE)
        # A metric that is named speaks for itself.
        if not isinstance(values[0], float):
            assert task(model, metric="accuracy").head(splits).problem is None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["3,4", "1,0", "2,5"], "split 'train', row 1: column 'label' holds '3,4', a number with a comma"),
        (["1,234.5", "20", "7"], "split 'train', row 1: column 'label' holds '1,234.5', a number with a comma"),
        (["3.5", "n/a", "2.0"], "split 'train', row 2: column 'label' holds 'n/a', and numbers such as 3.5"),
        (["3.5", "inf", "2.0"], "split 'train', row 2: column 'label' holds 'inf', and numbers such as 3.5"),
        (["3.5", "", "2.0"], "split 'train', row 2: column 'label' holds no number: ''"),
        (["a", "", "b"], "split 'train', row 2: column 'label' holds no label"),
        (["0.5", "0.5", "0.5"], "task.label: every row of split 'train' has the same score in column 'label'"),
        ([f"title {i}" for i in range(9)], "task.label: every row of split 'train' has a label in column 'label' that"),
        (list(range(9)), "task.label: every row of split 'train' has a label in column 'label' that no other row has"),
        (["a", "a", *"bcdefgh"], "task.label: 7 of 9 rows of split 'train' have a label in column 'label' that"),
        (["[0, 1]", "[1]", "[0]"], "task.label: column 'label' of split 'train' holds lists as text, such as"),
        (["red;blue", "red", "blue"], "task.label: column 'label' of split 'train' holds sets of labels as text"),
        (["good", "good ", "bad"], "task.label: column 'label' of split 'train' holds 'good' and 'good '"),
        (["Good", "bad", "good"], "task.label: column 'label' of split 'train' holds 'Good' and 'good'"),
        (["caf\u00e9", "cafe\u0301", "bar"], "task.label: column 'label' of split 'train' holds 'cafe\\u0301' and"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "tsv", "strings"])
def test_labels_that_are_neither_scores_nor_classes(tmp_path, form, labels, said):
    metric = {"metric": "pearson"} if any(label in ("", "0.5") for label in labels) and "a" not in labels else {}
    if form == "strings" and labels == list(range(9)):
        labels = [f"{i}" for i in labels]
    assert fault(splits_of(tmp_path, form, train=labels), **metric).startswith(said)


def test_classes_that_look_like_something_else_can_be_said(tmp_path):
    for labels in (["3,4", "1,0", "3,4"], ["1.5", "2a", "2a"], ["red;blue", "red", "blue"]):
        head = task(problem=SINGLE).head(splits_of(tmp_path, "strings", train=labels))
        assert head.labels == tuple(sorted(set(labels)))
    # Names with a comma in them are names.
    places = ["Asia, north", "Asia, south", "Europe", "Europe"]
    assert task().head(splits_of(tmp_path, train=places)).labels == ("Asia, north", "Asia, south", "Europe")
    assert task().head(splits_of(tmp_path, train=["a", "A", "a", "A"])).labels == ("A", "a")


def test_a_split_that_writes_its_labels_otherwise(tmp_path):
    def both(train, other, **values):
        files = {"train": write(tmp_path, "train", train), "validation": write(tmp_path, "validation", other, "jsonl")}
        splits = load_splits(DatasetSpec(files=files), seed=1, needed=list(files))
        asked = task(**values)
        head = asked.head(splits)
        return asked.references(splits["validation"], head).tolist()

    assert both([0, 1, 2, 1], ["2", "0"]) == [2, 0]
    assert both([0, 1, 2, 1], [2.0, 0.0]) == [2, 0]
    assert both(["x", "0.5", "x"], ["0.5"], problem=SINGLE) == [0]
    assert both([1, 2, 5, 1], [2.5, 4.0], metric="pearson") == [2.5, 4.0]
    # Words that are integers, and integers of another file: the same classes.
    files = {"train": write(tmp_path, "a", ["10", "9", "11", "9"], "strings"), "test": write(tmp_path, "b", [9, 11])}
    splits = load_splits(DatasetSpec(files=files), seed=1, needed=list(files))
    head = task().head(splits)
    assert head.labels == ("9", "10", "11")
    assert task().references(splits["test"], head).tolist() == [0, 2]
    with pytest.raises(DataError) as raised:
        both(["bad", "good", "bad"], [0, 1])
    assert str(raised.value) == (
        "task.label: split 'validation' numbers the labels of column 'label', and the training split names them "
        "(bad, good): write them alike"
    )
    with pytest.raises(DataError, match="split 'validation', row 2: column 'label' holds no number: 'high'"):
        both([0.5, 1.5], ["0.5", "high"], metric="pearson")


def test_a_gap_in_numbers_beside_words_is_a_missing_label(tmp_path):
    files = {"train": write(tmp_path, "a", ["pos", "neg", "pos"]), "test": write(tmp_path, "b", [0.0, None], "jsonl")}
    splits = load_splits(DatasetSpec(files=files), seed=1, needed=list(files))
    assert fault(splits) == "split 'test', row 2: column 'label' holds no label"
    endless = datasets.Dataset.from_dict({"text": ["x"] * 3, "label": [0.0, 1.0, float("inf")]})
    assert "column 'label' of split 'train' holds" in fault({"train": endless}, problem=SINGLE)


def test_sets_of_labels(tmp_path):
    for strange in ([{"name": "joy"}], [[1]]):
        rows = datasets.Dataset.from_dict({"text": ["x"], "label": [strange]})
        assert fault({"train": rows}, metric="f1").startswith(
            "split 'train', row 1: column 'label' holds a list of lists"
        )
    text = splits_of(tmp_path, train=["a;b", "b", "a"])
    assert fault(text, problem=MULTI).startswith(
        "split 'train', row 1: column 'label' holds no list of labels: lists are"
    )
    flags = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": ["x", "y"], "label": [[0, 1, 0], [1, 1, 0]]})
    )
    assert fault(flags, metric="f1").startswith("split 'train', row 1: column 'label' holds the label 0 twice")
    spaced = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [["a"], ["a ", "b"]]})
    assert fault({"train": spaced}, metric="f1").endswith("holds 'a' and 'a ': write one class one way")
    columns = {"text": ["x", "y"], "rude": ["0", "1"], "kind": ["1.0", "0.0"]}
    train, both = datasets.Dataset.from_dict(columns), task(label=["rude", "kind"], metric="f1")
    assert both.references(train, both.head({"train": train})).tolist() == [[0, 1], [1, 0]]


def test_tags(tmp_path):
    def tags(**splits):
        return {
            split: datasets.Dataset.from_dict({"text": [["x"] * len(row) for row in rows], "label": rows})
            for split, rows in splits.items()
        }

    asked = task(kind="token-classification")
    said = fault(tags(train=[["B-PER", "O"], ["b-per", "O"]]), kind="token-classification")
    assert said == "task.label: column 'label' of split 'train' holds 'B-PER' and 'b-per': write one class one way"
    many = tags(train=[[f"{i}" for i in range(11)] * 2])
    assert asked.head(many).labels == tuple(f"{i}" for i in range(11))
    named = tags(train=[["B-PER", "O"]], test=[[0, 1]])
    assert fault(named, kind="token-classification").startswith("task.label: split 'test' numbers the labels of column")


def test_scores_of_pairs_and_images_of_scores(tmp_path):
    train = datasets.Dataset.from_dict({"a": ["x", "y"], "b": ["x", "y"], "label": ["3,4", "1,0"]})
    said = fault({"train": train}, kind="feature-extraction", text=["a", "b"])
    assert said == "split 'train', row 1: column 'label' holds no number: '3,4', write numbers with a point"
    from optkit.tasks.classes import label_names

    numbers = {"train": datasets.Dataset.from_dict({"label": ["0.5", "1.5", "0.5"]})}
    (said,) = label_names(numbers, "label")[1]
    assert said.endswith("holds numbers with a fraction, such as 0.5, which are no classes: write words")
