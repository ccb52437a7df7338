"""Made texts: how many, of what words, the same each time; neighbours against a search written out."""

from __future__ import annotations

import random

import numpy as np

from optkit.data.augment import augment, frequent_words, nearest_words, neighbours_of

TEXTS = [
    ("The soup was fine, truly fine .",),
    ("a rude waiter",),
    ("Grim",),
    ("...",),
    ("",),
    ("we loved the lovely garden and the river",),
]
NEAR = {"fine": ("good", "great"), "rude": ("grumpy",), "garden": ("river",)}


def words(text: str) -> list[str]:
    return [word.strip(".,").lower() for word in text.split() if word.strip(".,")]


def test_every_text_has_its_copies_in_order_and_twice_the_same():
    made = augment(TEXTS, 5, 7, NEAR)
    assert len(made) == 5 * len(TEXTS) and made == augment(TEXTS, 5, 7, NEAR)
    assert made != augment(TEXTS, 5, 8, NEAR)
    # More copies are more of the same, and a text's copies are where they are expected.
    more = augment(TEXTS, 8, 7, NEAR)
    assert [more[8 * i : 8 * i + 5] for i in range(len(TEXTS))] == [made[5 * i : 5 * i + 5] for i in range(len(TEXTS))]
    random.seed(1)
    assert augment(TEXTS, 5, 7, NEAR) == made


def test_words_come_from_the_text_its_neighbours_and_one_other_text():
    for row, (text,) in enumerate(TEXTS):
        for (copy,) in augment(TEXTS, 40, 3, NEAR)[40 * row : 40 * row + 40]:
            assert copy == " ".join(copy.split())
            sources = [set(words(text)) | set(words(other)) for (other,) in TEXTS]
            reach = [s | {near for word in s for near in NEAR.get(word, ())} for s in sources]
            assert any(set(words(copy)) <= allowed for allowed in reach)
            assert bool(words(copy)) or not words(text)


def test_all_three_ways_are_used_about_as_often_as_said():
    text, other = tuple(f"w{i}" for i in range(20)), tuple(f"x{i}" for i in range(20))
    texts = [(" ".join(text),), (" ".join(other),)]
    near = {word: (f"n{word}",) for word in (*text, *other)}
    copies = [copy.split() for (copy,) in augment(texts, 400, 0, near)[:400]]
    # Half of the texts drawn to be spliced with are the text itself.
    spliced = sum(any("x" in word for word in copy) for copy in copies) / 400
    assert 0.08 < spliced < 0.17
    plain = [copy for copy in copies if not any("x" in word for word in copy) and len(set(copy)) == len(copy) > 12]
    replaced = np.mean([sum(word.startswith("n") for word in copy) / 20 for copy in plain])
    assert 0.25 < replaced < 0.35
    assert 0.07 < 1 - np.mean([len(copy) / 20 for copy in plain]) < 0.13


def test_pairs_are_spliced_with_the_same_other_pair():
    pairs = [("a b c", "d e f"), ("u v w", "x y z")]
    for first, second in augment(pairs, 60, 1, {}):
        mixed = [set(part.split()) for part in (first, second)]
        assert mixed[0] <= set("abcuvw") and mixed[1] <= set("defxyz") and all(mixed)


def test_capitals_are_kept():
    made = augment([("Fine fine FINE",)], 60, 0, {"fine": ("good",)})
    first = {text.split()[0] for (text,) in made if len(text.split()) == 3}
    assert {"Good", "Fine"} <= first and first <= {"Good", "Fine"}


def test_the_most_frequent_words_come_first():
    assert frequent_words([("b a 3d", "c, B"), ("a_b b",)]) == ["b", "a", "c"]
    assert frequent_words([("b a a c",)], most=2) == ["a", "b"]


def test_neighbours_are_the_nearest_by_cosine():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1500, 6)).astype(np.float32) * rng.uniform(0.1, 9, (1500, 1)).astype(np.float32)
    names = [f"w{i}" for i in range(1500)]
    found = nearest_words(names, vectors, 4)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    for i in (0, 7, 1023, 1024, 1499):
        likeness = unit @ unit[i]
        likeness[i] = -2
        assert found[names[i]] == tuple(names[j] for j in np.argsort(-likeness)[:4])
    assert nearest_words(["a", "b"], vectors[:2], 4) == {"a": ("b",), "b": ("a",)}
    assert nearest_words(["a"], vectors[:1]) == {} and nearest_words([], vectors[:0]) == {}


def test_words_of_several_tokens_or_none_have_no_neighbours():
    table = np.eye(4, dtype=np.float32)
    known = {"good": [1], "fine": [2], "playing": [1, 3], "xyzzy": []}
    near = neighbours_of([("good fine playing xyzzy good",)], lambda asked: [known[word] for word in asked], table)
    assert near == {"good": ("fine",), "fine": ("good",)}
    assert neighbours_of([("...",)], lambda asked: [], table) == {}
