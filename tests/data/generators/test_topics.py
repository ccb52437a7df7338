from __future__ import annotations

import hashlib
from collections import Counter

from optkit.data.generators.topics import COMPLAINTS, RIVALS, STARS, TOPICS

NAMES = TOPICS.features()["label"].names


def topics(split, count, seed):
    found = TOPICS(split, count, seed)
    assert list(found) == ["text", "label"]
    return found["text"], found["label"]


def test_the_same_seed_writes_the_same_text_everywhere():
    texts, labels = topics("train", 500, 42)
    assert (texts, labels) == topics("train", 500, 42)
    digest = hashlib.sha256("\n".join(f"{label} {text}" for text, label in zip(texts, labels, strict=True)).encode())
    assert digest.hexdigest()[:16] == "ca6991d84403a464"
    assert topics("train", 500, 43)[0] != texts


def test_sizes_and_balance():
    for count in (1, 7, 1000):
        texts, labels = topics("validation", count, 1)
        assert len(texts) == len(labels) == count
        shares = Counter(labels).values()
        assert max(shares) - (min(shares) if count >= 5 else 1) <= 1
    assert set(labels) == set(range(len(NAMES))) == {0, 1, 2, 3, 4}


def test_no_text_twice_and_none_in_two_splits():
    splits = [topics(split, count, 3)[0] for split, count in (("train", 8000), ("validation", 1000), ("test", 1000))]
    assert len(set().union(*splits)) == 10_000


def test_a_longer_split_begins_with_the_shorter_one():
    long, short = topics("train", 900, 5), topics("train", 300, 5)
    assert long[0][:300] == short[0] and long[1][:300] == short[1]


def test_every_class_is_praised_and_blamed_in_plain_sentences():
    texts, labels = topics("train", 2000, 0)
    assert all(text[0].isupper() and text.endswith(".") and text.isascii() for text in texts)
    assert not any(" a a" in f" {text.lower()}" or " a e" in text or "  " in text for text in texts)
    # A topic's own thing occurs in notes of other classes too, or its name would give the class away.
    soups = Counter(label for text, label in zip(texts, labels, strict=True) if "soup" in text)
    assert soups[NAMES.index("food")] < 0.6 * soups.total()


def test_words_alone_do_not_tell_the_class():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, validation = topics("train", 3000, 0), topics("validation", 1000, 0)
    counter = CountVectorizer()
    classifier = LogisticRegression(max_iter=200).fit(counter.fit_transform(train[0]), train[1])
    accuracy = classifier.score(counter.transform(validation[0]), validation[1])
    assert 0.25 < accuracy < 0.6


def test_complaints_are_the_same_notes_with_what_they_run_down():
    notes, praised = COMPLAINTS("train", 400, 3), TOPICS("train", 400, 3)
    assert notes["text"] == praised["text"]
    for complaints, topic in zip(notes["labels"], praised["label"], strict=True):
        assert topic not in complaints and complaints == sorted(set(complaints))
    assert {len(complaints) for complaints in notes["labels"]} == {1, 2}


def test_stars_and_the_better_of_two_notes():
    assert set(STARS("train", 400, 3)["stars"]) == {0, 1.25, 1.67, 2.5, 3.33, 3.75, 5}
    rivals = RIVALS("train", 400, 3)
    assert rivals["better"] == [0, 1] * 200
    assert not any(first == second for first, second in zip(rivals["first"], rivals["second"], strict=True))
