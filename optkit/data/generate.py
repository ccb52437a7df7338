"""Synthetic text-classification data: seeded, written from word lists, the same on every machine.

``topics`` writes notes on an evening out that praise one thing and run down one or two others: *"We loved the singer,
but hardly a decent soup. Such a rude waiter."* The class is the topic of the praise: food, music, price, room or staff.
Every note names other topics too, and praise may be a denied complaint. So which words occur says little; a model has
to see which of them belong together.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

DEFAULT_SIZES = {"train": 24_000, "validation": 1_000}

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


@dataclass(frozen=True)
class Generator:
    """A data set that optkit writes itself.

    Attributes:
        labels: the class names, in the order of their ids.
        note: makes one example of a class from a random state; two calls may give the same text.
    """

    labels: tuple[str, ...]
    note: Callable[[random.Random, int], str]

    def __call__(self, split: str, count: int, seed: int) -> tuple[list[str], list[int]]:
        """``count`` different examples of a split, as texts and class ids.

        The classes take turns, so any beginning of a split is balanced. A shorter split is the beginning of a longer
        one. A text's checksum decides which split it may be in, so no two splits of one seed share a text.

        Args:
            split: train, validation or test.
            count: how many examples.
            seed: another seed gives other examples.
        """
        rng = random.Random(f"{seed}/{split}")
        texts: dict[str, int] = {}
        while len(texts) < count:
            label = len(texts) % len(self.labels)
            text = self.note(rng, label)
            if text not in texts and _split_of(text, seed) == split:
                texts[text] = label
        return list(texts), list(texts.values())


def _split_of(text: str, seed: int) -> str:
    return ("validation", "test", *["train"] * 6)[zlib.crc32(f"{seed}/{text}".encode()) % 8]


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


def _topic_note(rng: random.Random, label: int) -> str:
    names = tuple(_TOPICS)
    others = rng.sample(names[:label] + names[label + 1 :], rng.choice((1, 2)))
    senses = [(names[label], _PRAISE), *((other, _COMPLAINT) for other in others)]
    if rng.random() >= _PRAISE_FIRST:
        rng.shuffle(senses)
    clauses = [_opinion(rng, topic, sense) for topic, sense in senses]
    text = clauses[0][0].upper() + clauses[0][1:]
    for clause in clauses[1:]:
        link = rng.choice(_LINKS)
        text += link + (clause[0].upper() + clause[1:] if link == ". " else clause)
    return f"{text}."


GENERATORS = {"topics": Generator(tuple(_TOPICS), _topic_note)}
