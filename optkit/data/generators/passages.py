"""Questions with passages to rank: seeded, written from the word lists of ``similar``, the same on every machine.

``passages`` asks who did what: *"The tutor asks at dawn: who fixed the bicycle?"*, and gives four sentences to each
question. The first answers it: *"At noon the cook mended the bicycle in the hall."* Of the others every second one
agrees in the deed or in the thing, and what agrees is worded as in the question or otherwise: equal words find the
answer to about five of six questions.
"""

from __future__ import annotations

import random
from typing import Any

from optkit.data.generators.base import Generator
from optkit.data.generators.similar import MEANINGS, sentence

_PASSAGES = 4
#: Places of what a question names among ``MEANINGS``: deed and thing.
_ASKED = (1, 2)
#: Of the meanings that a passage shares with its question, the share that it words alike: a foothold for small models.
_ALIKE = 0.8


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    asked = {slot: rng.randrange(len(MEANINGS[slot])) for slot in _ASKED}
    words = {slot: rng.choice(MEANINGS[slot][meaning]) for slot, meaning in asked.items()}
    passages = [_passage(rng, asked, words)]
    for _ in range(_PASSAGES - 1):
        other = rng.choice((_ASKED[:1], _ASKED[1:], _ASKED, _ASKED))
        turned = {slot: (asked[slot] + rng.randrange(1, len(MEANINGS[slot]))) % len(MEANINGS[slot]) for slot in other}
        passages.append(_passage(rng, asked | turned, {slot: words[slot] for slot in _ASKED if slot not in other}))
    did, thing = words.values()
    relevances = [1.0] + [0.0] * (_PASSAGES - 1)
    asker, when = rng.choice(rng.choice(MEANINGS[0])), rng.choice(rng.choice(MEANINGS[4]))
    return {"query": f"The {asker} asks {when}: who {did} the {thing}?", "passage": passages, "relevance": relevances}


def _passage(rng: random.Random, said: dict[int, int], words: dict[int, str]) -> str:
    """A sentence of these meanings, the others by chance, in which some of ``words`` stand for what they mean."""
    alike = {slot: word for slot, word in words.items() if rng.random() < _ALIKE}
    return sentence(rng, [said.get(slot, rng.randrange(len(groups))) for slot, groups in enumerate(MEANINGS)], alike)


def _features() -> Any:
    from datasets import Features, Value

    return Features({"query": Value("string"), "passage": Value("string"), "relevance": Value("float32")})


PASSAGES = Generator(
    "Seeded questions, each with passages of which one answers it.",
    _features,
    _example,
    key=lambda example: example["query"],
    grouped=True,
)
