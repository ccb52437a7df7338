"""Pairs of sentences with a score of how much they share: seeded, written from word lists, the same on every machine.

``similar`` says of two scenes who did what to which thing, where and when: *"At noon the cook mended the bike in the
hall."* and *"Our chef repaired this bicycle at midday, by the river."* The score is how many of these five they share,
from 0 to 5. What is shared is mostly worded differently, so equal words say less than what means the same.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from optkit.data.generators.base import Generator

# Each group is one meaning; its words take turns.
_WHO = ("cook chef", "teacher tutor", "doctor medic", "child kid", "painter artist", "farmer grower", "guard watchman")
_DID = (
    *("mended fixed repaired", "broke smashed wrecked", "bought purchased acquired", "hid concealed buried"),
    *("cleaned washed scrubbed", "found discovered spotted", "sold traded offered"),
)
_THING = (
    *("bike bicycle", "boat vessel", "lamp lantern", "coat jacket", "cup mug", "phone telephone", "picture image"),
)
_WHERE = (
    *(
        "in the hall|in the lobby",
        "by the river|by the stream",
        "at the shop|at the store",
        "in the wood|in the forest",
    ),
    *("on the street|on the road", "at the harbour|at the port", "in the cellar|in the basement"),
)
_WHEN = (
    *("at noon|at midday", "at dawn|at sunrise", "in autumn|in fall", "on Saturday|at the weekend"),
    *("at night|after dark", "last year|a year ago", "yesterday|the day before"),
)
#: Words of each meaning: who, deed, thing, place, time.
MEANINGS = (
    *(tuple(tuple(group.split()) for group in slot) for slot in (_WHO, _DID, _THING)),
    *(tuple(tuple(group.split("|")) for group in slot) for slot in (_WHERE, _WHEN)),
)
_ORDERS = (
    "{when} {who} {did} {thing} {where}",
    "{who} {did} {thing} {where} {when}",
    "{who} {did} {thing} {when}, {where}",
)
_ARTICLES = ("the", "this", "our", "one")


def sentence(rng: random.Random, scene: list[int], words: Mapping[int, str] | None = None) -> str:
    """A sentence that says a meaning of each slot of ``MEANINGS``, worded by chance but for ``words`` of slots."""
    worded = [rng.choice(slot[i]) for slot, i in zip(MEANINGS, scene, strict=True)]
    who, did, thing, where, when = ((words or {}).get(slot, word) for slot, word in enumerate(worded))
    parts = {"who": f"{rng.choice(_ARTICLES)} {who}", "did": did, "thing": f"{rng.choice(_ARTICLES)} {thing}"}
    text = rng.choice(_ORDERS).format(**parts, where=where, when=when)
    return f"{text[0].upper()}{text[1:]}."


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    # The scores take turns, so any beginning of a split has all of them.
    score = index % (len(MEANINGS) + 1)
    shared = set(rng.sample(range(len(MEANINGS)), score))
    first = [rng.randrange(len(slot)) for slot in MEANINGS]
    other = [(i + rng.randrange(1, len(slot))) % len(slot) for i, slot in zip(first, MEANINGS, strict=True)]
    second = [first[i] if i in shared else other[i] for i in range(len(first))]
    return {"sentence1": sentence(rng, first), "sentence2": sentence(rng, second), "score": float(score)}


def _features() -> Any:
    from datasets import Features, Value

    return Features({"sentence1": Value("string"), "sentence2": Value("string"), "score": Value("float32")})


SIMILAR = Generator(
    "Seeded pairs of sentences with a score of how much they share.",
    _features,
    _example,
    key=lambda example: f"{example['sentence1']}\t{example['sentence2']}",
)
