from __future__ import annotations

from scipy.stats import spearmanr

from optkit.data.generators import GENERATORS
from optkit.data.generators.similar import _MEANINGS


def meanings(sentence):
    """Of each of the five slots the meaning that the sentence words."""
    text = f" {sentence.lower().replace(',', '').rstrip('.')} "
    found = []
    for slot in _MEANINGS:
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
