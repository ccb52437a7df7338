from __future__ import annotations

import pytest

from optkit import metrics
from optkit.tasks.token_classification.entities import counts, entities, is_tag


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", ()),
        ("O O", ()),
        ("B-PER I-PER O B-LOC", (("PER", 0, 1), ("LOC", 3, 3))),
        ("B-PER B-PER", (("PER", 0, 0), ("PER", 1, 1))),
        # IOB1: B only where two of a type meet.
        ("I-PER I-PER B-PER O I-LOC", (("PER", 0, 1), ("PER", 2, 2), ("LOC", 4, 4))),
        # A prediction that breaks IOB2: another type inside, and I after O.
        ("B-PER I-LOC I-LOC O I-PER", (("PER", 0, 0), ("LOC", 1, 2), ("PER", 4, 4))),
        ("S-PER B-PER I-PER E-PER S-LOC", (("PER", 0, 0), ("PER", 1, 3), ("LOC", 4, 4))),
        ("E-PER E-PER I-PER", (("PER", 0, 0), ("PER", 1, 1), ("PER", 2, 2))),
        ("U-PER B-ORG L-ORG L-ORG", (("PER", 0, 0), ("ORG", 1, 2), ("ORG", 3, 3))),
        ("B-LOC M-LOC E-LOC I-LOC", (("LOC", 0, 2), ("LOC", 3, 3))),
        ("B-PER X I-PER", (("PER", 0, 0), ("PER", 2, 2))),
        ("B-a-b I-a-b", (("a-b", 0, 1),)),
    ],
)
def test_where_entities_begin_and_end(tags, found):
    assert entities(tags.split()) == set(found)


def test_tags_and_other_labels():
    assert all(is_tag(name) for name in ("O", "B-PER", "I-x", "E-a-b"))
    assert not any(is_tag(name) for name in ("PER", "B-", "-PER", "NOUN", "B_PER", "X-PER", "o", "PER-B"))


GOLD = ["B-PER I-PER O B-LOC", "O B-ORG I-ORG I-ORG", "B-LOC O"]
SAID = ["B-PER I-PER O B-ORG", "O B-ORG I-ORG O", "B-LOC B-LOC"]


def test_scores_of_whole_entities_by_hand():
    said, gold = ([row.split() for row in rows] for rows in (SAID, GOLD))
    # PER and the last LOC are right; LOC as ORG, ORG cut short and a LOC too many are not.
    assert counts(said, gold) == (2, 5, 4)
    names = ["entity_f1", "entity_precision", "entity_recall", "token_accuracy"]
    scores = metrics.load(names).compute(said, gold)
    assert list(scores) == names
    assert scores == pytest.approx(dict(zip(names, (4 / 9, 2 / 5, 2 / 4, 7 / 10), strict=True)))
    nothing = [["O"] * len(row) for row in gold]
    assert metrics.load(names).compute(nothing, gold) == {**dict.fromkeys(names[:3], 0.0), "token_accuracy": 0.3}
    assert metrics.load("entity_f1").compute(nothing, nothing) == {"entity_f1": 0.0}
