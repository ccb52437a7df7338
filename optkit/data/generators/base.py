"""What every generator of examples promises: seeded, no example twice, none in two splits."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Generator:
    """A data set that optkit writes itself.

    Attributes:
        summary: one sentence, for ``optkit list``.
        features: gives the columns and their types, as ``datasets.Features``.
        example: makes one example, by column, from a random state and its index in the split; two calls may give the
            same one, and what takes turns goes by the index.
        key: a text that only equal examples share.
        grouped: whether an example makes several rows: columns that are lists hold a value for each of them.
    """

    summary: str
    features: Callable[[], Any]
    example: Callable[[random.Random, int], dict[str, Any]]
    key: Callable[[dict[str, Any]], str]
    grouped: bool = False

    def __call__(self, split: str, count: int, seed: int) -> dict[str, list[Any]]:
        """``count`` rows of different examples of a split, by column.

        A shorter split is the beginning of a longer one. A key's checksum decides which split its example may be in, so
        no two splits of one seed share an example.

        Args:
            split: train, validation or test.
            count: how many rows.
            seed: another seed gives other examples.
        """
        rng = random.Random(f"{seed}/{split}")
        found: dict[str, dict[str, Any]] = {}
        rows: list[dict[str, Any]] = []
        while len(rows) < count:
            example = self.example(rng, len(found))
            key = self.key(example)
            if key not in found and _split_of(key, seed) == split:
                found[key] = example
                rows += _rows(example) if self.grouped else [example]
        return {column: [row[column] for row in rows[:count]] for column in self.features()}


def _rows(example: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each value of the columns that are lists; the others are the same in all."""
    count = max(len(values) for values in example.values() if isinstance(values, list))
    columns = [values if isinstance(values, list) else [values] * count for values in example.values()]
    return [dict(zip(example, values, strict=True)) for values in zip(*columns, strict=True)]


def _split_of(key: str, seed: int) -> str:
    return ("validation", "test", *["train"] * 6)[zlib.crc32(f"{seed}/{key}".encode()) % 8]
