"""Notes on two people, and questions about one of them; some have no answer in the note.

``answers`` writes *"Mara comes from Torvik. Oskar plays the flute and was born in 1962. Mara keeps seven goats."* and
asks *"Where does Mara come from?"*, in SQuAD's columns. Mostly what is asked for is said of one person or of nobody;
now and then it is said of both, or of the other alone, and only the name tells.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from optkit.data.generators.base import Generator

_PEOPLE = "Anton Bella Cora Darek Edda Finn Gerda Henk Ilka Jorin Kaja Lasse Mara Nils Oskar Petra".split()


class _Fact(NamedTuple):
    """What may be said of somebody: ``_`` stands for the answer in ``said``, for the name in ``asked``.

    ``article`` may go before the answer: with it, it is right, too.
    """

    said: str
    asked: str
    choices: list[str]
    article: str = ""


_FACTS = (
    _Fact("comes from _", "Where does _ come from?", "Torvik Lund Arden Kelso Varna Bodo Tarnow Olbia".split()),
    _Fact("plays _", "What does _ play?", "flute cello drums harp violin trumpet organ lute".split(), "the "),
    _Fact("was born in _", "When was _ born?", [str(year) for year in range(1950, 1966)]),
    _Fact("works as _", "What is the job of _?", "baker tailor miller nurse pilot cooper potter judge".split(), "a "),
    _Fact("keeps _ goats", "How many goats does _ keep?", "two three four five six seven eight nine".split()),
    _Fact("likes _", "What does _ like?", "cheese plums bread honey soup figs tea rice".split()),
)
#: Shares of questions without an answer, and of questions whose answer might be mistaken for that of the other person.
_UNANSWERABLE, _MISTAKABLE = 0.25, 0.1


def _features() -> Any:
    from datasets import Features, List, Value

    answers = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    return Features({"question": Value("string"), "context": Value("string"), "answers": answers})


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    people = rng.sample(_PEOPLE, 2)
    # The first one is asked for, and what is asked is the first of the facts.
    asked, *others = rng.sample(range(len(_FACTS)), len(_FACTS))
    known = [others[:2], others[2 : rng.choice((4, 5))]]
    if rng.random() >= _UNANSWERABLE:
        known[0][0] = asked
    if rng.random() < _MISTAKABLE:
        known[1][0] = asked
    clauses = [(person, fact) for person, facts in enumerate(known) for fact in facts]
    rng.shuffle(clauses)
    context, answers = "", {"text": [], "answer_start": []}
    last = None
    for person, fact in clauses:
        # Two clauses on one person may share a sentence.
        joined = person == last and rng.random() < 0.5
        context += " and" if joined else "." * bool(context) + " " * bool(context) + people[person]
        last = None if joined else person
        choice = rng.choice(_FACTS[fact].choices)
        before, after = _FACTS[fact].said.split("_")
        context += f" {before}{_FACTS[fact].article}"
        if (person, fact) == (0, asked):
            article = _FACTS[fact].article
            found = [(choice, len(context)), *([(article + choice, len(context) - len(article))] if article else [])]
            answers = {"text": [text for text, _ in found], "answer_start": [start for _, start in found]}
        context += choice + after
    question = _FACTS[asked].asked.replace("_", people[0])
    return {"question": question, "context": f"{context}.", "answers": answers}


ANSWERS = Generator(
    "Seeded notes on people, with questions, some of which they do not answer.",
    _features,
    _example,
    key=lambda example: f"{example['question']} {example['context']}",
)
