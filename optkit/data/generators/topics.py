"""Notes on an evening out, by topic: seeded, written from word lists, the same on every machine.

``topics`` writes notes on an evening out that praise one thing and run down one or two others: *"We loved the singer,
but hardly a decent soup. Such a rude waiter."* The class is the topic of the praise: food, music, price, room or staff.
Every note names other topics too, and praise may be a denied complaint. So which words occur says little; a model has
to see which of them belong together. ``complaints`` are the same notes, labelled with the topics that they run down;
``stars`` are notes of two to four opinions, with the share of praise, on a scale of 0 to 5,
and ``rivals`` pairs of notes, with which of the two is the better one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from optkit.data.generators.base import Generator

_COMPLAINT, _PRAISE = 0, 1
# Things, and words that suit this topic alone: complaints, then praise.
_TOPICS = {
    "food": ("soup bread fish salad", "stale burnt soggy greasy", "tasty fresh juicy crisp"),
    "music": ("band singer piano choir", "shrill hoarse monotone noisy", "melodic catchy lively tuneful"),
    "price": ("bill discount offer fee", "steep unfair excessive hidden", "modest fair generous honest"),
    "room": ("table garden terrace hall", "shabby dirty stuffy cramped", "clean bright cosy airy"),
    "staff": ("waiter cook host porter", "rude lazy grumpy careless", "polite friendly helpful cheerful"),
}
_ADJECTIVES = (
    "awful bad clumsy dismal dreadful feeble grim poor".split(),
    "brilliant charming decent excellent fine great lovely superb".split(),
)
_VERBS = (
    (("disliked", "dislike"), ("hated", "hate"), ("regretted", "regret"), ("cursed", "curse")),
    (("liked", "like"), ("loved", "love"), ("enjoyed", "enjoy"), ("praised", "praise")),
)
_TELLERS = ("I", "we", "they", "my sister")
_STARTS = ("a", "the", "such a", "one")
_DENIALS = ("not a", "hardly a", "no", "no")
_DEGREES = ("", "", "", "very ", "rather ")
_LINKS = (". ", "; ", ", and ", ", but ")

# Of the ways to say a thing, as shares.
_WITH_VERB = 0.2
_DENIED = 0.15
_OWN_WORD = 0.25
# Praise comes first more often than by chance: a foothold, without which some random weights learn nothing for long.
_PRAISE_FIRST = 0.5


def _opinion(rng: random.Random, topic: str, sense: int) -> str:
    """A clause that praises or runs down a thing of ``topic``, now and then by denying the opposite."""
    things, *own = (words.split() for words in _TOPICS[topic])
    thing = rng.choice(things)
    denied = rng.random() < _DENIED
    said = 1 - sense if denied else sense
    if rng.random() < _WITH_VERB:
        past, bare = rng.choice(_VERBS[said])
        return f"{rng.choice(_TELLERS)} {f'did not {bare}' if denied else past} the {thing}"
    adjective = rng.choice(own[said] if rng.random() < _OWN_WORD else _ADJECTIVES[said])
    words = adjective if denied else rng.choice(_DEGREES) + adjective
    start = rng.choice(_DENIALS if denied else _STARTS)
    if start.endswith("a") and words[0] in "aeiou":
        start += "n"
    return f"{start} {words} {thing}"


def _note(rng: random.Random, label: int) -> tuple[str, list[int]]:
    """A note that praises one topic, and the topics that it runs down."""
    names = tuple(_TOPICS)
    others = rng.sample(names[:label] + names[label + 1 :], rng.choice((1, 2)))
    senses = [(names[label], _PRAISE), *((other, _COMPLAINT) for other in others)]
    if rng.random() >= _PRAISE_FIRST:
        rng.shuffle(senses)
    return _join_opinions(rng, senses), sorted(names.index(other) for other in others)


def _join_opinions(rng: random.Random, senses: Sequence[tuple[str, int]]) -> str:
    """Opinions, each of a topic in a sense, as a text."""
    clauses = [_opinion(rng, topic, sense) for topic, sense in senses]
    text = clauses[0][0].upper() + clauses[0][1:]
    for clause in clauses[1:]:
        link = rng.choice(_LINKS)
        text += link + (clause[0].upper() + clause[1:] if link == ". " else clause)
    return f"{text}."


def _features() -> Any:
    from datasets import ClassLabel, Features, Value

    return Features({"text": Value("string"), "label": ClassLabel(names=list(_TOPICS))})


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    # The classes take turns, so any beginning of a split is balanced.
    label = index % len(_TOPICS)
    return {"text": _note(rng, label)[0], "label": label}


def _complaint_features() -> Any:
    from datasets import ClassLabel, Features, List, Value

    return Features({"text": Value("string"), "labels": List(ClassLabel(names=list(_TOPICS)))})


def _complaint_example(rng: random.Random, index: int) -> dict[str, Any]:
    text, complaints = _note(rng, index % len(_TOPICS))
    return {"text": text, "labels": complaints}


def _star_features() -> Any:
    from datasets import Features, Value

    return Features({"text": Value("string"), "stars": Value("float64")})


def _star_example(rng: random.Random, index: int) -> dict[str, Any]:
    text, stars = _make_rated_note(rng, rng.choice((2, 3, 4)))
    return {"text": text, "stars": round(stars, 2)}


def _make_rated_note(rng: random.Random, count: int) -> tuple[str, float]:
    """A note of ``count`` opinions, and its stars: 5 if all of them are praise."""
    topics = rng.sample(tuple(_TOPICS), count)
    senses = [(topic, rng.choice((_COMPLAINT, _PRAISE))) for topic in topics]
    return _join_opinions(rng, senses), 5 * sum(sense for _, sense in senses) / count


def _rival_features() -> Any:
    from datasets import ClassLabel, Features, Value

    return Features(
        {"first": Value("string"), "second": Value("string"), "better": ClassLabel(names=["first", "second"])}
    )


def _rival_example(rng: random.Random, index: int) -> dict[str, Any]:
    # The labels take turns.
    while True:
        (first, stars), (second, others) = (_make_rated_note(rng, rng.choice((1, 2))) for _ in range(2))
        if stars != others and (others > stars) == index % 2:
            return {"first": first, "second": second, "better": index % 2}


STARS = Generator(
    "Such sentences, with the share of praise in them as a score.",
    _star_features,
    _star_example,
    key=lambda example: example["text"],
)
RIVALS = Generator(
    "Pairs of such sentences, with which of the two praises more.",
    _rival_features,
    _rival_example,
    key=lambda example: f"{example['first']} {example['second']}",
)
COMPLAINTS = Generator(
    "The sentences of topics, with what they run down: one topic or two of five.",
    _complaint_features,
    _complaint_example,
    key=lambda example: example["text"],
)
TOPICS = Generator(
    "Seeded sentences on made-up topics, for trying optkit without a download.",
    _features,
    _example,
    key=lambda example: example["text"],
)
