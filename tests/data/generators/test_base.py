from __future__ import annotations

import json

import pytest

from optkit.data.generators import DEFAULT_SIZES, GENERATORS
from optkit.registry import names


@pytest.fixture(params=GENERATORS)
def generator(request):
    return GENERATORS[request.param]


def test_the_registry_lists_every_generator():
    assert set(GENERATORS) == set(names("dataset"))
    assert DEFAULT_SIZES["train"] > DEFAULT_SIZES["validation"]


def rows(found):
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


def test_examples_are_the_seeds_and_a_longer_split_begins_with_the_shorter_one(generator):
    long, short = rows(generator("train", 90, 5)), rows(generator("train", 30, 5))
    assert (len(long), len(short)) == (90, 30) and long[:30] == short
    assert rows(generator("train", 30, 6)) != short


def test_no_example_twice_and_none_in_two_splits(generator):
    found = [generator.key(row) for split in ("train", "validation", "test") for row in rows(generator(split, 200, 3))]
    assert len(set(found)) == (150 if generator.grouped else 600)  # of four rows each


def test_the_features_are_those_of_the_columns(generator):
    import datasets

    found, features = generator("validation", 20, 1), generator.features()
    dataset = datasets.Dataset.from_dict(found, features)
    assert list(found) == dataset.column_names
    plain = [name for name, feature in features.items() if not isinstance(feature, datasets.Image)]
    assert json.dumps([dataset[name][:] for name in plain]) == json.dumps([found[name] for name in plain])
