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


def test_one_of_four_passages_says_what_its_question_asks():
    found = GENERATORS["passages"]("train", 400, 7)
    assert len(set(found["query"])) == 100 and found["relevance"] == [1.0, 0.0, 0.0, 0.0] * 100
    agree, alike = [], []
    for query, passage in zip(found["query"], found["passage"]):
        words = query.rstrip("?").partition(": who ")[2].split(" the ")
        asked = [next(i for i, group in enumerate(slot) if word in group) for slot, word in zip(MEANINGS[1:3], words)]
        agree.append(sum(a == b for a, b in zip(asked, meanings(passage)[1:3], strict=True)))
        alike.append(sum(f" {word} " in f" {passage.lower().replace(',', '').rstrip('.')} " for word in words))
    assert [each == 2 for each in agree] == [relevance == 1.0 for relevance in found["relevance"]]
    assert 100 < agree.count(1) < 200
    # Words alone tell the answer from the others in most of the questions, and not in all.
    first = np.reshape(alike, (-1, 4))
    assert 0.75 < np.mean(first[:, 0] > first[:, 1:].max(1)) < 0.9
