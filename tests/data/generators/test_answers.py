from __future__ import annotations

from optkit.data.generators.answers import ANSWERS


def test_answers_stand_where_they_say():
    found = ANSWERS("train", 500, 7)
    counts = {0: 0, 1: 0, 2: 0}
    for question, context, answers in zip(*found.values(), strict=True):
        assert question.endswith("?") and context.endswith(".") and ".." not in context and "_" not in context
        counts[len(answers["text"])] += 1
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert context[start : start + len(text)] == text
            # It is in a sentence on the one who is asked for.
            sentence = context[context.rfind(".", 0, start) + 1 : start].split()
            assert sentence[0] in question
    assert all(count > 50 for count in counts.values())
