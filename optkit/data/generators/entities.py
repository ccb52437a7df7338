"""Sentences with the names of people, organisations and places, each word tagged in IOB2.

``entities`` writes news in a line: *"Anna Denton left Hartley Foods and moved to Port Ashby."* Surnames, firms and
places share their names, so a name does not tell what it is of: the words around it do.
"""

from __future__ import annotations

import random
from typing import Any

from optkit.data.generators.base import Generator

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")

_NAMES = """Abbott Ashby Bexley Carlow Denton Dorset Easton Elgin Farley Garland Hartley Holden Jordan Kendal Langley
Lincoln Marlow Milton Morgan Nelson Norton Oakley Preston Ridley Selby Stanton Thorne Tilbury Walden Winslow""".split()
_FIRST = """Ada Anna Ben Carla David Elsa Felix Grace Hugo Irene Jonas Karin Leo Maria Nina Oscar Paula Robert Sara
Theo""".split()
_TITLES = ("Dr", "Mrs", "Mr", "Judge")
_KINDS = ("Airlines", "Bank", "Foods", "Motors", "Press")
_BEFORE, _AFTER = ("Lake", "New", "Port"), ("Bay", "Falls", "Hill")
_MONTHS = "January March May July October".split()
_CLAUSES = tuple(
    clause.split()
    for clause in (
        "PER moved to LOC in MONTH",
        "PER works for ORG in LOC",
        "PER left ORG and moved to LOC",
        "PER and PER live near LOC",
        "PER flew from LOC to LOC",
        "PER , who was born in LOC , joined ORG",
        "ORG hired PER in MONTH",
        "ORG opened an office in LOC",
        "ORG , based in LOC , sued PER",
        "ORG bought ORG last MONTH",
        "shares of ORG fell in MONTH",
        "the head of ORG thanked PER",
        "the mayor of LOC met PER",
        "the road from LOC to LOC was closed",
        "it rained in LOC all day",
        "nobody knew why",
    )
)
_LINKS = ((",", "and"), (",", "but"), ("while",), (";",))


def _features() -> Any:
    from datasets import ClassLabel, Features, List, Value

    return Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(TAGS)))})


def _person(rng: random.Random) -> tuple[list[str], list[str]]:
    """Words that are no part of the name, and the name."""
    first, last = rng.choice(_FIRST), rng.choice(_NAMES)
    return rng.choice((([], [first, last]), ([], [first, last]), ([], [last]), ([rng.choice(_TITLES)], [last])))


def _organisation(rng: random.Random) -> tuple[list[str], list[str]]:
    name = rng.choice(_NAMES)
    forms = ([name], [name, rng.choice(_KINDS)], [name, "&", "Sons"], ["University", "of", name])
    return [], rng.choice(forms)


def _place(rng: random.Random) -> tuple[list[str], list[str]]:
    name = rng.choice(_NAMES)
    return [], rng.choice(([name], [name], [rng.choice(_BEFORE), name], [name, rng.choice(_AFTER)]))


_MAKERS = {"PER": _person, "ORG": _organisation, "LOC": _place}


def _example(rng: random.Random, index: int) -> dict[str, Any]:
    tokens, tags = [], []
    for part in range(rng.choice((1, 1, 2))):
        clause = [*(rng.choice(_LINKS) if part else ()), *rng.choice(_CLAUSES)]
        for word in clause:
            kind = word if word in _MAKERS else None
            before, name = _MAKERS[kind](rng) if kind else ([], [rng.choice(_MONTHS) if word == "MONTH" else word])
            tokens += [*before, *name]
            tags += ["O"] * len(before)
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)] if kind else ["O"]
    tokens[0] = tokens[0][0].upper() + tokens[0][1:]
    return {"tokens": [*tokens, "."], "ner_tags": [TAGS.index(tag) for tag in (*tags, "O")]}


ENTITIES = Generator(
    "Seeded sentences with names of people, places and organisations, tagged in IOB2.",
    _features,
    _example,
    key=lambda example: " ".join(example["tokens"]),
)
