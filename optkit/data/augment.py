"""New texts from given ones, for a teacher to judge: no outside resource, the same from the same seed.

The idea is TinyBERT's (Jiao et al. 2020, https://arxiv.org/abs/1909.10351): a small student learns more of its teacher
from many variants of the task's own texts than from the texts alone. There words are replaced by neighbours in a table
of word vectors or by a language model's guesses; here by neighbours in the teacher's own input embeddings. Leaving out
words and joining parts of two texts are as in Tang et al. 2019, https://arxiv.org/abs/1903.12136.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

REPLACED = 0.3
DELETED = 0.1
SPLICED = 0.25
"""Chances: of a word that has neighbours to be replaced, of a word to be left out, of a text to be spliced."""

NEIGHBOURS = 10
MOST_WORDS = 10_000
"""How many neighbours a word may be replaced by, and how many of the most frequent words may be replaced."""

_PIECES = re.compile(r"\w+|\s+|[^\w\s]")
_ROWS = 1024


def augment(
    texts: Sequence[tuple[str, ...]], copies: int, seed: int, neighbours: Mapping[str, Sequence[str]]
) -> list[tuple[str, ...]]:
    """``copies`` variants of each of ``texts``, in their order: len(texts) * copies of them.

    A variant may be spliced: it begins as the text does and ends as another one. Then words are replaced by neighbours
    or left out. A variant depends on its text, its number, the seed and the texts as a whole, never on how many copies
    are made, and never has fewer than one word where its text has one.

    Args:
        texts: one, or two for pairs, in each tuple; each is changed on its own, a pair is spliced with one other pair.
        seed: another seed gives other variants.
        neighbours: of words in lower case, as ``nearest_words`` finds them.
    """
    made = []
    for row, text in enumerate(texts):
        for copy in range(copies):
            rng = random.Random(f"{seed}/{row}/{copy}")
            other = texts[rng.randrange(len(texts))] if rng.random() < SPLICED else text
            made.append(tuple(_variant(*both, rng, neighbours) for both in zip(text, other, strict=True)))
    return made


def _variant(text: str, other: str, rng: random.Random, neighbours: Mapping[str, Sequence[str]]) -> str:
    pieces = _splice(text, other, rng) if other is not text else _PIECES.findall(text)
    words = [i for i, piece in enumerate(pieces) if _is_word(piece)]
    if not words:
        return text
    spared = rng.choice(words)
    for i in words:
        chance, near = rng.random(), neighbours.get(pieces[i].lower())
        if chance < DELETED and i != spared:
            pieces[i] = ""
        elif near and chance > 1.0 - REPLACED:
            word = near[rng.randrange(len(near))]
            pieces[i] = word.capitalize() if pieces[i][0].isupper() else word
    return " ".join("".join(pieces).split())


def _splice(text: str, other: str, rng: random.Random) -> list[str]:
    """The beginning of ``text`` and the end of ``other``, cut at words."""
    head, tail = _PIECES.findall(text), _PIECES.findall(other)
    cut = [rng.choice([i for i, piece in enumerate(pieces) if _is_word(piece)] or [0]) for pieces in (head, tail)]
    return [*head[: cut[0] + 1], " ", *tail[cut[1] :]]


def _is_word(piece: str) -> bool:
    return piece[0].isalnum() or piece[0] == "_"


def frequent_words(texts: Sequence[tuple[str, ...]], most: int = MOST_WORDS) -> list[str]:
    """The words of ``texts`` in lower case, letters only; the most frequent first, equal ones by the alphabet."""
    counts: Counter[str] = Counter()
    for text in texts:
        for part in text:
            counts.update(piece.lower() for piece in _PIECES.findall(part) if piece.isalpha())
    return sorted(counts, key=lambda word: (-counts[word], word))[:most]


def nearest_words(words: Sequence[str], vectors: np.ndarray, count: int = NEIGHBOURS) -> dict[str, tuple[str, ...]]:
    """The ``count`` nearest other words of each of ``words``, by cosine, the nearest first.

    Args:
        words: without repetition.
        vectors: (words, width).
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    count = min(count, len(words) - 1)
    near = {}
    for start in range(0, len(words) if count > 0 else 0, _ROWS):
        likeness = unit[start : start + _ROWS] @ unit.T
        likeness[np.arange(len(likeness)), np.arange(start, start + len(likeness))] = -np.inf
        best = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
        rows = np.take_along_axis(best, order, axis=1)
        near |= {words[start + i]: tuple(words[j] for j in row) for i, row in enumerate(rows)}
    return near


def neighbours_of(
    texts: Sequence[tuple[str, ...]], encode: Callable[[list[str]], list[list[int]]], table: np.ndarray
) -> dict[str, tuple[str, ...]]:
    """Neighbours of the words of ``texts`` that are one token each.

    Args:
        encode: words to the token ids of each, special tokens apart.
        table: input embeddings (tokens, width).
    """
    words = frequent_words(texts)
    whole = [(word, ids[0]) for word, ids in zip(words, encode(words)) if len(ids) == 1] if words else []
    return nearest_words([word for word, _ in whole], table[[i for _, i in whole]]) if whole else {}
