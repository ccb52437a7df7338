"""Which inputs go together: similar lengths, little padding, and none that is passed over."""

from __future__ import annotations

import numpy as np

from optkit.serving.queueing import LengthQueue


def drain(queue: LengthQueue[int]) -> list[list[int]]:
    batches = []
    while len(queue):
        batches.append(queue.take())
        assert batches[-1]
    assert queue.take() == []
    return batches


def test_every_item_is_taken_once_and_no_batch_is_too_large():
    rng, queue = np.random.default_rng(0), LengthQueue[int](8, 300)
    lengths = rng.integers(1, 200, 500).tolist()
    for item, length in enumerate(lengths):
        queue.put(length, item)
    batches = drain(queue)
    assert sorted(item for batch in batches for item in batch) == list(range(500))
    for batch in batches:
        own = [lengths[item] for item in batch]
        assert len(batch) <= 8 and (len(batch) == 1 or max(own) * len(own) <= 300)
        assert max(own) * len(own) - sum(own) <= 0.25 * sum(own) + 32


def test_a_batch_begins_with_what_waits_longest():
    queue = LengthQueue[str](4, 1000)
    for item, length in (("long", 100), ("a", 10), ("b", 11), ("longer", 101), ("c", 9)):
        queue.put(length, item)
    assert queue.take() == ["long", "longer"]
    queue.put(100, "late")
    assert sorted(queue.take()) == ["a", "b", "c"]
    assert queue.take() == ["late"]


def test_what_is_longer_than_a_batch_goes_alone_and_a_smaller_number_is_kept_to():
    queue = LengthQueue[int](4, 50)
    queue.put(200, 0)
    for item in range(1, 6):
        queue.put(5, item)
    assert queue.take() == [0]
    assert queue.take(2) == [1, 2] and len(queue) == 3
    assert queue.take(100) == [3, 4, 5]
