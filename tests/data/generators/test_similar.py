from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from optkit.data.generators import GENERATORS
from optkit.data.generators.similar import MEANINGS


def meanings(sentence):
    """Of each of the five slots the meaning that the sentence words."""
    text = f" {sentence.lower().replace(',', '').rstrip('.')} "
    found = []
    for slot in MEANINGS:
        (meaning,) = (i for i, group in enumerate(slot) if any(f" {words.lower()} " in text for words in group))
        found.append(meaning)
    return found


def test_the_score_is_how_many_meanings_two_sentences_share():
    found = GENERATORS["similar"]("train", 120, 7)
    assert found["score"] == [float(i % 6) for i in range(120)]
    for first, second, score in zip(found["sentence1"], found["sentence2"], found["score"]):
        assert sum(a == b for a, b in zip(meanings(first), meanings(second), strict=True)) == score


def test_equal_words_do_not_tell_the_score():
    found = GENERATORS["similar"]("validation", 600, 7)
    words = lambda text: set(text.lower().replace(",", "").rstrip(".").split())  # noqa: E731
    shared = [
        len(words(a) & words(b)) / len(words(a) | words(b)) for a, b in zip(found["sentence1"], found["sentence2"])
    ]
    assert 0.3 < spearmanr(shared, found["score"]).statistic < 0.85


#: Places among ``MEANINGS`` of what a question of ``passages`` names.
ASKED = (1, 2, 4)


def asked(query):
    text = f" {query.lower().rstrip('?')} "
    return [
        next(i for i, group in enumerate(MEANINGS[slot]) if any(f" {words.lower()} " in text for words in group))
        for slot in ASKED
    ]


def test_one_of_eight_passages_says_all_that_the_question_names():
    found = GENERATORS["passages"]("train", 160, 7)
    agree = [
        sum(a == b for a, b in zip(asked(query), np.array(meanings(passage))[list(ASKED)], strict=True))
        for query, passage in zip(found["query"], found["passage"])
    ]
    assert [each == 3 for each in agree] == [relevance == 1.0 for relevance in found["relevance"]]
    assert found["relevance"] == [1.0, *[0.0] * 7] * 20
    assert agree.count(2) > agree.count(1) > 20


def test_shared_words_do_not_find_the_passage():
    found = GENERATORS["passages"]("validation", 800, 7)
    words = lambda text: set(text.lower().rstrip(".?").split())  # noqa: E731
    shared = [len(words(query) & words(passage)) for query, passage in zip(found["query"], found["passage"])]
    best = np.reshape(shared, (-1, 8))
    assert 0.1 < np.mean(best[:, 0] > best[:, 1:].max(1)) < 0.4
