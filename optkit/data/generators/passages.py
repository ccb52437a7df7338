"""Questions with passages to rank: seeded, written from the word lists of ``similar``, the same on every machine.

``passages`` asks who did what when: *"Who fixed the bicycle at midday?"*, and gives eight sentences to each question.
The first answers it, mostly in other words: *"At noon the cook mended the bike in the hall."* Of the others most agree
in two of deed, thing and time, so single words say less than all three together.
"""

from __future__ import annotations

import random
from typing import Any

from optkit.data.generators.base import Generator
from optkit.data.generators.similar import MEANINGS, sentence

_PASSAGES = 8
#: Places of what a question names among ``MEANINGS``: deed, thing, time.
_ASKED = (1, 2, 4)


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    asked = {slot: rng.randrange(len(MEANINGS[slot])) for slot in _ASKED}
    did, thing, when = (rng.choice(MEANINGS[slot][meaning]) for slot, meaning in asked.items())
    passages = [sentence(rng, _scene(rng, asked))]
    for _ in range(_PASSAGES - 1):
        # Now and then two of the three differ.
        other = rng.sample(_ASKED, rng.choice((1, 1, 2)))
        turned = {slot: (asked[slot] + rng.randrange(1, len(MEANINGS[slot]))) % len(MEANINGS[slot]) for slot in other}
        passages.append(sentence(rng, _scene(rng, asked | turned)))
    relevances = [1.0] + [0.0] * (_PASSAGES - 1)
    return {"query": f"Who {did} the {thing} {when}?", "passage": passages, "relevance": relevances}


def _scene(rng: random.Random, said: dict[int, int]) -> list[int]:
    return [said.get(slot, rng.randrange(len(groups))) for slot, groups in enumerate(MEANINGS)]


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
