from __future__ import annotations

from optkit.data.generators.entities import ENTITIES, TAGS
from optkit.tasks.token_classification.entities import entities


def test_tags_are_those_of_whole_names():
    found = ENTITIES("train", 500, 7)
    kinds: dict[str, set[str]] = {}
    for tokens, ids in zip(found["tokens"], found["ner_tags"], strict=True):
        tags = [TAGS[i] for i in ids]
        assert len(tokens) == len(tags) and tokens[-1] == "." and tokens[0][0].isupper()
        assert all(tag[0] != "I" or before[1:] == tag[1:] for before, tag in zip(["O", *tags], tags))  # IOB2
        assert not {"PER", "ORG", "LOC", "MONTH"} & set(tokens)
        for kind, first, last in entities(tags):
            kinds.setdefault(" ".join(tokens[first : last + 1]), set()).add(kind)
    # A name alone does not say what it is of.
    assert sum(len(of) > 1 for of in kinds.values()) >= 25 and {"PER", "ORG", "LOC"} in kinds.values()
