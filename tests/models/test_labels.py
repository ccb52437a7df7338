from __future__ import annotations

import pytest

from optkit.models.labels import adopt, match, placeholders, stored_names


@pytest.mark.parametrize(
    ("ours", "theirs", "order"),
    [
        (["no", "yes"], ["no", "yes"], [0, 1]),
        (["a", "b", "c"], ["C", "A", "B"], [1, 2, 0]),
        (["LABEL_0", "LABEL_1"], ["LABEL_0", "LABEL_1"], [0, 1]),
        (["negative", "positive"], ["LABEL_0", "LABEL_1"], [0, 1]),
        (["LABEL_0", "LABEL_1"], ["no", "yes"], [0, 1]),
        (["no", "yes"], ["cat", "dog"], None),
        (["no", "yes"], ["no", "yes", "maybe"], None),
        (["LABEL_0", "LABEL_1"], ["a", "b", "c"], None),
        (["a", "b"], ["a", "A"], None),
        (["A", "a"], ["a", "A"], [1, 0]),
    ],
)
def test_order_of_their_classes_for_ours(ours, theirs, order):
    assert match(ours, theirs) == order


def test_placeholders_only_number_the_classes():
    assert placeholders(["LABEL_0", "LABEL_10"])
    assert not placeholders(["LABEL_0", "label"])
    assert adopt(["LABEL_0", "LABEL_1"], ["no", "yes"]) == ["no", "yes"]
    assert adopt(["bad", "good"], ["no", "yes"]) == ["bad", "good"]


@pytest.mark.parametrize(
    ("values", "names", "note"),
    [
        ({}, None, None),
        ({"id2label": None, "label2id": None}, None, None),
        ({"id2label": {}}, None, None),
        ({"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}, ["bad", "good"], None),
        ({"id2label": {"1": "good", "0": "bad"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ["bad", "good"], None),
        ({"id2label": {"0": "bad", "1": "good"}, "label2id": "damaged"}, ["bad", "good"], None),
        ({"id2label": {"1": "bad", "2": "good"}, "label2id": {"bad": 1, "good": 2}}, ["bad", "good"], "counts from 1"),
        ({"id2label": {"1": "bad", "2": "good"}, "label2id": {"bad": 0, "good": 1}}, ["bad", "good"], "counts from 1"),
        ({"id2label": {"bad": 0, "good": 1}, "label2id": {"0": "bad", "1": "good"}}, ["bad", "good"], "other way"),
        ({"id2label": ["bad", "good"]}, ["bad", "good"], "is a list"),
        ({"id2label": {"0": 1, "1": 2}}, ["1", "2"], None),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 5}, ["a", "b"], "num_labels is 5 and id2label has 2 names"),
        ({"label2id": {"good": 1, "bad": 0}}, ["bad", "good"], "those of label2id"),
        (
            {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"good": 1, "bad": 0}},
            ["bad", "good"],
            "those of label2id",
        ),
    ],
)
def test_names_are_read_as_they_are_meant(values, names, note):
    found, notes = stored_names(values)
    assert found == names
    assert notes == [] if note is None else len(notes) == 1 and note in notes[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"id2label": {"0": "O", "1": "O"}}, "two outputs the name 'O'"),
        ({"id2label": {"0": None, "1": "good"}}, "has None where the name of a class"),
        ({"id2label": {"0": " ", "1": "good"}}, "has ' ' where the name of a class"),
        ({"id2label": {"0": {"en": "bad"}, "1": "good"}}, "where the name of a class"),
        ({"id2label": {"0": "bad", "2": "good"}}, "numbers the outputs 0, 2"),
        ({"id2label": {"-1": "bad", "0": "good"}}, "has '-1' where the number of an output"),
        ({"id2label": {"x": "bad", "y": "good"}}, "has 'x' where the number of an output"),
        ({"id2label": "bad good"}, "no mapping of numbers to names"),
        (
            {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 1, "good": 0}},
            "contradict each other: output 0 is 'bad' by the one, and 'bad' is 1 by the other",
        ),
        ({"num_labels": "two"}, "num_labels is 'two'"),
        ({"num_labels": 0}, "num_labels is 0"),
    ],
)
def test_names_that_cannot_be_told_are_refused(values, said):
    with pytest.raises(ValueError, match="id2label|num_labels") as raised:
        stored_names(values)
    assert said in str(raised.value)
