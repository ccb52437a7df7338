"""Data sets that optkit writes itself, for trying it without a download. One file for each."""

from __future__ import annotations

from optkit.data.generators.answers import ANSWERS
from optkit.data.generators.base import Generator
from optkit.data.generators.entities import ENTITIES
from optkit.data.generators.passages import PASSAGES
from optkit.data.generators.shapes import SHAPES
from optkit.data.generators.similar import SIMILAR
from optkit.data.generators.topics import COMPLAINTS, RIVALS, STARS, TOPICS

DEFAULT_SIZES = {"train": 24_000, "validation": 1_000}
#: Every generator by its name in a recipe, in the order in which they are listed.
GENERATORS: dict[str, Generator] = {
    "shapes": SHAPES,
    "topics": TOPICS,
    "similar": SIMILAR,
    "passages": PASSAGES,
    "complaints": COMPLAINTS,
    "rivals": RIVALS,
    "stars": STARS,
    "entities": ENTITIES,
    "answers": ANSWERS,
}

__all__ = ["DEFAULT_SIZES", "GENERATORS", "Generator"]
