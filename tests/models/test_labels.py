from __future__ import annotations

import pytest

from optkit.models.labels import adopt, match, placeholders


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
    ],
)
def test_order_of_their_classes_for_ours(ours, theirs, order):
    assert match(ours, theirs) == order


def test_placeholders_only_number_the_classes():
    assert placeholders(["LABEL_0", "LABEL_10"])
    assert not placeholders(["LABEL_0", "label"])
    assert adopt(["LABEL_0", "LABEL_1"], ["no", "yes"]) == ["no", "yes"]
    assert adopt(["bad", "good"], ["no", "yes"]) == ["bad", "good"]
